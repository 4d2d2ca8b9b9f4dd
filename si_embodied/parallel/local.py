"""Processes on this machine, each of its own, so that one that dies takes no other with it."""

from __future__ import annotations

import atexit
import concurrent.futures
from collections.abc import Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from typing import Any

from si_embodied.parallel.work import NO_KIND, Failure, Handle, Kind, Lost, Make, TaskT, WorkerPool, WorkerSlot
from si_embodied.processes import one_thread_each, start_pool


class _ProcessWorkers:
    """One executor of one process for each worker, made for its first task: a process that dies breaks only its own."""

    def __init__(self, workers: int) -> None:
        self._executors: list[concurrent.futures.ProcessPoolExecutor | None] = [None] * workers
        self._kind = NO_KIND
        self._busy: dict[concurrent.futures.Future[Any], int] = {}  # and the number of its worker

    def has_free(self) -> bool:
        return len(self._busy) < len(self._executors)

    def submit(self, make: Make[TaskT, Any], task: TaskT) -> Handle:
        taken = set(self._busy.values())
        number = next(each for each in range(len(self._executors)) if each not in taken)
        executor = self._executors[number]
        if executor is None:
            executor = self._executors[number] = start_pool(1)
        self._kind = self._kind.with_make(make)
        future = executor.submit(_do, self._kind, task)
        self._busy[future] = number
        return future

    def wait(self) -> Sequence[tuple[Handle, Any | Failure | Lost]]:
        done, _ = concurrent.futures.wait(self._busy, return_when=concurrent.futures.FIRST_COMPLETED)
        return [(future, self._outcome(future, self._busy.pop(future))) for future in done]

    def _outcome(self, future: concurrent.futures.Future[Any], number: int) -> Any | Failure | Lost:
        try:
            return future.result()
        except BrokenProcessPool:
            self._replace(number)
            return Lost("a process of this machine died")

    def cancel(self) -> None:
        for number in self._busy.values():
            self._replace(number)
        self._busy.clear()

    def close(self) -> None:
        executors = [each for each in self._executors if each is not None]
        for executor in executors:
            executor.shutdown(wait=False, cancel_futures=True)
        for executor in executors:
            executor.shutdown(wait=True)

    def _replace(self, number: int) -> None:
        """Have a new process for this worker's next task; the old one ends with its task, if it still lives."""
        executor, self._executors[number] = self._executors[number], None
        if executor is not None:
            executor.shutdown(wait=False, cancel_futures=True)


@contextmanager
def local_pool(workers: int) -> Iterator[WorkerPool]:
    """Processes on this machine; each starts with its first task, and ends with the block."""
    pool = _ProcessWorkers(workers)
    with one_thread_each():
        try:
            yield pool
        finally:
            pool.close()


_slots: list[WorkerSlot] = []
"""In a worker's process, its slot, once it has had a task."""


def _do(kind: Kind, task: object) -> Any | Failure:
    if not _slots:
        _slots.append(WorkerSlot())
        atexit.register(_slots[0].close)
    return _slots[0].do(kind, task)
