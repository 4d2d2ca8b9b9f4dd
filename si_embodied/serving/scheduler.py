"""Many robots, one model: a slot for each robot in which its newest request wins, and the robots taken in turn."""

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
"""From a request and the seconds that it has waited to a decision; a `RequestRefused` is handed on as it is."""


@dataclass(frozen=True, slots=True, eq=False)
class _Ticket:
    request: PlanRequest
    arrived_s: float
    future: Future[Decision]


class Scheduler:
    """Hands requests to threads of its own, the robot that has waited longest first.

    A robot that asks ten times a second gets no more turns than one that asks once: it has one place in the queue,
    keeps it when its request is replaced, and goes to the end when it was served.
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
            decide: called from the threads.
            cancel: makes a `decide` that is under way give up, with one thread.
            threads: more than one only for a backend that may be asked from several.
            most_waiting: robots that may wait; the next one is refused.
            clock: seconds that only grow.
        """
        if threads < 1 or most_waiting < 1:
            raise ConfigError(f"expected at least one thread and one place to wait, got: {threads} and {most_waiting}")
        self._decide, self._most_waiting, self._clock = decide, most_waiting, clock
        self._cancel = cancel if threads == 1 else None  # with several it would not say whose
        self._condition = threading.Condition()
        self._waiting: dict[str, _Ticket] = {}  # by robot, in the order in which they will be taken
        self._working: list[_Ticket] = []
        self._stopping = False
        self._threads = [
            threading.Thread(target=self._run, name=f"planning-{number}", daemon=True) for number in range(threads)
        ]
        for thread in self._threads:
            thread.start()

    @property
    def waiting(self) -> int:
        """How many robots wait."""
        with self._condition:
            return len(self._waiting)

    def submit(self, request: PlanRequest) -> Future[Decision]:
        """Ask for a decision. What the same robot has waiting is refused as superseded. See also `withdraw`.

        Raises:
            RequestRefused: too many robots wait, or the scheduler is stopping.
        """
        ticket = _Ticket(request, self._clock(), Future())
        with self._condition:
            if self._stopping:
                raise RequestRefused("stopping", "the planning server is stopping; ask again when it is back")
            replaced = self._waiting.get(request.robot)
            if replaced is None and len(self._waiting) >= self._most_waiting:
                raise RequestRefused("busy", f"{len(self._waiting)} robots are waiting already; start another server")
            self._waiting[request.robot] = ticket  # a robot that waits keeps its place
            self._condition.notify()
        if replaced is not None and replaced.future.set_running_or_notify_cancel():
            replaced.future.set_exception(RequestRefused("superseded", "this robot has asked again since"))
        return ticket.future

    def withdraw(self, future: Future[Decision]) -> None:
        """Give up a request whose robot has left: one that waits is not planned, one that is planned is cancelled."""
        if future.cancel():
            return
        with self._condition:  # held, so that the thread cannot go on to another robot's request meanwhile
            if self._cancel is not None and any(ticket.future is future for ticket in self._working):
                self._cancel()

    def stop(self, *, grace_s: float) -> bool:
        """Take no more requests and wait for what was taken; whether all of it was done within `grace_s`."""
        with self._condition:
            self._stopping = True
            self._condition.notify_all()
            done = self._condition.wait_for(lambda: not self._waiting and not self._working, timeout=grace_s)
            left, self._waiting = list(self._waiting.values()), {}
        for ticket in left:
            if ticket.future.set_running_or_notify_cancel():
                ticket.future.set_exception(RequestRefused("stopping", "the planning server stopped before its turn"))
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
                raise RequestRefused("late", f"its turn came after {waited_s:.2f} s, later than its deadline")
            ticket.future.set_result(self._decide(ticket.request, waited_s))
        except RequestRefused as refused:
            ticket.future.set_exception(refused)
        except Exception as error:  # noqa: BLE001 - whatever it is, one robot's request must not end the server
            _LOG.exception("planning for %r failed", ticket.request.robot)
            why = f"planning failed ({type(error).__name__}: {error}); the server's log has the traceback"
            ticket.future.set_exception(RequestRefused("failed", why))
