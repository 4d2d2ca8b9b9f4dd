"""Worker processes on this machine, each of its own, so that one that dies takes no other with it."""

from __future__ import annotations

import atexit
import concurrent.futures
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from typing import Any, Generic

from si_embodied.parallel.work import Bench, Crew, Failure, Lost, ResultT, TaskT, Ticket, Worker
from si_embodied.processes import one_thread_each, start_pool


class _LocalCrew(Generic[TaskT, ResultT]):
    """Seats, each with a pool of one process while there is work for it."""

    def __init__(self, make: Callable[[], Worker[TaskT, ResultT]], workers: int) -> None:
        self._make = make
        self._pools: list[concurrent.futures.ProcessPoolExecutor | None] = [None] * workers
        self._busy: dict[concurrent.futures.Future[ResultT | Failure], int] = {}  # and the number of its seat

    def free(self) -> bool:
        return len(self._busy) < len(self._pools)

    def start(self, task: TaskT) -> Ticket:
        seat = next(number for number in range(len(self._pools)) if number not in self._busy.values())
        pool = self._pools[seat]
        if pool is None:
            pool = self._pools[seat] = start_pool(1)
        future = pool.submit(_do, self._make, task)
        self._busy[future] = seat
        return future

    def ended(self) -> Sequence[tuple[Ticket, ResultT | Failure | Lost]]:
        done, _ = concurrent.futures.wait(self._busy, return_when=concurrent.futures.FIRST_COMPLETED)
        return [(future, self._outcome(future, self._busy.pop(future))) for future in done]

    def _outcome(self, future: concurrent.futures.Future[ResultT | Failure], seat: int) -> ResultT | Failure | Lost:
        try:
            return future.result()
        except BrokenProcessPool:
            pool = self._pools[seat]
            self._pools[seat] = None
            assert pool is not None
            pool.shutdown(wait=False)
            return Lost("a process of this machine died")

    def close(self) -> None:
        pools = [pool for pool in self._pools if pool is not None]
        for pool in pools:
            pool.shutdown(wait=False, cancel_futures=True)
        for pool in pools:
            pool.shutdown(wait=True)


@contextmanager
def local_crew(make: Callable[[], Worker[TaskT, ResultT]], workers: int) -> Iterator[Crew[TaskT, ResultT]]:
    """Processes on this machine; each starts with its first task, and ends with the block."""
    crew = _LocalCrew(make, workers)
    with one_thread_each():
        try:
            yield crew
        finally:
            crew.close()


_benches: list[Bench[Any, Any]] = []
"""In a worker's process, its bench, once it has had a task."""


def _do(make: Callable[[], Worker[TaskT, ResultT]], task: TaskT) -> ResultT | Failure:
    if not _benches:
        _benches.append(Bench(make))
        atexit.register(_benches[0].close)
    outcome: ResultT | Failure = _benches[0].do(task)
    return outcome
