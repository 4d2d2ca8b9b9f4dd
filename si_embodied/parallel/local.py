"""Processes on this machine, each of its own, so that one that dies takes no other with it."""

from __future__ import annotations

import atexit
import concurrent.futures
from collections.abc import Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from typing import Any

from si_embodied.parallel.work import NO_KIND, Bench, Crew, Failure, Kind, Lost, Make, TaskT, Ticket
from si_embodied.processes import one_thread_each, start_pool


class _LocalCrew:
    """Seats, each with a pool of one process from its first task on."""

    def __init__(self, workers: int) -> None:
        self._pools: list[concurrent.futures.ProcessPoolExecutor | None] = [None] * workers
        self._kind = NO_KIND
        self._busy: dict[concurrent.futures.Future[Any], int] = {}  # and the number of its seat

    def free(self) -> bool:
        return len(self._busy) < len(self._pools)

    def start(self, make: Make[TaskT, Any], task: TaskT) -> Ticket:
        taken = set(self._busy.values())
        seat = next(number for number in range(len(self._pools)) if number not in taken)
        pool = self._pools[seat]
        if pool is None:
            pool = self._pools[seat] = start_pool(1)
        self._kind = self._kind.with_make(make)
        future = pool.submit(_do, self._kind, task)
        self._busy[future] = seat
        return future

    def ended(self) -> Sequence[tuple[Ticket, Any | Failure | Lost]]:
        done, _ = concurrent.futures.wait(self._busy, return_when=concurrent.futures.FIRST_COMPLETED)
        return [(future, self._outcome(future, self._busy.pop(future))) for future in done]

    def _outcome(self, future: concurrent.futures.Future[Any], seat: int) -> Any | Failure | Lost:
        try:
            return future.result()
        except BrokenProcessPool:
            self._leave(seat)
            return Lost("a process of this machine died")

    def drop(self) -> None:
        for seat in self._busy.values():
            self._leave(seat)
        self._busy.clear()

    def close(self) -> None:
        pools = [pool for pool in self._pools if pool is not None]
        for pool in pools:
            pool.shutdown(wait=False, cancel_futures=True)
        for pool in pools:
            pool.shutdown(wait=True)

    def _leave(self, seat: int) -> None:
        """Give a seat to a new process; the old one ends with its task, if it still lives."""
        pool, self._pools[seat] = self._pools[seat], None
        if pool is not None:
            pool.shutdown(wait=False, cancel_futures=True)


@contextmanager
def local_crew(workers: int) -> Iterator[Crew]:
    """Processes on this machine; each starts with its first task, and ends with the block."""
    crew = _LocalCrew(workers)
    with one_thread_each():
        try:
            yield crew
        finally:
            crew.close()


_benches: list[Bench] = []
"""In a worker's process, its bench, once it has had a task."""


def _do(kind: Kind, task: object) -> Any | Failure:
    if not _benches:
        _benches.append(Bench())
        atexit.register(_benches[0].close)
    return _benches[0].do(kind, task)
