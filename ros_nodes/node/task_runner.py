"""Drives a `TaskProgress` from a timer: observe, plan, execute the goals, repeat. Never blocks and does not use ROS."""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from si_embodied.memory import Memory
from si_embodied.task import TaskProgress
from si_embodied.types import Code, Hold, Outcome, Refusal, never_asked

if TYPE_CHECKING:
    from si_embodied.geometry import Pose
    from si_embodied.planner import AnyPlanner
    from si_embodied.skills import Goal
    from si_embodied.types import Decision, Observation, Task
    from si_embodied.worker import PlannerWorker


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
        """Stop at once and drop the goal."""


class Viewer(Protocol):
    """The source of observations."""

    def observe(self, after_s: float) -> Observation | Refusal:
        """The newest observation later than `after_s`, or what is missing."""

    def base_now(self) -> Pose | None:
        """The latest base pose in the map; None until it is known."""


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
    clock: Callable[[], float]
    most_holds: int = 5
    observation_timeout_s: float = 3.0
    on_decision: Callable[[Decision, Observation | None], None] = lambda *_: None
    phase: Phase = Phase.IDLE
    report: TaskReport | None = None
    _timeout_s: float = 0.0
    _observation: Observation | None = None  # the one submitted to the worker
    _since_s: float = 0.0  # start of the current phase
    _after_s: float = 0.0  # earlier images show the robot in motion

    def start(self, task: Task, timeout_s: float) -> None:
        """Start a task. The previous one must have ended."""
        now_s = self.clock()
        self.worker.reset()
        memory = Memory(self.planner.config.memory_entries)
        self.report = TaskReport(TaskProgress(task, memory, self.most_holds), now_s)
        self._timeout_s, self._observation, self._after_s = timeout_s, None, 0.0
        self._enter(Phase.OBSERVING, now_s)

    def end(self, code: Code, message: str) -> None:
        """Cancel the current goal and end the task."""
        if self.phase is Phase.IDLE or self.report is None:
            return
        self.report.progress.stop(Outcome(code, message))
        self._rest(self.report)

    def tick(self) -> None:
        """Advance the task as far as possible without waiting."""
        if self.phase is Phase.IDLE or self.report is None:
            return
        now_s = self.clock()
        if now_s - self.report.started_s > self._timeout_s:
            self.end(Code.TIMED_OUT, f"the task did not finish within {self._timeout_s:.1f} s")
        elif self.phase in (Phase.OBSERVING, Phase.HOLDING):
            self._observe(self.report, now_s)
        elif self.phase is Phase.PLANNING:
            self._take_decision(self.report, now_s)
        elif self.phase is Phase.EXECUTING:
            self._execute(self.report, now_s)

    def _enter(self, phase: Phase, now_s: float) -> None:
        self.phase, self._since_s = phase, now_s

    def _rest(self, report: TaskReport) -> None:
        self.client.cancel()
        self.worker.reset()
        self.phase, report.ended_s = Phase.IDLE, self.clock()

    def _observe(self, report: TaskReport, now_s: float) -> None:
        seen = self.viewer.observe(self._after_s)
        if not isinstance(seen, Refusal):
            self._observation = seen
            self.worker.submit(report.progress.task, seen, report.progress.memory)
            self._enter(Phase.PLANNING, now_s)
        elif now_s - self._since_s > self.observation_timeout_s:
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
        report.progress.decided(decision, observation)
        self.on_decision(decision, observation)
        if report.progress.end is not None:
            self._rest(report)
        elif isinstance(decision, Hold):
            self._enter(Phase.HOLDING, now_s)
        else:
            self._next(report, now_s, None)

    def _execute(self, report: TaskReport, now_s: float) -> None:
        outcome = self.client.poll()
        if outcome is not None:
            report.progress.finished(outcome)
            self._next(report, now_s, self.viewer.base_now())

    def _next(self, report: TaskReport, now_s: float, T_map_base: Pose | None) -> None:
        """Start the plan's next goal, relative to `T_map_base` unless it is the first; or finish; or observe again."""
        step = report.progress.next_step(T_map_base, self.planner.guard.check_plan_age(report.progress.stamp_s, now_s))
        if step is not None:
            self._enter(Phase.EXECUTING, now_s)
            self.client.start(step.goal, step.T_map_base)
        elif report.progress.end is not None:
            self._rest(report)
        else:
            self._after_s = now_s
            self._enter(Phase.OBSERVING, now_s)
