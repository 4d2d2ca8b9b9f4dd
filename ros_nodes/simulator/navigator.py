"""A small navigator, so that goal poses work without Nav2: the policies' skills on a map built from observations."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np

from si_embodied.policies.mapping import OccupancyMapper
from si_embodied.policies.skills.navigation import CameraLevel, GoToSkill
from si_embodied.skills import NavigateTo
from si_embodied.types import Outcome

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from si_embodied.embodiment import MobileBase
    from si_embodied.geometry import Pose
    from si_embodied.types import Observation

_FAR_M = 1000.0  # a point this far ahead of the goal: facing it is the same as having the goal's heading


class Navigator:
    """Drives a base to poses by velocities, one goal at a time."""

    def __init__(self, base: MobileBase) -> None:
        """Start without a goal, with an empty map."""
        self._base = base
        self._mapper = OccupancyMapper(base)
        self._skill: GoToSkill | None = None
        self._seen: Observation | None = None

    @property
    def busy(self) -> bool:
        """Whether a goal is under way."""
        return self._skill is not None

    def reset(self) -> None:
        """Drop the goal and clear the map."""
        self._mapper.reset()
        self._skill = self._seen = None

    def look(self, observation: Observation) -> None:
        """Add an observation to the map."""
        self._mapper.update(observation)
        self._seen = observation

    def go(self, T_map_goal: Pose) -> None:
        """Drive to a pose; this replaces a goal under way."""
        ahead = T_map_goal.apply([_FAR_M, 0.0, 0.0])
        self._skill = GoToSkill(NavigateTo(T_map_goal, ahead), self._base, self._mapper, CameraLevel(self._base))

    def cancel(self) -> None:
        """Drop the goal."""
        self._skill = None

    def step(self, T_map_base: Pose) -> tuple[float, float] | Outcome | None:
        """Speed (m/s) and turn rate (rad/s) for one control period, the goal's outcome, or None without a goal."""
        if self._skill is None or self._seen is None:
            return None
        action = self._skill.step(dataclasses.replace(self._seen, T_map_base=T_map_base))
        if isinstance(action, Outcome):
            self._skill = None
            return action
        velocity: NDArray[np.float64] = np.asarray(action, dtype=np.float64)
        return float(velocity[0]), float(velocity[1])
