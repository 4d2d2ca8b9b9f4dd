"""Well-behaved worker processes: spawned, single-threaded, ignoring Ctrl-C, and never outliving their parent."""

from __future__ import annotations

import concurrent.futures
import multiprocessing
import multiprocessing.connection
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from si_embodied.progress import OpenDisplay, display_in_use, shown_with

_GRACE_S = 10.0  # to write what there is after Ctrl-C
_THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


@contextmanager
def worker_pool(workers: int) -> Iterator[concurrent.futures.ProcessPoolExecutor]:
    """Worker processes for the duration of the block; tasks that have not started by its end are cancelled."""
    with one_thread_each():
        pool = start_pool(workers)
        try:
            yield pool
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


@contextmanager
def one_thread_each() -> Iterator[None]:
    """Processes that start within the block use one thread for linear algebra: together they already use all cores."""
    before = {name: os.environ.get(name) for name in _THREAD_VARIABLES}
    os.environ.update({name: value or "1" for name, value in before.items()})
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)


def start_pool(workers: int) -> concurrent.futures.ProcessPoolExecutor:
    """Worker processes, which start with their first tasks and leave Ctrl-C to this process.

    They are spawned because neither a renderer's context nor torch's threads survive a fork.
    """
    return concurrent.futures.ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), initializer=_start)


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


def run_alone(target: Callable[..., object], *arguments: object) -> int:
    """Run a function in a spawned process of its own, which ends with this one.

    Returns:
        The process's exit code: 0 if the function returned, 1 if it raised, -N if signal N killed the process.

    Raises:
        KeyboardInterrupt: Ctrl-C. The process is interrupted too, and killed if it takes long to end.
    """
    alone = (target, arguments, display_in_use())
    process = multiprocessing.get_context("spawn").Process(target=_alone, args=alone)
    process.start()
    try:
        process.join()
    except KeyboardInterrupt:
        process.join(_GRACE_S)
        raise
    finally:
        if process.is_alive():
            process.terminate()
            process.join()
    assert process.exitcode is not None  # it has been joined
    return process.exitcode


def _alone(target: Callable[..., object], arguments: tuple[object, ...], display: OpenDisplay | None) -> None:
    threading.Thread(target=_end_with_parent, name="end-with-parent", daemon=True).start()
    with shown_with(display):
        target(*arguments)
