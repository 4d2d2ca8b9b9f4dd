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

__all__ = ["Action", "Policy", "Situation", "Skill"]


@dataclass(frozen=True, slots=True, eq=False)
class Situation:
    """What a planning policy knows at one moment, for a display."""

    decided_from: Observation | None  # what the latest decision was made from, with the memory's views and objects
    memory: Memory
    step: Step | None  # the subgoal under way
    end: Outcome | None  # None while the task is running


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
    def situation(self) -> Situation | None:
        """What the policy knows now; None for a policy that does not plan."""
        return None

    def close(self) -> None:
        """Free what the policy holds, such as a thread; by default nothing."""
        return
