"""The policy interface: observations in, actions out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from si_embodied.policies.skills import Action, Skill

if TYPE_CHECKING:
    from collections.abc import Sequence

    from si_embodied.types import Decision, Observation, Task

__all__ = ["Action", "Policy", "Skill"]


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

    def close(self) -> None:
        """Free what the policy holds, such as a thread; by default nothing."""
        return
