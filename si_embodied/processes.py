"""Well-behaved worker processes: spawned, single-threaded, ignoring Ctrl-C, and never outliving their parent."""

from __future__ import annotations

import concurrent.futures
import multiprocessing
import multiprocessing.connection
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


@contextmanager
def worker_pool(workers: int) -> Iterator[concurrent.futures.ProcessPoolExecutor]:
    """A pool of worker processes for the duration of the block; tasks that have not started by its end are cancelled.

    Workers are spawned because neither a renderer's context nor torch's threads survive a fork. Each uses one thread
    for linear algebra, since together they already use all cores, and leaves Ctrl-C to the parent.
    """
    before = {name: os.environ.get(name) for name in _THREAD_VARIABLES}
    os.environ.update({name: value or "1" for name, value in before.items()})
    pool = concurrent.futures.ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), initializer=_start)
    try:
        yield pool
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)


def _start() -> None:
    """Set up a worker process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent handles Ctrl-C
    threading.Thread(target=_end_with_parent, name="end-with-parent", daemon=True).start()


def _end_with_parent() -> None:
    """Exit when the parent exits, because an orphaned worker would wait for tasks forever."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        multiprocessing.connection.wait([parent.sentinel])
        os._exit(1)
