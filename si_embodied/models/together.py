"""Runs on one model what several threads ask of it, the same kind of work of several threads in one call.

There is no thread for the model: the one whose turn it is does the work of those that wait with it. A thread that is
alone finds nobody to wait for, and pays for two locks.

The prompt that began first goes first, so that no answer waits for the images of many that began after it. A long
answer does not keep the others out: what was passed over a few times goes before everything else.
"""

from __future__ import annotations

import itertools
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

_LEAST_PATIENCE_S, _MOST_PATIENCE_S = 0.005, 0.01
_PATIENCE = 1 / 4
"""How long work waits for the other prompts' next, as a part of the last call's time. Between two passes, a prompt's
thread takes a millisecond or two. Waiting pays if a pass reads all weights for a few tokens, and hardly costs then."""
_LONGER = 64  # tokens: what joins a call is so much longer than the first at most; a step does not wait for a prompt
_MOST_PASSED = 24  # calls for earlier prompts, before it is a job's turn
_LOOK_S = 0.01  # between two checks of a thread that waits


@dataclass(slots=True, eq=False)
class _Job:
    """What one thread waits for."""

    work: Callable[[Sequence[Any], Check], Sequence[Any]]
    item: Any
    size: int
    place: int  # of its prompt in the queue
    turn: threading.Condition  # notified when it is done, or is to be done by its thread
    passed: int = 0  # calls that were made for others while it waited
    alone: bool = False  # because work that it was part of has failed
    left: bool = False  # its thread has given up
    results: list[Any] = field(default_factory=list)  # one, when it is done


class Together:
    """The queue of a model's work. At any time one thread uses the model."""

    def __init__(self) -> None:
        """Begin with an empty queue."""
        self._lock = threading.Lock()
        self._places = itertools.count(1)
        self._waiting: list[_Job] = []
        self._busy = False
        self._expected = set[int]()  # places of the last call's prompts that have not asked again
        self._began_s = self._wait_until_s = 0.0

    def place(self) -> int:
        """A prompt's place in the queue, after those of all that began before it."""
        return next(self._places)

    def leave(self, place: int) -> None:
        """A prompt asks for nothing more, for now: nobody is to wait for it."""
        with self._lock:
            self._expected.discard(place)
            self._call_next()

    def run(
        self,
        work: Callable[[Sequence[_T], Check], Sequence[_R]],
        item: _T,
        *,
        place: int = 0,
        size: int = 1,
        check: Check = unchecked,
    ) -> _R:
        """Have `item` worked on, alone or with the items of other threads for the same `work`.

        If `work` fails with several items, each is tried again alone, so that one cannot fail the others.

        Args:
            work: takes items and a check, which it calls often; gives one result for each item. Calling it twice with
                an item must do no harm.
            item: of this thread.
            place: of its prompt; of what waits, the smallest goes first.
            size: the item's tokens. A call of several has at most `PREFILL_CHUNK`, and none of them is over 64 longer
                than the first.
            check: raises to abort. Called while waiting, and by `work`. Others' items are not aborted.

        Raises:
            DeadlineExceeded: as raised by `check`.
            BackendError: as raised by `check` or `work`.
        """
        with self._lock:
            job = _Job(work, item, size, place, threading.Condition(self._lock))
            self._waiting.append(job)
            self._expected.discard(place)
            self._call_next()
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
        if self._busy or job is not self._first():
            return _LOOK_S
        return self._wait_until_s - time.monotonic() if self._expected else 0.0

    def _first(self) -> _Job:
        """The job whose turn is next; of equal ones, that which has waited longest."""
        return min(self._waiting, key=_order)

    def _take(self) -> list[_Job]:
        """Take the first job, and what can share its call, from the queue."""
        first, *others = sorted(self._waiting, key=_order)
        group, size = [first], first.size
        for job in others:
            shares = job.work == first.work and not (job.alone or first.alone)
            if shares and job.size <= first.size + _LONGER and size + job.size <= PREFILL_CHUNK:
                group.append(job)
                size += job.size
        self._waiting = [job for job in self._waiting if job not in group]
        for job in self._waiting:
            job.passed += 1
        return group

    def _try(self, group: list[_Job], check: Check) -> tuple[Sequence[Any], BaseException | None]:
        try:
            return group[0].work([job.item for job in group], check), None
        except BaseException as error:  # noqa: BLE001 - the threads that wait for this one must not wait for ever
            return (), error

    def _end(self, group: list[_Job]) -> None:
        """The model is free; if others wait, it waits a little for the next job of those that it has worked for."""
        now = time.monotonic()
        alone = len(group) == 1 and not self._waiting
        self._busy, self._expected = False, set() if alone else {job.place for job in group}
        patience_s = max(_LEAST_PATIENCE_S, _PATIENCE * (now - self._began_s))
        self._wait_until_s = now + min(_MOST_PATIENCE_S, patience_s)
        self._call_next()

    def _call_next(self) -> None:
        if self._waiting:
            self._first().turn.notify()

    def _again(self, group: list[_Job], job: _Job, error: BaseException) -> None:
        """Put the others' jobs back, and this one too if another may have made them fail."""
        aborted = isinstance(error, DeadlineExceeded | BackendError) or not isinstance(error, Exception)
        retried = [each for each in group if each is not job or not aborted] if len(group) > 1 else []
        for each in retried:
            each.alone = not aborted
        self._waiting[:0] = [each for each in retried if not each.left]
        self._expected -= {each.place for each in retried}
        self._call_next()
        if job not in retried:
            raise error


def _order(job: _Job) -> tuple[bool, int]:
    return job.passed < _MOST_PASSED, job.place
