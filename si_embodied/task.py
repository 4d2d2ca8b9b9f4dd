"""One task, from its first plan to its end: what a decision leads to, the next goal, what an outcome leads to.

`TaskProgress` is the loop, and has no clock, robot or model of its own. `SpatialPlannerPolicy` drives it by an
environment's steps, the ROS node by its clock: what is measured in simulation is what runs on the robot.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from si_embodied.geometry import Pose
from si_embodied.memory import Attempt, Memory
from si_embodied.skills import Finish
from si_embodied.types import Code, Hold, Outcome

if TYPE_CHECKING:
    from si_embodied.skills import Goal, Subgoal
    from si_embodied.types import Decision, Execute, Observation, Task

MOST_HOLDS = 5
"""Refusals in a row, each shown in the next prompt, after which a task ends."""


@dataclass(frozen=True, slots=True, eq=False)
class Step:
    """One goal of a plan."""

    goal: Goal
    subgoal: Subgoal | None  # None for the `Finish` that `done` stands for
    T_map_base: Pose  # where the goal counts from: the pose of the plan's image, or where the goal before it ended

    @property
    def words(self) -> str:
        """The step as the next prompt tells it."""
        return "stop" if self.subgoal is None else self.subgoal.words


@dataclass(slots=True)
class TaskProgress:
    """How one task stands. Feed it decisions and outcomes; ask it for the next step.

    A driver repeats: while `step` is None and `end` is None, ask the planner with `memory` and give the answer to
    `decided`; then carry out what `next_step` returns and give the result to `finished`, until `next_step` has nothing.
    """

    task: Task
    memory: Memory
    most_holds: int = MOST_HOLDS
    plans: int = 0
    holds: int = 0
    subgoals: int = 0  # carried out with success
    failures: int = 0  # carried out without
    step: Step | None = None  # under way
    end: Outcome | None = None  # None while the task goes on
    _pending: deque[Step] = field(default_factory=deque)
    _holds_in_a_row: int = 0

    def decided(self, decision: Decision, observation: Observation | None) -> None:
        """Take in a decision; a refusal may end the task.

        Args:
            decision: a plan, or why there is none.
            observation: it was made from; None where the robot could not see.
        """
        self.plans += 1
        if isinstance(decision, Hold):
            self._hold(decision, Pose.identity() if observation is None else observation.T_map_base)
            return
        assert observation is not None  # a plan is made from one
        self._holds_in_a_row = 0
        self._pending.extend(_steps(decision, observation.T_map_base))

    def next_step(self, T_map_base: Pose | None = None) -> Step | None:
        """Begin the next step of the plan; None when a new plan is due or the task has ended.

        Args:
            T_map_base: where the base is now, from where a goal after the plan's first counts; None for the first.
        """
        if self.end is not None or not self._pending:
            return None
        step = self._pending.popleft()
        if T_map_base is not None:
            step = Step(step.goal, step.subgoal, T_map_base)
        if isinstance(step.goal, Finish):
            self.end = Outcome(Code.OK)
            return None
        self.step = step
        return step

    def finished(self, outcome: Outcome) -> None:
        """Take in how the step under way ended; after a failure the rest of the plan is dropped."""
        step, self.step = self.step, None
        assert step is not None  # outcomes are of steps
        self.memory = self.memory.add(Attempt(step.words, step.goal, step.T_map_base, outcome))
        if outcome.succeeded:
            self.subgoals += 1
        else:
            self.failures += 1
            self._pending.clear()  # what was to follow was planned for a success

    def stop(self, outcome: Outcome) -> None:
        """End the task now, whatever is under way."""
        self._pending.clear()
        self.step, self.end = None, outcome

    def _hold(self, hold: Hold, T_map_base: Pose) -> None:
        self.holds += 1
        self._holds_in_a_row += 1
        self.memory = self.memory.add(Attempt("plan", None, T_map_base, Outcome(hold.code, hold.message)))
        if self._holds_in_a_row >= self.most_holds:
            why = f"held still {self._holds_in_a_row} times in a row, the last time: {hold.message}"
            self.stop(Outcome(hold.code, why))


def _steps(decision: Execute, T_map_base: Pose) -> list[Step]:
    """Each goal with its subgoal; the `Finish` of `done` has none."""
    subgoals = [*decision.subgoals, *(None for _ in range(len(decision.goals) - len(decision.subgoals)))]
    return [Step(goal, subgoal, T_map_base) for goal, subgoal in zip(decision.goals, subgoals, strict=True)]
