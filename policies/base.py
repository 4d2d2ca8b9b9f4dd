"""What a policy is, and what a skill is: observations in, actions out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from si_embodied.policies.skills import Action, Skill

if TYPE_CHECKING:
    from si_embodied.types import Observation, Task

__all__ = ["Action", "Policy", "Skill"]


class Policy(Protocol):
    """Something that acts. It sees observations only."""

    def reset(self, task: Task) -> None:
        """Start an episode."""

    def act(self, observation: Observation) -> Action:
        """The next action of the environment's action space."""

    def close(self) -> None:
        """Release what the policy holds."""
