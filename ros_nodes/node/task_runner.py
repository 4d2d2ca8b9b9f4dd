"""Drives a `TaskProgress` by a robot's clock: observe, plan, carry the goals out, again. Never waits, knows no ROS."""

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
    """What a task is doing; the numbers are those of PlannerStatus.msg."""

    IDLE = 0
    OBSERVING = 1
    PLANNING = 2
    EXECUTING = 3
    HOLDING = 4


class GoalClient(Protocol):
    """Whoever moves the robot: one goal at a time, and nothing here waits."""

    def start(self, goal: Goal, T_map_base: Pose) -> None:
        """Begin a goal; turns and drives count from `T_map_base`."""

    def poll(self) -> Outcome | None:
        """How the goal ended, once; None while it is under way."""

    def cancel(self) -> None:
        """Stop at once, and forget the goal."""


class Viewer(Protocol):
    """Where observations come from."""

    def observe(self, after_s: float) -> Observation | Refusal:
        """The newest observation of a later instant, or what is missing."""

    def base_now(self) -> Pose | None:
        """Where the base is, None before that is known."""


@dataclass(slots=True)
class TaskReport:
    """A task and its times."""

    progress: TaskProgress
    started_s: float
    planning_s: float = 0.0
    ended_s: float = 0.0


@dataclass(slots=True)
class TaskRunner:
    """Runs one task at a time; `tick` is called often and returns at once."""

    worker: PlannerWorker
    planner: AnyPlanner  # that the worker asks; a refusal before planning is recorded with its model
    viewer: Viewer
    client: GoalClient
    clock: Callable[[], float]
    most_holds: int = 5
    observation_timeout_s: float = 3.0
    on_decision: Callable[[Decision, Observation | None], None] = lambda *_: None
    phase: Phase = Phase.IDLE
    report: TaskReport | None = None
    _timeout_s: float = 0.0
    _observation: Observation | None = None  # the one planned on
    _since_s: float = 0.0  # when this phase began
    _after_s: float = 0.0  # images from before this show the robot in motion

    def start(self, task: Task, timeout_s: float) -> None:
        """Begin a task; whatever ran before must have been ended."""
        now_s = self.clock()
        self.worker.reset()
        memory = Memory(self.planner.config.memory_entries)
        self.report = TaskReport(TaskProgress(task, memory, self.most_holds), now_s)
        self._timeout_s, self._observation, self._after_s = timeout_s, None, 0.0
        self._enter(Phase.OBSERVING, now_s)

    def end(self, code: Code, message: str) -> None:
        """End the task now; its goal is cancelled first of all."""
        if self.phase is Phase.IDLE or self.report is None:
            return
        self.report.progress.stop(Outcome(code, message))
        self._rest(self.report)

    def tick(self) -> None:
        """Do what can be done now."""
        if self.phase is Phase.IDLE or self.report is None:
            return
        now_s = self.clock()
        if now_s - self.report.started_s > self._timeout_s:
            self.end(Code.TIMED_OUT, f"not done after {self._timeout_s:.1f} s")
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
        """Start the next goal, which counts from `T_map_base` where it follows another; or end, or look again."""
        step = report.progress.next_step(T_map_base)
        if step is not None:
            self._enter(Phase.EXECUTING, now_s)
            self.client.start(step.goal, step.T_map_base)
        elif report.progress.end is not None:
            self._rest(report)
        else:
            self._after_s = now_s
            self._enter(Phase.OBSERVING, now_s)
