"""Skills of a table-top arm (pick, place, push, home) and their goals."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from si_embodied.geometry import Pose
from si_embodied.skills.base import Goal, MapPoint, Point, PointedSubgoal, Subgoal, point_words
from si_embodied.skills.bounds import check_tool_point
from si_embodied.skills.calling import CallSkill, call_at
from si_embodied.types import Code, Refusal

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from si_embodied.config import GuardConfig
    from si_embodied.embodiment import Embodiment
    from si_embodied.grounding import Grounder
    from si_embodied.types import Observation


@dataclass(frozen=True, slots=True, eq=False)
class Grasp(Goal):
    """Close the gripper at a pose."""

    T_map_tool: Pose
    width_m: float  # width of the object along the closing direction
    height_above_support_m: float  # height of the tool centre point when the gripper closes

    @property
    def words(self) -> str:
        """The position and the object's width."""
        return f"grasp at {point_words(self.T_map_tool.translation)}, {100 * self.width_m:.1f} cm wide"

    @property
    def pose(self) -> Pose:
        """The tool's pose."""
        return self.T_map_tool

    @property
    def place_m(self) -> NDArray[np.float64]:
        """The tool centre point."""
        return self.T_map_tool.translation

    def check(self, observation: Observation, embodiment: Embodiment, limits: GuardConfig) -> Refusal | None:
        """Reject a grasp outside the arm's workspace or reach."""
        return check_tool_point("the grasp", self.T_map_tool.translation, embodiment)


@dataclass(frozen=True, slots=True, eq=False)
class Release(Goal):
    """Put the held object down with its bottom resting at a point."""

    surface_m: MapPoint  # a point on the support

    @property
    def words(self) -> str:
        """The position."""
        return f"release on {point_words(self.surface_m)}"

    @property
    def place_m(self) -> NDArray[np.float64]:
        """The point on the support."""
        return self.surface_m

    def check(self, observation: Observation, embodiment: Embodiment, limits: GuardConfig) -> Refusal | None:
        """Reject a point outside the arm's workspace or reach."""
        return check_tool_point("the place", self.surface_m, embodiment)


@dataclass(frozen=True, slots=True, eq=False)
class PushAlong(Goal):
    """Push with closed fingers from one point to another, near the support."""

    start_m: MapPoint
    end_m: MapPoint

    @property
    def words(self) -> str:
        """The start and end of the push."""
        return f"push from {point_words(self.start_m)} to {point_words(self.end_m)}"

    @property
    def place_m(self) -> NDArray[np.float64]:
        """The end of the push."""
        return self.end_m

    def anchor(self) -> NDArray[np.float64]:
        """Start and end, concatenated (6,)."""
        return np.concatenate([self.start_m, self.end_m])

    def check(self, observation: Observation, embodiment: Embodiment, limits: GuardConfig) -> Refusal | None:
        """Reject a push longer than `max_push_m`, or that starts or ends outside the arm's workspace or reach."""
        length = float(np.linalg.norm(self.end_m - self.start_m))
        if length > limits.max_push_m:
            return Refusal(Code.TOO_FAR, f"the push is {length:.2f} m long, more than {limits.max_push_m} m")
        start = check_tool_point("the start of the push", self.start_m, embodiment)
        return start or check_tool_point("the end of the push", self.end_m, embodiment)


@dataclass(frozen=True, slots=True)
class GoHome(Goal):
    """Move the arm to its home pose, where it does not occlude the scene."""

    @property
    def words(self) -> str:
        """A fixed phrase."""
        return "bring the arm home"


class Pick(PointedSubgoal):
    """Grasp the object at the point from above."""

    prompt = {
        "manipulation": "grasp the object at a point of a view from above.",
        "rearrangement": "pick up the thing at a point of a view; the robot is near it and holds nothing.",
    }
    goals = (Grasp, CallSkill)
    skill: Literal["pick"] = "pick"

    def ground_at(self, point: NDArray[np.float64], observation: Observation, grounder: Grounder) -> Goal | Refusal:
        """A top-down grasp of the object at the point."""
        if observation.skills is not None:
            return call_at(self, point, observation.skills)
        return grounder.grasp(observation.views[self.view], self.point, point)


class Place(PointedSubgoal):
    """Put the held object down on the surface at the point."""

    prompt = {
        "manipulation": "put the held object down on what is at a point of a view.",
        "rearrangement": "put the held thing at the place at a point of a view; the robot is near it.",
    }
    goals = (Release, CallSkill)
    skill: Literal["place"] = "place"

    def ground_at(self, point: NDArray[np.float64], observation: Observation, grounder: Grounder) -> Goal | Refusal:
        """A release on the surface at the point."""
        return Release(point) if observation.skills is None else call_at(self, point, observation.skills)


class Push(PointedSubgoal):
    """Push the object at the point to another point of the same view."""

    prompt = {"manipulation": "push the object at a point to another point of the same view."}
    goals = (PushAlong,)
    skill: Literal["push"] = "push"
    to: Point

    def ground_at(self, point: NDArray[np.float64], observation: Observation, grounder: Grounder) -> Goal | Refusal:
        """A push between the two points."""
        end = grounder.point_in_map(observation.views[self.view], self.to)
        return end if isinstance(end, Refusal) else PushAlong(point, end)


class Home(Subgoal):
    """Move the arm out of the camera's view."""

    prompt = {"manipulation": "bring the arm out of the camera's way."}
    goals = (GoHome,)
    skill: Literal["home"] = "home"

    def ground(self, observation: Observation, grounder: Grounder) -> GoHome:
        """The home goal, which has no parameters."""
        return GoHome()
