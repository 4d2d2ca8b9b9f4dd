"""One task from its instruction to its end: observe, plan, carry the goals out, remember, again. Pure, and never waits.

What `SpatialPlannerPolicy` is to an environment's steps this is to a robot's clock; both ask the same worker.
"""

from __future__ import annotations

import dataclasses
import enum
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from si_embodied.backends.base import BackendInfo
from si_embodied.memory import Attempt, Memory
from si_embodied.types import Code, Finish, Hold, Outcome, PlanRecord, Refusal

if TYPE_CHECKING:
    from si_embodied.geometry import Pose
    from si_embodied.plan import Subgoal
    from si_embodied.types import Decision, Execute, Goal, Observation, Task
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


class Sight(Protocol):
    """Where observations come from."""

    def observe(self, after_s: float) -> Observation | Refusal:
        """The newest observation of a later instant, or what is missing."""

    def base_now(self) -> Pose | None:
        """Where the base is, None before that is known."""


@dataclass(slots=True)
class TaskReport:
    """What became of a task so far."""

    task: Task
    started_s: float
    plans: int = 0
    holds: int = 0
    subgoals: int = 0  # carried out with success
    failures: int = 0  # carried out without
    planning_s: float = 0.0
    end: Outcome | None = None  # None while it is under way
    ended_s: float = 0.0


@dataclass(frozen=True, slots=True, eq=False)
class _Step:
    goal: Goal
    subgoal: Subgoal | None  # None for the end that `done` means
    T_map_base: Pose  # where it counts from: a plan's first goal from its images, those after it from where they begin

    @property
    def words(self) -> str:
        """As the next prompt tells of it."""
        if self.subgoal is None:
            return "stop"
        return f"{self.subgoal.skill} {getattr(self.subgoal, 'object', '')}".strip()


