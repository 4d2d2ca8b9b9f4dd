"""Shares one model between many robots: one queue slot per robot, its latest request wins, robots take turns."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

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


class Scheduler:
    """Runs requests on its own threads, serving the robot that has waited longest first.

    A robot that asks ten times per second gets no more turns than one that asks once: it holds one place in the queue,
    keeps it when a newer request replaces the queued one, and goes to the back after being served.
    """

    def __init__(
        self,
        decide: Decide,
        *,
        cancel: Callable[[], None] | None = None,
        threads: int = 1,
        most_waiting: int = 64,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Start the threads.

        Args:
            decide: called from the scheduler's threads.
            cancel: aborts a running `decide`; used only with one thread.
            threads: more than one only for a thread-safe backend.
            most_waiting: size of the queue, in robots; further robots are refused.
            clock: monotonic time in seconds.
        """
        if threads < 1 or most_waiting < 1:
            raise ConfigError(f"expected threads and most_waiting of at least 1, got: {threads} and {most_waiting}")
        self._decide, self._most_waiting, self._clock = decide, most_waiting, clock
        self._cancel = cancel if threads == 1 else None  # with several threads it could abort another robot's plan
        self._condition = threading.Condition()
        self._waiting: dict[str, _Ticket] = {}  # by robot, in queue order
        self._working: list[_Ticket] = []
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
            self._condition.notify()
        if replaced is not None and replaced.future.set_running_or_notify_cancel():
            replaced.future.set_exception(RequestRefused("superseded", "this robot has sent a newer request"))
        return ticket.future

    def withdraw(self, future: Future[Decision]) -> None:
        """Drop the request of a robot that disconnected: remove it from the queue, or abort it if it is running."""
        if future.cancel():
            return
        with self._condition:  # held so that the worker thread cannot move on to another robot's request meanwhile
            if self._cancel is not None and any(ticket.future is future for ticket in self._working):
                self._cancel()

    def stop(self, *, grace_s: float) -> bool:
        """Refuse new requests and wait for the accepted ones; returns whether all finished within `grace_s`."""
        with self._condition:
            self._stopping = True
            self._condition.notify_all()
            done = self._condition.wait_for(lambda: not self._waiting and not self._working, timeout=grace_s)
            left, self._waiting = list(self._waiting.values()), {}
        for ticket in left:
            if ticket.future.set_running_or_notify_cancel():
                why = "the planning server stopped before this request's turn"
                ticket.future.set_exception(RequestRefused("stopping", why))
        return done

    def _run(self) -> None:
        while True:
            with self._condition:
                self._condition.wait_for(lambda: self._waiting or self._stopping)
                if not self._waiting:
                    return
                ticket = self._waiting.pop(next(iter(self._waiting)))
                self._working.append(ticket)
            try:
                if ticket.future.set_running_or_notify_cancel():
                    self._work(ticket)
            finally:
                with self._condition:
                    self._working.remove(ticket)
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
