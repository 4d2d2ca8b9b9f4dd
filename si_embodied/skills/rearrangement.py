"""Skills that only skill robots have: navigate, open, close. They also have goto, pick, place and explore."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from si_embodied.skills.base import ObjectName, PointedSubgoal, Subgoal
from si_embodied.skills.calling import NO_LIST, CallSkill, call_at, call_by_name

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from si_embodied.grounding import Grounder
    from si_embodied.skills.base import Goal
    from si_embodied.types import Observation, Refusal

_CONTAINER = (
    "open or close the container at a point of a view; the robot is near it and holds nothing."  # one line for both
)


class Navigate(Subgoal):
    """Drive to a place by its name in the robot's list, whether it has been seen or not."""

    prompt = {"rearrangement": "drive to a place by its name, seen or not."}
    goals = (CallSkill,)
    skill: Literal["navigate"] = "navigate"
    object: ObjectName

    def ground(self, observation: Observation, grounder: Grounder) -> Goal | Refusal:
        """The list's `navigate` entry with that name."""
        return call_by_name(self.object, observation.skills)


class Open(PointedSubgoal):
    """Open the container at the point."""

    prompt = {"rearrangement": _CONTAINER}
    goals = (CallSkill,)
    skill: Literal["open"] = "open"

    def ground_at(self, point: NDArray[np.float64], observation: Observation, grounder: Grounder) -> Goal | Refusal:
        """The list's entry for the furniture at the point."""
        return NO_LIST if observation.skills is None else call_at(self, point, observation.skills)


class Close(PointedSubgoal):
    """Close the container at the point."""

    prompt = {"rearrangement": _CONTAINER}
    goals = (CallSkill,)
    skill: Literal["close"] = "close"

    def ground_at(self, point: NDArray[np.float64], observation: Observation, grounder: Grounder) -> Goal | Refusal:
        """The list's entry for the furniture at the point."""
        return NO_LIST if observation.skills is None else call_at(self, point, observation.skills)
