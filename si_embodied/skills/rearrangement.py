"""Navigate, open and close: skills of skill robots, which also have goto, pick, place and explore."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from si_embodied.skills.base import ObjectName, PointedSubgoal, Subgoal
from si_embodied.skills.calling import NO_LIST, CallSkill, call_at, call_by_name
from si_embodied.skills.navigation import NavigateTo
from si_embodied.types import POINT_GOAL, Code, Refusal

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from si_embodied.grounding import Grounder
    from si_embodied.skills.base import Goal
    from si_embodied.types import Observation

_CONTAINER = (
    "open or close the container at a point of a view; the robot is near it and holds nothing."  # one line for both
)


class Navigate(Subgoal):
    """Drive to a place by its name in the robot's list, seen or not, or to a known object."""

    prompt = {
        "navigation": f"drive to a known object by its name, or to the point to reach: `{POINT_GOAL}`.",
        "rearrangement": "drive to a place by its name, seen or not.",
    }
    goals = (NavigateTo, CallSkill)
    needs = {"navigation": "objects"}
    skill: Literal["navigate"] = "navigate"
    object: ObjectName

    def ground(self, observation: Observation, grounder: Grounder) -> Goal | Refusal:
        """The list's `navigate` entry with that name; without a list, the point goal, or a standoff from the object."""
        if observation.skills is not None:
            return call_by_name(self.object, observation.skills)
        known = observation.places.get(self.object)
        if known is None:
            names = ", ".join(observation.places) or "nothing"
            return Refusal(Code.PLAN_INVALID, f"no {self.object} has been seen yet; known: {names}")
        old = grounder.check_age(f"the sight of the {self.object}", known.stamp_s, observation)
        if old is not None:
            return old
        is_place = self.object == POINT_GOAL and observation.goal_point_m is not None
        return (grounder.arrival if is_place else grounder.standoff)(known.position_m, observation)


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
