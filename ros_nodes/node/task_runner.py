"""Drives a `TaskProgress` from a timer: observe, plan, execute the goals, repeat. Never blocks and does not use ROS."""

from __future__ import annotations

import enum
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from si_embodied.ros_nodes.node.remembering import PassedViews, forgetting, memory_for
from si_embodied.task import MOST_HOLDS, MOST_OUTAGE_S, TaskProgress
from si_embodied.types import Code, Hold, Outcome, Refusal, never_asked

if TYPE_CHECKING:
    from si_embodied.geometry import Pose
    from si_embodied.planner import AnyPlanner
    from si_embodied.skills import Goal
    from si_embodied.types import Decision, Observation, Task
    from si_embodied.worker import PlannerWorker


_BACK_S, _STOPPED_S = 0.1, 2.0
"""A ROS clock jumped back if it goes back by more than `_BACK_S`, and has stopped after `_STOPPED_S` without change."""
_LOST_S = 1.0
"""A goal under way ends once the robot's pose has not been known for this long."""


class Phase(enum.IntEnum):
    """The phase of a task. The numbers match PlannerStatus.msg."""

    IDLE = 0
    OBSERVING = 1
    PLANNING = 2
    EXECUTING = 3
    HOLDING = 4


class GoalClient(Protocol):
    """Executes one goal at a time. No method blocks."""

    def start(self, goal: Goal, T_map_base: Pose) -> None:
        """Start a goal. Turns and drives are relative to `T_map_base`."""

    def poll(self) -> Outcome | None:
        """The goal's outcome, returned once; None while it is running."""

    def cancel(self) -> None:
        """Stop at once and drop the goal, also if there is none."""

    @property
    def settled(self) -> bool:
        """Whether no goal is on its way that a server could still accept."""


class Viewer(Protocol):
    """The source of observations."""

    def observe(self, after_s: float) -> Observation | Refusal:
        """The newest observation later than `after_s`, or what is missing."""

    def base_now(self) -> Pose | Refusal:
        """The base's current pose in the map, or why the robot must not move now."""


@dataclass(slots=True)
class TaskReport:
    """A task's progress and times, in seconds of the ROS clock."""

    progress: TaskProgress
    started_s: float
    planning_s: float = 0.0
    ended_s: float = 0.0


