"""A small navigator, so that a goal pose works without Nav2: the policies' own skills on a map of what was seen."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np

from si_embodied.policies.mapping import OccupancyMapper
from si_embodied.policies.skills.navigation import GoToSkill
from si_embodied.skills import NavigateTo
from si_embodied.types import Outcome

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from si_embodied.embodiment import MobileBase
    from si_embodied.geometry import Pose
    from si_embodied.types import Observation

_FAR_M = 1000.0  # a point so far ahead of the goal that to face it is to have the goal's heading


class Navigator:
    """Drives a base with velocities from pose to pose; one goal at a time."""

    def __init__(self, base: MobileBase) -> None:
        """No goal, and an empty map."""
        self._base = base
        self._mapper = OccupancyMapper(base)
        self._skill: GoToSkill | None = None
        self._seen: Observation | None = None

    @property
    def busy(self) -> bool:
        """Whether a goal is under way."""
        return self._skill is not None

    def reset(self) -> None:
        """Forget the goal and the map."""
        self._mapper.reset()
        self._skill = self._seen = None

    def look(self, observation: Observation) -> None:
        """Enter what was seen into the map."""
        self._mapper.update(observation)
        self._seen = observation

    def go(self, T_map_goal: Pose) -> None:
        """Drive to a pose; another goal under way is dropped."""
        ahead = T_map_goal.apply([_FAR_M, 0.0, 0.0])
        self._skill = GoToSkill(NavigateTo(T_map_goal, ahead), self._base, self._mapper)

    def cancel(self) -> None:
        """Drop the goal."""
        self._skill = None

    def step(self, T_map_base: Pose) -> tuple[float, float] | Outcome | None:
        """Speed (m/s) and turn rate (rad/s) for one control period, how the goal ended, or None without a goal."""
        if self._skill is None or self._seen is None:
            return None
        action = self._skill.step(dataclasses.replace(self._seen, T_map_base=T_map_base))
        if isinstance(action, Outcome):
            self._skill = None
            return action
        velocity: NDArray[np.float64] = np.asarray(action, dtype=np.float64)
        return float(velocity[0]), float(velocity[1])
