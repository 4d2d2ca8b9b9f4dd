"""Skills turn one goal into an environment's actions, from observations alone: no planner, no simulator state."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

from si_embodied.errors import ConfigError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from si_embodied.embodiment import Embodiment
    from si_embodied.skills import Goal
    from si_embodied.types import Observation, Outcome

Action: TypeAlias = "int | NDArray[Any]"
"""A discrete action, or an array of the environment's action space."""


class Skill(Protocol):
    """Executes one goal."""

    def step(self, observation: Observation) -> Action | Outcome:
        """The next action, or the outcome, after which the skill must not be called again."""


_EXECUTORS: dict[type[Goal], Callable[[Any, Any], Skill]] = {}


def register_executor(goal: type[Goal], make: Callable[[Any, Any], Skill]) -> None:
    """Execute goals of one's own: `make(goal, robot)` gives the skill for one goal and one embodiment."""
    _EXECUTORS[goal] = make


def registered_skill(goal: Goal, robot: Embodiment) -> Skill:
    """The skill for a goal that a controller does not know itself.

    Raises:
        ConfigError: nobody has registered one.
    """
    if type(goal) not in _EXECUTORS:
        name, kind = type(goal).__name__, type(robot).__name__
        raise ConfigError(f"a {kind} has no skill for {name}; check that the task's kind fits the robot")
    return _EXECUTORS[type(goal)](goal, robot)


__all__ = ["Action", "Skill", "register_executor", "registered_skill"]