@dataclass(slots=True)
class TaskRunner:
    """Runs one task at a time; `tick` is called often and returns at once."""

    worker: PlannerWorker
    sight: Sight
    client: GoalClient
    clock: Callable[[], float]
    info: Callable[[], BackendInfo]  # what a refusal before planning is recorded with
    prompt_version: str
    memory_entries: int = 12
    most_holds: int = 5
    observation_timeout_s: float = 3.0
    on_decision: Callable[[Decision, Observation | None], None] = lambda *_: None
    phase: Phase = Phase.IDLE
    report: TaskReport | None = None
    step: _Step | None = None  # the goal under way
    _timeout_s: float = 0.0
    _memory: Memory = field(default_factory=Memory)
    _pending: deque[_Step] = field(default_factory=deque)
    _observation: Observation | None = None  # the one planned on
    _since_s: float = 0.0  # when this phase began
    _after_s: float = 0.0  # images from before this show the robot in motion
    _holds: int = 0  # in a row

    def start(self, task: Task, timeout_s: float) -> None:
        """Begin a task; whatever ran before must have been ended."""
        now_s = self.clock()
        self.worker.reset()
        self.report = TaskReport(task, now_s)
        self._timeout_s, self._memory = timeout_s, Memory(self.memory_entries)
        self._pending.clear()
        self._holds, self._observation, self.step = 0, None, None
        self._after_s = 0.0
        self._enter(Phase.OBSERVING, now_s)

    def end(self, code: Code, message: str) -> None:
        """End the task now; its goal is cancelled first of all."""
        if self.phase is Phase.IDLE or self.report is None:
            return
        self.client.cancel()
        self.worker.reset()
        self._pending.clear()
        self.step, self.phase = None, Phase.IDLE
        self.report.end, self.report.ended_s = Outcome(code, message), self.clock()

    def tick(self) -> None:
        """Do what can be done now."""
        if self.phase is Phase.IDLE or self.report is None:
            return
        now_s = self.clock()
        if now_s - self.report.started_s > self._timeout_s:
            self.end(Code.TIMED_OUT, f"not done after {self._timeout_s:.1f} s")
        elif self.phase in (Phase.OBSERVING, Phase.HOLDING):
            self._observe(now_s)
        elif self.phase is Phase.PLANNING:
            self._take_decision(now_s)
        elif self.phase is Phase.EXECUTING:
            self._execute(now_s)

    def _enter(self, phase: Phase, now_s: float) -> None:
        self.phase, self._since_s = phase, now_s

    def _observe(self, now_s: float) -> None:
        assert self.report is not None  # tick has checked
        seen = self.sight.observe(self._after_s)
        if not isinstance(seen, Refusal):
            self._observation = seen
            self.worker.submit(self.report.task, seen, self._memory)
            self._enter(Phase.PLANNING, now_s)
        elif now_s - self._since_s > self.observation_timeout_s:
            self._decided(self._blind_hold(seen, now_s), None, now_s)

    def _blind_hold(self, refusal: Refusal, now_s: float) -> Hold:
        info = self.info()
        record = PlanRecord(
            now_s, self.prompt_version, info.model, info.kernel, info.dtype, (), 0, 0, {}, refusal.code, refusal.message
        )
        return Hold(refusal.code, refusal.message, record)

    def _take_decision(self, now_s: float) -> None:
        assert self.report is not None  # tick has checked
        decision = self.worker.poll()
        if decision is not None:
            self.report.planning_s += now_s - self._since_s
            self._decided(decision, self._observation, now_s)

    def _decided(self, decision: Decision, observation: Observation | None, now_s: float) -> None:
        assert self.report is not None  # tick has checked
        self.report.plans += 1
        self.on_decision(decision, observation)
        if isinstance(decision, Hold):
            self.report.holds += 1
            self._holds += 1
            where = observation.T_map_base if observation is not None else _nowhere()
            self._memory = self._memory.add(Attempt("plan", None, where, Outcome(decision.code, decision.message)))
            if self._holds >= self.most_holds:
                self.end(decision.code, f"held still {self._holds} times in a row, the last time: {decision.message}")
            else:
                self._enter(Phase.HOLDING, now_s)
            return
        assert observation is not None  # a plan was made from one
        self._holds = 0
        self._pending.extend(_steps(decision, observation.T_map_base))
        self._next(now_s)

    def _next(self, now_s: float, *, follows: bool = False) -> None:
        """Start the next goal, which follows another of its plan or is the first; or look again."""
        if not self._pending:
            self._after_s = now_s
            self._enter(Phase.OBSERVING, now_s)
            return
        self.step = self._pending.popleft()
        if follows:
            self.step = dataclasses.replace(self.step, T_map_base=self.sight.base_now() or self.step.T_map_base)
        if isinstance(self.step.goal, Finish):
            self.end(Code.OK, "")
            return
        self._enter(Phase.EXECUTING, now_s)
        self.client.start(self.step.goal, self.step.T_map_base)

    def _execute(self, now_s: float) -> None:
        assert self.report is not None  # tick has checked
        assert self.step is not None  # the phase says so
        outcome = self.client.poll()
        if outcome is None:
            return
        step, self.step = self.step, None
        self._memory = self._memory.add(Attempt(step.words, step.goal, step.T_map_base, outcome))
        if outcome.succeeded:
            self.report.subgoals += 1
        else:
            self.report.failures += 1
            self._pending.clear()  # what was to follow was planned for a success
        self._next(now_s, follows=True)


def _steps(decision: Execute, T_map_base: Pose) -> list[_Step]:
    """The goals with what each was grounded from; a `Finish` of `done` has no subgoal of its own."""
    subgoals = [*decision.subgoals, *[None] * (len(decision.goals) - len(decision.subgoals))]
    return [_Step(goal, subgoal, T_map_base) for goal, subgoal in zip(decision.goals, subgoals, strict=True)]


def _nowhere() -> Pose:
    from si_embodied.geometry import Pose

    return Pose.identity()
