"""The policy interface: observations in, actions out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from si_embodied.policies.skills import Action, Skill

if TYPE_CHECKING:
    from collections.abc import Sequence

    from si_embodied.memory import Memory
    from si_embodied.task import Step
    from si_embodied.types import Decision, Observation, Outcome, Task

__all__ = ["Action", "ExecutedGoal", "Execution", "Policy", "Skill"]


@dataclass(frozen=True, slots=True)
class ExecutedGoal:
    """A goal of a plan that a skill has executed, successfully or not."""

    plan: int  # index into the policy's decisions
    words: str  # the subgoal as prompts word it: "goto red chair"
    outcome: Outcome


@dataclass(frozen=True, slots=True, eq=False)
class Execution:
    """What a planning policy has done with its decisions since the last reset."""

    goals: tuple[ExecutedGoal, ...] = ()  # oldest first; the one under way is not among them
    end: Outcome | None = None  # how the policy itself ended the task: OK for done, another code if it gave up
    planned_from: Observation | None = None  # of the last decision, remembered views included
    memory: Memory | None = None  # of the task; None before the first one
    step: Step | None = None  # the subgoal under way


class Policy(Protocol):
    """Something that acts on observations alone. Subclass it to inherit the defaults of what only planners need."""

    def reset(self, task: Task) -> None:
        """Start an episode."""

    def act(self, observation: Observation) -> Action:
        """The next action, in the environment's action space."""

    @property
    def decisions(self) -> Sequence[Decision]:
        """The planner's decisions since the last reset; none for a policy that does not plan."""
        return ()

    @property
    def execution(self) -> Execution:
        """What became of the decisions; empty for a policy that does not plan."""
        return Execution()

    def close(self) -> None:
        """Free what the policy holds, such as a thread; by default nothing."""
        return
