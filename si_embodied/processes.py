"""Worker processes that behave: spawned, one thread each, deaf to Ctrl-C, and gone when their parent is."""

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
    """A pool of processes for as long as the block lasts; what was not started by then is dropped.

    Processes are spawned and not forked: neither a renderer's context nor torch's threads survive a fork. Each uses
    one thread for linear algebra, because together they use the cores already, and leaves Ctrl-C to the parent.
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
    """What a worker does first."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent hears Ctrl-C and says when to stop
    threading.Thread(target=_end_with_parent, name="end-with-parent", daemon=True).start()


def _end_with_parent() -> None:
    """Wait for the parent's end, and end too: a pool's worker that lost its parent would wait for work for ever."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        multiprocessing.connection.wait([parent.sentinel])
        os._exit(1)