@dataclass(slots=True)
class TaskRunner:
    """Runs one task at a time. `tick` is called by a timer and returns at once."""

    worker: PlannerWorker
    planner: AnyPlanner  # the worker's planner; a hold before planning is recorded with its model
    viewer: Viewer
    client: GoalClient
    clock: Callable[[], float]  # the ROS clock, which may stand still or jump
    steady_s: Callable[[], float] = time.monotonic
    most_holds: int = MOST_HOLDS
    most_outage_s: float = MOST_OUTAGE_S
    observation_timeout_s: float = 3.0
    on_decision: Callable[[Decision, Observation | None], None] = lambda *_: None
    may_start: Callable[[], bool] = lambda: True  # a goal; a plan waits for it until the task times out
    phase: Phase = Phase.IDLE
    report: TaskReport | None = None
    _timeout_s: float = 0.0
    _observation: Observation | None = None  # the one submitted to the worker
    _passed: PassedViews = field(default_factory=PassedViews)
    _since_s: float = 0.0  # start of the current phase
    _after_s: float = 0.0  # earlier images show the robot in motion
    _first: bool = False  # the plan's first goal is next, measured from the pose of the plan's image
    _posed_s: float = 0.0  # when the robot's pose was last known
    _latest_s: float = 0.0  # the ROS clock at the last tick
    _steady_started_s: float = 0.0
    _steady_since_s: float = 0.0  # start of the current phase, on the steady clock
    _steady_changed_s: float = 0.0  # when the ROS clock last changed, on the steady clock
    _steady_held_s: float = 0.0  # when the last hold began, on the steady clock

    def start(self, task: Task, timeout_s: float) -> None:
        """Start a task. The previous one must have ended; its views and objects are still known."""
        now_s = self.clock()
        self.worker.reset()
        memory = memory_for(self.planner.config, task.kind, self.report.progress.memory if self.report else None)
        self.report = TaskReport(TaskProgress(task, memory, self.most_holds, self.most_outage_s), now_s)
        self._timeout_s, self._observation, self._after_s = timeout_s, None, 0.0
        self._latest_s, self._steady_started_s = now_s, self.steady_s()
        self._steady_changed_s = self._steady_started_s
        self._enter(Phase.OBSERVING, now_s)

    def end(self, code: Code, message: str) -> None:
        """Cancel the current goal and end the task."""
        if self.phase is Phase.IDLE or self.report is None:
            return
        self.report.progress.stop(Outcome(code, message))
        self._rest(self.report)

    def interrupt(self, outcome: Outcome) -> None:
        """End the goal under way, or the one that waits to start, with a failure; drop the plan and observe again."""
        if self.phase is not Phase.EXECUTING or self.report is None:
            return
        self.client.cancel()
        self.report.progress.interrupted(outcome)
        self._continue(self.report, self.clock())

    def saw(self, observation: Observation) -> None:
        """Remember a view worth keeping; call it with observations while a goal is carried out."""
        passed = self._passed.add(observation)
        if passed is not None and self.report is not None:
            self.report.progress.saw(passed)

    def forget(self) -> None:
        """Drop the remembered views and objects, and a plan in the making: where and when they were no longer holds."""
        self._passed = PassedViews()
        if self.report is not None:
            self.report.progress.memory = forgetting(self.report.progress.memory)
        if self.phase is Phase.PLANNING and self.report is not None:
            self.worker.reset()
            self._continue(self.report, self.clock())

    def tick(self) -> None:
        """Advance the task as far as possible without waiting."""
        if self.phase is Phase.IDLE or self.report is None:
            return
        now_s = self.clock()
        end = self._check_time(self.report, now_s)
        if end is not None:
            self.end(end.code, end.message)
        elif self.phase is Phase.HOLDING and self.steady_s() - self._steady_held_s < self.report.progress.pause_s:
            self._enter(Phase.HOLDING, now_s)  # the wait for an observation begins after the pause
        elif self.phase in (Phase.OBSERVING, Phase.HOLDING):
            self._observe(self.report, now_s)
        elif self.phase is Phase.PLANNING:
            self._take_decision(self.report, now_s)
        elif self.phase is Phase.EXECUTING:
            self._execute(self.report, now_s)

    def _check_time(self, report: TaskReport, now_s: float) -> Outcome | None:
        """Why the task ends now: its time is up (by the steady clock if the ROS clock stands still), or a jump back."""
        steady_s, back_s = self.steady_s(), self._latest_s - now_s
        if back_s > _BACK_S:
            jumped = (
                f"the ROS clock jumped back by {back_s:.1f} s, so nothing seen before it is valid; send the task again"
            )
            return Outcome(Code.STALE_OBSERVATION, jumped)
        if self._latest_s == 0.0 < now_s:  # simulated time has begun
            report.started_s = self._since_s = now_s
        if now_s > self._latest_s:
            self._latest_s, self._steady_changed_s = now_s, steady_s
        elapsed_s = now_s - report.started_s
        if self._clock_stopped(steady_s):
            elapsed_s = max(elapsed_s, steady_s - self._steady_started_s)
        if elapsed_s > self._timeout_s:
            return Outcome(Code.TIMED_OUT, f"the task did not finish within {self._timeout_s:.1f} s")
        return None

    def _clock_stopped(self, steady_s: float) -> bool:
        return steady_s - self._steady_changed_s > _STOPPED_S

    def _enter(self, phase: Phase, now_s: float) -> None:
        self.phase, self._since_s, self._steady_since_s = phase, now_s, self.steady_s()

    def _waited_s(self, now_s: float) -> float:
        """How long this phase has lasted, by the steady clock if the ROS clock stands still."""
        steady_s = self.steady_s()
        return max(now_s - self._since_s, steady_s - self._steady_since_s if self._clock_stopped(steady_s) else 0.0)

    def _rest(self, report: TaskReport) -> None:
        self.client.cancel()
        self.worker.reset()
        self.phase, report.ended_s = Phase.IDLE, self.clock()

    def _observe(self, report: TaskReport, now_s: float) -> None:
        seen = self.viewer.observe(self._after_s)
        if not isinstance(seen, Refusal):
            self._observation = seen
            self.saw(seen)
            if self._after_s > 0.0:  # a goal has been carried out, and this is what it has led to
                report.progress.saw(seen)
            self.worker.submit(report.progress.task, seen, report.progress.memory)
            self._enter(Phase.PLANNING, now_s)
        elif self._waited_s(now_s) > self.observation_timeout_s:
            version = self.planner.config.prompts.version(self.planner.embodiment.kind)
            self._decided(report, never_asked(seen, self.planner.info, version, now_s), None, now_s)

    def _take_decision(self, report: TaskReport, now_s: float) -> None:
        decision = self.worker.poll()
        if decision is not None:
            report.planning_s += now_s - self._since_s
            self._decided(report, decision, self._observation, now_s)

    def _decided(
        self, report: TaskReport, decision: Decision, observation: Observation | None, now_s: float
    ) -> None:  # fmt: skip
        shown = None if observation is None else report.progress.memory.recall(observation)
        report.progress.decided(decision, observation)
        self.on_decision(decision, shown)
        if report.progress.end is not None:
            self._rest(report)
        elif isinstance(decision, Hold):
            self._steady_held_s = self.steady_s()
            self._enter(Phase.HOLDING, now_s)
        else:
            self._first = True
            self._enter(Phase.EXECUTING, now_s)
            self._next(report, now_s)

    def _execute(self, report: TaskReport, now_s: float) -> None:
        if report.progress.step is None:
            self._next(report, now_s)
            return
        base = self._base_now(now_s)
        if self._clock_stopped(self.steady_s()):
            self._posed_s = now_s - 2 * _LOST_S
        if not isinstance(base, Refusal):
            self._posed_s = now_s
        elif now_s - self._posed_s > _LOST_S:
            self.interrupt(Outcome(base.code, base.message))
            return
        outcome = self.client.poll()
        if outcome is not None:
            report.progress.finished(outcome)
            self._enter(Phase.EXECUTING, now_s)
            self._next(report, now_s)

    def _base_now(self, now_s: float) -> Pose | Refusal:
        if self._clock_stopped(self.steady_s()):
            return Refusal(Code.STALE_OBSERVATION, f"the ROS clock has stood still at {now_s:.2f} s")
        return self.viewer.base_now()

    def _next(self, report: TaskReport, now_s: float) -> None:
        """Start the plan's next goal once it may, and pose and sensors can be trusted; until then the robot stands.

        If they cannot, or if the plan is too old by now, the rest of the plan is dropped.
        """
        if not self.may_start():
            self._enter(Phase.EXECUTING, now_s)
            return
        base = self._base_now(now_s)
        if isinstance(base, Refusal) and now_s - self._since_s <= self.observation_timeout_s:
            return
        first, self._first = self._first, False
        aged = self.planner.guard.check_plan_age(report.progress.stamp_s, now_s)
        lost, pose = (base, None) if isinstance(base, Refusal) else (None, base)
        step = report.progress.next_step(None if first else pose, lost or aged)
        if step is None:
            self._continue(report, now_s)
            return
        self._posed_s = now_s
        self._enter(Phase.EXECUTING, now_s)
        self.client.start(step.goal, step.T_map_base)

    def _continue(self, report: TaskReport, now_s: float) -> None:
        """Rest if the task has ended, else observe again."""
        if report.progress.end is not None:
            self._rest(report)
        else:
            self._after_s = now_s
            self._enter(Phase.OBSERVING, now_s)
