"""Runs a planner beside a control loop. The loop never blocks and never receives an answer to a dropped request."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from si_embodied.types import Code, Hold, Refusal, refused

if TYPE_CHECKING:
    from si_embodied.memory import Memory
    from si_embodied.planner import AnyPlanner
    from si_embodied.types import Decision, Observation, Task

Clock = Callable[[], float]
LatencyModel = Callable[[float], float]


@dataclass(frozen=True, slots=True, eq=False)
class _Request:
    epoch: int
    task: Task
    observation: Observation
    memory: Memory


@dataclass(frozen=True, slots=True, eq=False)
class _Answer:
    request: _Request
    decision: Decision | None  # None if planning raised
    error: BaseException | None
    ready_s: float  # earliest delivery, on the worker's clock


class PlannerWorker:
    """Plans in the background. A one-slot mailbox holds the next request; the latest one wins.

    The control loop calls `submit`, `poll` and `reset` from its own thread; all return at once. The planner runs in the
    worker's thread. With a latency model there is no thread: `submit` plans inline, and `poll` delivers the decision
    once the simulated clock has advanced by the latency. Everything else is identical, so simulation measures what runs
    on the robot.
    """

    def __init__(self, planner: AnyPlanner, clock: Clock, *, latency: LatencyModel | None = None) -> None:
        """Start the worker.

        Args:
            planner: called for one plan at a time.
            clock: the clock of the observations' stamps, in seconds.
            latency: maps the measured planning time to the simulated planning time, both in seconds. None plans in a
                thread, in real time.
        """
        self._planner, self._clock, self._latency = planner, clock, latency
        self._condition = threading.Condition()
        self._epoch = 0
        self._mailbox: _Request | None = None
        self._working: _Request | None = None
        self._answer: _Answer | None = None
        self._closed = False
        self._thread: threading.Thread | None = None
        if latency is None:
            self._thread = threading.Thread(target=self._run, name="planner-worker", daemon=True)
            self._thread.start()

    @property
    def busy(self) -> bool:
        """Whether a request of this epoch is waiting, being planned, or answered but not yet polled."""
        with self._condition:
            working = self._working is not None and self._working.epoch == self._epoch
            return working or self._mailbox is not None or self._answer is not None

    def submit(self, task: Task, observation: Observation, memory: Memory) -> None:
        """Request a decision. Replaces a request that is still waiting.

        Raises:
            RuntimeError: the worker is closed.
        """
        with self._condition:
            if self._closed:
                raise RuntimeError("the worker is closed; create a new one")
            self._mailbox = _Request(self._epoch, task, observation, memory)
            self._condition.notify()
        if self._latency is not None:
            self._work_inline()

    def poll(self) -> Decision | None:
        """The next decision, returned once; None while there is none. A plan that is too old by now becomes a `Hold`.

        Raises:
            BaseException: whatever the planner raised.
        """
        with self._condition:
            answer = self._answer
            now_s = self._clock()
            if answer is None or now_s < answer.ready_s:
                return None
            self._answer = None
        if self._latency is not None:
            self._work_inline()  # plan a request submitted while this answer was pending
        if answer.error is not None:
            raise answer.error
        assert answer.decision is not None  # an answer holds either a decision or an error
        refusal = self._planner.guard.check_plan_age(answer.request.observation.stamp_s, now_s)
        if refusal is None or isinstance(answer.decision, Hold):
            return answer.decision
        return refused(answer.decision, refusal)

    def reset(self) -> None:
        """Start a new epoch: requests that are waiting or in flight are never delivered."""
        with self._condition:
            self._epoch += 1
            self._mailbox = self._answer = None

    def close(self, *, timeout_s: float = 5.0) -> None:
        """Accept no more requests and wait up to `timeout_s` seconds for the one in flight."""
        with self._condition:
            self._closed = True
            self._mailbox = None
            self._condition.notify()
        if self._thread is not None:
            self._thread.join(timeout_s)

    def _run(self) -> None:
        while True:
            with self._condition:
                self._condition.wait_for(lambda: self._closed or self._mailbox is not None)
                if self._closed:
                    return
                self._take()
            self._work()

    def _work_inline(self) -> None:
        with self._condition:
            if self._mailbox is None or self._answer is not None:
                return
            self._take()
        self._work()

    def _take(self) -> None:
        """Take the request out of the mailbox; the caller holds the lock."""
        self._working, self._mailbox = self._mailbox, None

    def _work(self) -> None:
        """Plan the taken request and store the answer, unless its epoch has ended meanwhile."""
        request = self._working
        assert request is not None  # set by _take
        started_s = self._clock()
        decision: Decision | None = None
        error: BaseException | None = None
        ready_s = started_s
        try:
            decision = self._planner.plan(request.task, request.observation, request.memory, now_s=started_s)
            if self._latency is not None:
                decision, ready_s = self._delayed(decision, started_s, self._latency)
        except BaseException as raised:  # noqa: BLE001 - poll raises it in the control loop's thread
            error = raised
        with self._condition:
            self._working = None
            if request.epoch == self._epoch:
                self._answer = _Answer(request, decision, error, ready_s)

    def _delayed(self, decision: Decision, started_s: float, latency: LatencyModel) -> tuple[Decision, float]:
        """The decision and its delivery time. If that is past the planner's deadline: a `Hold`, at the deadline."""
        delay_s, deadline_s = latency(decision.record.latency_s["total"]), self._planner.config.deadline_s
        if delay_s <= deadline_s:
            return decision, started_s + delay_s
        message = f"planning took {delay_s:.2f} s, more than {deadline_s} s"
        return refused(decision, Refusal(Code.DEADLINE_EXCEEDED, message)), started_s + deadline_s
