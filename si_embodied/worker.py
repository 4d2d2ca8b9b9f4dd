"""Runs a planner beside a control loop. The loop never blocks and never receives an answer to a dropped request."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from si_embodied.planner import unforeseen
from si_embodied.types import Code, Hold, Refusal, never_asked, refused

if TYPE_CHECKING:
    from si_embodied.memory import Memory
    from si_embodied.planner import AnyPlanner
    from si_embodied.types import Decision, Observation, Task

Clock = Callable[[], float]
LatencyModel = Callable[[float], float]

GRACE_S = 0.5
"""How far a plan may overrun its deadline before the worker gives up on it. The planner itself holds earlier."""


@dataclass(frozen=True, slots=True, eq=False)
class _Request:
    epoch: int
    task: Task
    observation: Observation
    memory: Memory
    since_s: float  # when it was submitted, or when planning began, on the steady clock


@dataclass(frozen=True, slots=True, eq=False)
class _Answer:
    request: _Request
    decision: Decision
    started_s: float  # when planning began, on the worker's clock
    ready_s: float  # earliest delivery, on the worker's clock


class PlannerWorker:
    """Plans in the background. A one-slot mailbox holds the next request; the latest one wins.

    The control loop calls `submit`, `poll` and `reset` from its own thread; all return at once. The planner runs in the
    worker's thread. With a latency model there is no thread: `submit` plans inline, and `poll` delivers the decision
    once the simulated clock has advanced by the latency. Everything else is identical, so simulation measures what runs
    on the robot.

    A planner that hangs past its deadline does not hang the loop: `poll` returns a `Hold` and the late answer is
    dropped. Requests submitted before the planner returns wait for it, and become a `Hold` at their own deadline.
    """

    def __init__(
        self,
        planner: AnyPlanner,
        clock: Clock,
        *,
        latency: LatencyModel | None = None,
        steady_clock: Clock = time.monotonic,
    ) -> None:
        """Start the worker.

        Args:
            planner: called for one plan at a time.
            clock: the clock of the observations' stamps, in seconds.
            latency: maps the measured planning time to the simulated planning time, both in seconds. None plans in a
                thread, in real time.
            steady_clock: measures the deadline of a plan in the thread; never set back.
        """
        self._planner, self._clock, self._latency, self._steady = planner, clock, latency, steady_clock
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
            self._mailbox = _Request(self._epoch, task, observation, memory, self._steady())
            self._condition.notify()
        if self._latency is not None:
            self._work_inline()

    def poll(self) -> Decision | None:
        """The next decision, returned once; None while there is none.

        A plan that is too old by now, or longer overdue than `GRACE_S`, becomes a `Hold`.
        """
        with self._condition:
            answer = self._answer
            now_s = self._clock()
            if answer is None:
                return self._overdue()
            set_back = now_s < answer.started_s - self._planner.guard.config.max_observation_age_s
            if now_s < answer.ready_s and not set_back:
                return None
            self._answer = None
        if self._latency is not None:
            self._work_inline()  # plan a request submitted while this answer was pending
        refusal = self._planner.guard.check_plan_age(answer.request.observation.stamp_s, now_s)
        if refusal is None or isinstance(answer.decision, Hold):
            return answer.decision
        return refused(answer.decision, refusal)

    def reset(self) -> None:
        """Start a new epoch: requests that are waiting are dropped, and the one in flight is cancelled."""
        with self._condition:
            self._drop()

    def _drop(self) -> None:
        """Drop all requests and answers; the caller holds the lock, so only the request in flight is cancelled."""
        self._epoch += 1
        self._mailbox = self._answer = None
        if self._working is not None:
            self._planner.cancel()

    def _overdue(self) -> Hold | None:
        """Give up on the current request if it is overdue; the caller holds the lock."""
        working = self._working if self._working is not None and self._working.epoch == self._epoch else None
        request = working or self._mailbox
        if request is None or self._latency is not None or self._steady() - request.since_s <= self._limit_s:
            return None
        took = f"within {self._limit_s:.1f} s"
        message = f"the planner did not answer {took}" if working else f"an earlier plan did not return {took}"
        self._drop()
        return self._hold(Refusal(Code.DEADLINE_EXCEEDED, message), request, self._limit_s)

    @property
    def _limit_s(self) -> float:
        return self._planner.config.deadline_s + GRACE_S

    def _hold(self, refusal: Refusal, request: _Request, elapsed_s: float) -> Hold:
        version = self._planner.config.prompts.version(self._planner.embodiment.kind) or "none"
        return never_asked(refusal, self._planner.info, version, request.observation.stamp_s, elapsed_s)

    def close(self, *, timeout_s: float = 5.0) -> None:
        """Accept no more requests, cancel the one in flight, and wait up to `timeout_s` seconds for it to return."""
        with self._condition:
            self._closed = True
            self._drop()
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
        assert self._mailbox is not None  # the caller has checked
        self._working, self._mailbox = replace(self._mailbox, since_s=self._steady()), None

    def _work(self) -> None:
        """Plan the taken request and store the answer, unless its epoch has ended meanwhile."""
        request = self._working
        assert request is not None  # set by _take
        started_s = self._clock()
        decision: Decision
        ready_s = -math.inf
        try:
            decision = self._planner.plan(request.task, request.observation, request.memory, now_s=started_s)
            if self._latency is not None:
                decision, ready_s = self._delayed(decision, started_s, self._latency)
            elif (took_s := self._steady() - request.since_s) > self._limit_s:
                decision = refused(decision, Refusal(Code.DEADLINE_EXCEEDED, f"planning took {took_s:.2f} s"))
        except BaseException as error:  # noqa: BLE001 - a foreign planner; ours never raises
            decision = self._hold(unforeseen(error), request, 0.0)
        with self._condition:
            self._working = None
            if request.epoch == self._epoch:
                self._answer = _Answer(request, decision, started_s, ready_s)

    def _delayed(self, decision: Decision, started_s: float, latency: LatencyModel) -> tuple[Decision, float]:
        """The decision and its delivery time. If that is past the planner's deadline: a `Hold`, at the deadline."""
        delay_s, deadline_s = latency(decision.record.latency_s.get("total", 0.0)), self._planner.config.deadline_s
        if delay_s <= deadline_s:
            return decision, started_s + delay_s
        message = f"planning took {delay_s:.2f} s, more than {deadline_s} s"
        return refused(decision, Refusal(Code.DEADLINE_EXCEEDED, message)), started_s + deadline_s
