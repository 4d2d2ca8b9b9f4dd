"""Skills turn one goal into an environment's actions, from observations alone; no planner, no simulator state."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from si_embodied.types import Observation, Outcome

Action: TypeAlias = "int | NDArray[Any]"
"""A discrete action, or an array of the environment's action space."""


class Skill(Protocol):
    """One goal under way."""

    def step(self, observation: Observation) -> Action | Outcome:
        """The next action, or how it ended; it is not called again after an outcome."""


__all__ = ["Action", "Skill"]
