"""Runs on one model what several threads ask of it, the same kind of work of several threads in one call.

There is no thread for the model: the one whose work waits first does the work of those that wait with it. A thread that
is alone finds nobody to wait for, and pays for two locks.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from si_embodied.errors import BackendError, DeadlineExceeded
from si_embodied.models.runner import PREFILL_CHUNK, unchecked

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from si_embodied.models.runner import Check

_T = TypeVar("_T")
_R = TypeVar("_R")

_MOST_PATIENCE_S = 0.01
_PATIENCE = 1 / 4
"""How long work waits for the other prompts' next, as a part of the last call's time. Between two passes, a prompt's
thread takes about a millisecond. Waiting pays if a pass reads all weights for a few tokens, and hardly costs then."""
_LOOK_S = 0.01  # between two checks of a thread that waits


@dataclass(slots=True, eq=False)
class _Job:
    """What one thread waits for."""

    work: Callable[[Sequence[Any], Check], Sequence[Any]]
    item: Any
    size: int
    turn: threading.Condition  # notified when it is done, or is to be done by its thread
    alone: bool = False  # because work that it was part of has failed
    left: bool = False  # its thread has given up
    results: list[Any] = field(default_factory=list)  # one, when it is done


class Together:
    """The queue of a model's work. At any time one thread uses the model."""

    def __init__(self) -> None:
        """Begin with an empty queue."""
        self._lock = threading.Lock()
        self._waiting: list[_Job] = []
        self._busy = False
        self._expected = 1  # jobs: as many as were done or waiting last time
        self._began_s = self._wait_until_s = 0.0

    def run(
        self, work: Callable[[Sequence[_T], Check], Sequence[_R]], item: _T, *, size: int = 1, check: Check = unchecked
    ) -> _R:
        """Have `item` worked on, alone or with the items of other threads for the same `work`.

        If `work` fails with several items, each is tried again alone, so that one cannot fail the others.

        Args:
            work: takes items and a check, which it calls often; gives one result for each item. Calling it twice with
                an item must do no harm.
            item: of this thread.
            size: the item's tokens; items of more than `PREFILL_CHUNK` in all do not share a call.
            check: raises to abort. Called while waiting, and by `work`. Others' items are not aborted.

        Raises:
            DeadlineExceeded: as raised by `check`.
            BackendError: as raised by `check` or `work`.
        """
        with self._lock:
            job = _Job(work, item, size, threading.Condition(self._lock))
            self._waiting.append(job)
            self._waiting[0].turn.notify()
            while True:
                group = self._wait(job, check)
                if job.results:
                    result: _R = job.results[0]
                    return result
                self._busy, self._began_s = True, time.monotonic()
                self._lock.release()
                try:
                    results, error = self._try(group, check)
                finally:
                    self._lock.acquire()
                    self._end(group)
                for each, done in zip(group, results, strict=False):
                    each.results.append(done)
                    each.turn.notify()
                if error is not None:
                    self._again(group, job, error)

    def _wait(self, job: _Job, check: Check) -> list[_Job]:
        """Wait until the job is done, or it is this thread's turn; then returns the jobs to be done."""
        try:
            while not job.results:
                wait_s = self._turn_in_s(job)
                if wait_s <= 0:
                    return self._take()
                job.turn.wait(min(wait_s, _LOOK_S))
                check()
        except BaseException:
            job.left = True
            if job in self._waiting:
                self._waiting.remove(job)
            self._call_next()
            raise
        return []

    def _turn_in_s(self, job: _Job) -> float:
        """How long until this job's thread is to use the model, unless more work comes before."""
        if self._busy or job is not self._waiting[0]:
            return _LOOK_S
        if len(self._waiting) >= self._expected:
            return 0.0
        return self._wait_until_s - time.monotonic()

    def _take(self) -> list[_Job]:
        """Take the first job, and what can share its call, from the queue."""
        first, group, size = self._waiting[0], list[_Job](), 0
        for job in self._waiting:
            fits = job.work == first.work and not (job.alone or first.alone) and size + job.size <= PREFILL_CHUNK
            if job is first or fits:
                group.append(job)
                size += job.size
        self._waiting = [job for job in self._waiting if job not in group]
        return group

    def _try(self, group: list[_Job], check: Check) -> tuple[Sequence[Any], BaseException | None]:
        try:
            return group[0].work([job.item for job in group], check), None
        except BaseException as error:  # noqa: BLE001 - the threads that wait for this one must not wait for ever
            return (), error

    def _end(self, group: list[_Job]) -> None:
        """The model is free; next time, wait for as many jobs as there are now."""
        now = time.monotonic()
        self._busy, self._expected = False, len(group) + len(self._waiting)
        self._wait_until_s = now + min(_MOST_PATIENCE_S, _PATIENCE * (now - self._began_s))
        self._call_next()

    def _call_next(self) -> None:
        if self._waiting:
            self._waiting[0].turn.notify()

    def _again(self, group: list[_Job], job: _Job, error: BaseException) -> None:
        """Put the others' jobs back, and this one too if another may have made them fail."""
        aborted = isinstance(error, DeadlineExceeded | BackendError) or not isinstance(error, Exception)
        retried = [each for each in group if each is not job or not aborted] if len(group) > 1 else []
        for each in retried:
            each.alone = not aborted
        self._waiting[:0] = [each for each in retried if not each.left]
        self._call_next()
        if job not in retried:
            raise error
