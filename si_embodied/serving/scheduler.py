"""Shares one model between many robots: one queue slot per robot, its latest request wins, robots take turns.

Jobs, such as the answers to chat clients, get the model while no robot waits for it, and take turns too.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol, TypeAlias

from si_embodied.errors import ConfigError, RequestRefused

if TYPE_CHECKING:
    from si_embodied.serving.messages import PlanRequest
    from si_embodied.types import Decision

_LOG = logging.getLogger(__name__)

Decide: TypeAlias = "Callable[[PlanRequest, float], Decision]"
"""Maps a request and its waiting time in seconds to a decision. A `RequestRefused` is passed on to the robot."""


@dataclass(frozen=True, slots=True, eq=False)
class _Ticket:
    request: PlanRequest
    arrived_s: float
    future: Future[Decision]


Stage: TypeAlias = Literal["done", "interrupted", "turn over"]
"""How far a job is: at its end, to continue before other jobs, or after them."""


class Job(Protocol):
    """Work for the model that a robot's request interrupts at any time."""

    interrupted: threading.Event  # set by the scheduler to make `run` return soon

    def run(self, others: Callable[[], bool]) -> Stage:
        """Work until done or interrupted, or for one turn if `others` says that other jobs wait.

        An exception is logged, and the job refused.
        """
        ...

    def cancel(self) -> None:
        """Make this and any further `run` return "done" soon."""
        ...

    def refuse(self, refused: RequestRefused) -> None:
        """Hear that the job will not be finished."""
        ...


