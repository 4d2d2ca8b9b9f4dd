"""Skills turn one goal into an environment's actions, from observations alone: no planner, no simulator state."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

from si_embodied.errors import ConfigError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from si_embodied.types import Goal, Observation, Outcome

Action: TypeAlias = "int | NDArray[Any]"
"""A discrete action, or an array of the environment's action space."""


class Skill(Protocol):
    """Executes one goal."""

    def step(self, observation: Observation) -> Action | Outcome:
        """The next action, or the outcome, after which the skill must not be called again."""


def no_skill(robot: str, goal: Goal) -> ConfigError:
    """The error for a goal that a kind of robot cannot execute."""
    return ConfigError(f"{robot} has no skill for {type(goal).__name__}; check that the task's kind fits the robot")


__all__ = ["Action", "Skill", "no_skill"]