class Scheduler:
    """Runs requests on its own threads, serving the robot that has waited longest first.

    A robot that asks ten times per second gets no more turns than one that asks once: it holds one place in the queue,
    keeps it when a newer request replaces the queued one, and goes to the back after being served. With several
    threads, as many robots are served at once, each with one request at a time. Jobs wait until no robot waits or is
    served, and run one at a time: each for a turn, then it goes to the back.
    """

    def __init__(
        self,
        decide: Decide,
        *,
        cancel: Callable[[PlanRequest], None] | None = None,
        threads: int = 1,
        most_waiting: int = 64,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Start the threads.

        Args:
            decide: called from the scheduler's threads.
            cancel: aborts the running `decide` of a request.
            threads: more than one only for a thread-safe backend.
            most_waiting: size of the queue, in robots; further robots are refused. As many jobs may wait.
            clock: monotonic time in seconds.
        """
        if threads < 1 or most_waiting < 1:
            raise ConfigError(f"expected threads and most_waiting of at least 1, got: {threads} and {most_waiting}")
        self._decide, self._cancel, self._most_waiting, self._clock = decide, cancel, most_waiting, clock
        self._condition = threading.Condition()
        self._waiting: dict[str, _Ticket] = {}  # by robot, in queue order
        self._working: list[_Ticket] = []
        self._jobs: deque[Job] = deque()
        self._job: Job | None = None  # the one that has the model
        self._stopping = False
        self._threads = [
            threading.Thread(target=self._run, name=f"planning-{number}", daemon=True) for number in range(threads)
        ]
        for thread in self._threads:
            thread.start()

    @property
    def waiting(self) -> int:
        """Number of robots with a queued request."""
        with self._condition:
            return len(self._waiting)

    @property
    def working(self) -> int:
        """Number of robots that are being served."""
        with self._condition:
            return len(self._working)

    def submit(self, request: PlanRequest) -> Future[Decision]:
        """Queue a request. The same robot's queued request, if any, is refused as superseded. See also `withdraw`.

        Raises:
            RequestRefused: the queue is full, or the scheduler is stopping.
        """
        ticket = _Ticket(request, self._clock(), Future())
        with self._condition:
            if self._stopping:
                raise RequestRefused("stopping", "the planning server is shutting down; retry when it is back")
            replaced = self._waiting.get(request.robot)
            if replaced is None and len(self._waiting) >= self._most_waiting:
                raise RequestRefused("busy", f"{len(self._waiting)} robots are already waiting; start another server")
            self._waiting[request.robot] = ticket  # a dict keeps the place of an existing key
            if self._job is not None:
                self._job.interrupted.set()
            self._condition.notify()
        if replaced is not None and replaced.future.set_running_or_notify_cancel():
            replaced.future.set_exception(RequestRefused("superseded", "this robot has sent a newer request"))
        return ticket.future

    def withdraw(self, future: Future[Decision]) -> None:
        """Drop the request of a robot that disconnected: remove it from the queue, or abort it if it is running."""
        if future.cancel():
            return
        with self._condition:  # held so that the worker thread cannot move on to another robot's request meanwhile
            for ticket in self._working:
                if ticket.future is future and self._cancel is not None:
                    self._cancel(ticket.request)

    def add(self, job: Job) -> None:
        """Queue a job. See also `drop`.

        Raises:
            RequestRefused: the queue is full, or the scheduler is stopping.
        """
        with self._condition:
            if self._stopping:
                raise RequestRefused("stopping", "the planning server is shutting down; retry when it is back")
            if len(self._jobs) >= self._most_waiting:
                raise RequestRefused("busy", f"{len(self._jobs)} requests are already waiting; retry in a while")
            self._jobs.append(job)
            self._condition.notify()

    def remove(self, job: Job) -> bool:
        """Remove a job from the queue; whether it was there, and so neither runs nor is done."""
        with self._condition:
            if waits := job in self._jobs:
                self._jobs.remove(job)
            return waits

    def drop(self, job: Job) -> None:
        """Abort a job, or remove it from the queue; does nothing if it is done."""
        with self._condition:
            self.remove(job)
            job.cancel()

    def stop(self, *, grace_s: float) -> bool:
        """Refuse new requests and wait for the accepted ones; returns whether all finished within `grace_s`."""
        with self._condition:
            self._stopping = True
            self._condition.notify_all()
            done = self._condition.wait_for(self._idle, timeout=grace_s)
            left, self._waiting = list(self._waiting.values()), {}
            jobs = [*self._jobs, *([] if self._job is None else [self._job])]
            self._jobs.clear()
            for job in jobs:
                job.cancel()
            self._condition.notify_all()
        refused = RequestRefused("stopping", "the planning server stopped before this request's turn")
        for ticket in left:
            if ticket.future.set_running_or_notify_cancel():
                ticket.future.set_exception(refused)
        for job in jobs:
            job.refuse(refused)
        return done

    def _idle(self) -> bool:
        return not (self._waiting or self._working or self._jobs or self._job)

    def _run(self) -> None:
        while True:
            with self._condition:
                self._condition.wait_for(self._ready)
                if not (self._waiting or self._jobs):
                    return
                run = self._next()
            run()

    def _ready(self) -> bool:
        """Whether a thread has something to do, or is to end."""
        if self._waiting:
            return self._first() is not None
        free = not (self._working or self._job)
        return bool(self._jobs and free) or (self._stopping and not self._jobs)

    def _first(self) -> str | None:
        """The robot that has waited longest, of those that are not being served already."""
        served = {ticket.request.robot for ticket in self._working}
        return next((robot for robot in self._waiting if robot not in served), None)

    def _next(self) -> Callable[[], None]:
        """Take the first request from the queue, or the first job if no robot waits."""
        if (robot := self._first()) is not None:
            ticket = self._waiting.pop(robot)
            self._working.append(ticket)
            return lambda: self._run_ticket(ticket)
        self._job = job = self._jobs.popleft()
        job.interrupted.clear()
        return lambda: self._run_job(job)

    def _run_ticket(self, ticket: _Ticket) -> None:
        try:
            if ticket.future.set_running_or_notify_cancel():
                self._work(ticket)
        finally:
            with self._condition:
                self._working.remove(ticket)
                self._condition.notify_all()

    def _run_job(self, job: Job) -> None:
        """Run a job. If a robot interrupts it, it is the first to continue; after its turn it is the last."""
        stage: Stage = "done"
        try:
            stage = job.run(lambda: bool(self._jobs))
        except Exception as error:  # noqa: BLE001 - one client's job must never bring the server down
            _LOG.exception("a job failed")
            why = f"it failed ({type(error).__name__}: {error}); the traceback is in the server's log"
            job.refuse(RequestRefused("failed", why))
        finally:
            with self._condition:
                self._job = None
                if stage != "done":
                    (self._jobs.append if stage == "turn over" else self._jobs.appendleft)(job)
                self._condition.notify_all()

    def _work(self, ticket: _Ticket) -> None:
        waited_s = self._clock() - ticket.arrived_s
        try:
            if waited_s >= ticket.request.deadline_s:
                raise RequestRefused("late", f"the request waited {waited_s:.2f} s, longer than its deadline")
            ticket.future.set_result(self._decide(ticket.request, waited_s))
        except RequestRefused as refused:
            ticket.future.set_exception(refused)
        except Exception as error:  # noqa: BLE001 - one robot's request must never bring the server down
            _LOG.exception("planning for %r failed", ticket.request.robot)
            why = f"planning failed ({type(error).__name__}: {error}); the traceback is in the server's log"
            ticket.future.set_exception(RequestRefused("failed", why))
