"""Skills of a mobile base (goto, turn, forward, look, explore, stop) and their goals."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal

import numpy as np
from pydantic import Field

from si_embodied.embodiment import MobileBase
from si_embodied.geometry import Pose, heading, wrap_angle
from si_embodied.skills.base import Goal, MapPoint, PointedSubgoal, Subgoal, View, point_words
from si_embodied.skills.bounds import check_base_pose, check_depth, check_path_ahead
from si_embodied.skills.calling import CallSkill, call_at
from si_embodied.types import Code, Refusal

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from si_embodied.config import GuardConfig
    from si_embodied.embodiment import Embodiment
    from si_embodied.grounding import Grounder
    from si_embodied.types import Observation


@dataclass(frozen=True, slots=True, eq=False)
class NavigateTo(Goal):
    """Drive the base to a pose from which it faces the target."""

    T_map_base: Pose
    target_m: MapPoint  # the point the model pointed at
    on_arrival: Code = Code.OK  # outcome on arrival; NO_STANDOFF if the map ends before the target: look again

    @property
    def words(self) -> str:
        """The pose and the target."""
        (x, y, _), yaw = self.T_map_base.translation, math.degrees(self.T_map_base.yaw)
        short = "" if self.on_arrival is Code.OK else ", as far as the map goes"
        return f"drive to ({x:.2f}, {y:.2f}) m{short}, facing {yaw:.0f}°, target at {point_words(self.target_m)}"

    @property
    def pose(self) -> Pose:
        """The base's pose."""
        return self.T_map_base

    @property
    def place_m(self) -> NDArray[np.float64]:
        """The target."""
        return self.target_m

    def check(self, observation: Observation, embodiment: Embodiment, limits: GuardConfig) -> Refusal | None:
        """Reject a goal farther from the base than `max_goal_distance_m`, or off the map."""
        return check_base_pose(self.T_map_base, observation, limits)

    def after(self, T_map_base: Pose) -> Pose:
        """The goal's pose."""
        return self.T_map_base


@dataclass(frozen=True, slots=True)
class Rotate(Goal):
    """Turn the base on the spot, counter-clockwise positive."""

    angle_rad: float

    @property
    def words(self) -> str:
        """The angle in degrees."""
        return f"turn {math.degrees(self.angle_rad):+.0f}°"

    @property
    def amount(self) -> float:
        """The angle in radians."""
        return self.angle_rad

    def after(self, T_map_base: Pose) -> Pose:
        """The start, turned."""
        return T_map_base @ Pose.planar(0.0, 0.0, self.angle_rad)

    def check(self, observation: Observation, embodiment: Embodiment, limits: GuardConfig) -> Refusal | None:
        """Reject more than one full turn."""
        if abs(self.angle_rad) <= 2 * math.pi + 1e-6:
            return None
        return Refusal(Code.GOAL_INVALID, f"{self.words} is more than one full turn")


@dataclass(frozen=True, slots=True)
class Drive(Goal):
    """Drive straight ahead."""

    distance_m: float

    @property
    def words(self) -> str:
        """The distance in metres."""
        return f"drive {self.distance_m:.2f} m ahead"

    @property
    def amount(self) -> float:
        """The distance in metres."""
        return self.distance_m

    def after(self, T_map_base: Pose) -> Pose:
        """The start, moved ahead."""
        return T_map_base @ Pose.planar(self.distance_m, 0.0, 0.0)

    def check(self, observation: Observation, embodiment: Embodiment, limits: GuardConfig) -> Refusal | None:
        """Reject a drive backwards, farther than `max_drive_m`, or over ground that is not known to be free."""
        if self.distance_m <= 0:
            return Refusal(Code.GOAL_INVALID, f"expected a drive ahead, got: {self.distance_m:.2f} m")
        if self.distance_m > limits.max_drive_m:
            return Refusal(Code.TOO_FAR, f"the drive is {self.distance_m:.2f} m long, more than {limits.max_drive_m} m")
        return check_path_ahead(self.distance_m, observation, embodiment)


@dataclass(frozen=True, slots=True)
class TiltCamera(Goal):
    """Tilt the head camera, up positive."""

    angle_rad: float

    @property
    def words(self) -> str:
        """The angle in degrees."""
        return f"tilt the camera {math.degrees(self.angle_rad):+.0f}°"

    @property
    def amount(self) -> float:
        """The angle in radians."""
        return self.angle_rad

    def after(self, T_map_base: Pose) -> Pose:
        """The start: only the camera moves."""
        return T_map_base

    def check(self, observation: Observation, embodiment: Embodiment, limits: GuardConfig) -> Refusal | None:
        """Reject a tilt that ends more than one step outside the camera's range.

        The last step may end at the range's edge: skills stop there.
        """
        if not isinstance(embodiment, MobileBase):
            return Refusal(Code.GOAL_INVALID, f"a {type(embodiment).__name__} cannot tilt its camera")
        (low, high), step = embodiment.tilt_range_rad, embodiment.tilt_step_rad
        tilt = observation.frames[0].tilt_rad if observation.frames else 0.0
        if min(low, tilt) - step - 1e-6 <= tilt + self.angle_rad <= max(high, tilt) + step + 1e-6:
            return None
        words = f"{self.words} from {math.degrees(tilt):.0f}° leaves the camera's range"
        return Refusal(Code.GOAL_INVALID, f"{words} of {math.degrees(low):.0f}° to {math.degrees(high):.0f}°")


@dataclass(frozen=True, slots=True)
class ExploreFrontier(Goal):
    """Drive to a frontier of the map and look around."""

    @property
    def words(self) -> str:
        """A fixed phrase."""
        return "explore"

    def check(self, observation: Observation, embodiment: Embodiment, limits: GuardConfig) -> Refusal | None:
        """Reject without depth: the map may be old."""
        del embodiment, limits
        return check_depth(observation)


@dataclass(frozen=True, slots=True, eq=False)
class ExploreView(Goal):
    """Drive to a frontier of the map that lies within a view, and look around."""

    T_map_camera: Pose  # of the view
    half_view_rad: float  # half its horizontal field of view

    @property
    def words(self) -> str:
        """The direction in the map."""
        return f"explore towards {math.degrees(heading(self.T_map_camera)):.0f}°"

    def shows(self, x: float, y: float) -> bool:
        """Whether map point (x, y) lies within the view's horizontal field of view, hidden or not."""
        eye = self.T_map_camera.translation
        bearing = math.atan2(y - eye[1], x - eye[0])
        return abs(wrap_angle(bearing - heading(self.T_map_camera))) <= self.half_view_rad

    def anchor(self) -> NDArray[np.float64]:
        """Where the view was taken (map xy, metres) and its direction in the map (radians)."""
        return np.array([*self.T_map_camera.translation[:2], heading(self.T_map_camera)])

    def check(self, observation: Observation, embodiment: Embodiment, limits: GuardConfig) -> Refusal | None:
        """Reject without depth: the map may be old."""
        del embodiment, limits
        return check_depth(observation)


@dataclass(frozen=True, slots=True)
class Finish(Goal):
    """End the task as done."""

    @property
    def words(self) -> str:
        """A fixed phrase."""
        return "finish"


class Goto(PointedSubgoal):
    """Drive up to the object at the point and face it."""

    prompt = {
        "navigation": "drive up to the object at a point of a view and face it.",
        "rearrangement": "drive to the place where the object at a point of a view is.",
    }
    goals = (NavigateTo, CallSkill)
    needs_present_view = False
    skill: Literal["goto"] = "goto"

    def ground_at(self, point: NDArray[np.float64], observation: Observation, grounder: Grounder) -> Goal | Refusal:
        """The best standoff pose that faces the point."""
        if observation.skills is not None:
            return call_at(self, point, observation.skills)
        return grounder.standoff(point, observation)


class Turn(Subgoal):
    """Turn on the spot; positive turns left."""

    prompt = {"navigation": "turn on the spot by degrees, left is positive."}
    goals = (Rotate,)
    skill: Literal["turn"] = "turn"
    degrees: Annotated[int, Field(ge=-180, le=180)]

    def ground(self, observation: Observation, grounder: Grounder) -> Rotate:
        """Convert degrees to radians."""
        return Rotate(math.radians(self.degrees))


class LookAround(Subgoal):
    """Turn once on the spot; the views on the way are shown with the next prompt."""

    prompt = {"navigation": "turn once on the spot; you will then see the views all around."}
    goals = (Rotate,)
    needs = {"navigation": "keyframes"}
    skill: Literal["look_around"] = "look_around"

    def ground(self, observation: Observation, grounder: Grounder) -> Rotate:
        """A full turn."""
        return Rotate(2 * math.pi)


class Forward(Subgoal):
    """Drive straight ahead."""

    prompt = {"navigation": "drive ahead by centimetres."}
    goals = (Drive,)
    skill: Literal["forward"] = "forward"
    centimetres: Annotated[int, Field(ge=5, le=300)]

    def ground(self, observation: Observation, grounder: Grounder) -> Drive:
        """Convert centimetres to metres."""
        return Drive(self.centimetres / 100)


class Look(Subgoal):
    """Tilt the head camera by one step, whose size depends on the robot."""

    prompt = {"navigation": "tilt the camera up or down one notch."}
    goals = (TiltCamera,)
    skill: Literal["look"] = "look"
    direction: Literal["up", "down"]

    def ground(self, observation: Observation, grounder: Grounder) -> TiltCamera | Refusal:
        """A tilt by the robot's step, up or down."""
        robot = grounder.embodiment
        if not isinstance(robot, MobileBase):
            return Refusal(Code.PLAN_INVALID, f"only a mobile base can tilt its camera, not a {type(robot).__name__}")
        return TiltCamera(robot.tilt_step_rad if self.direction == "up" else -robot.tilt_step_rad)


class Explore(Subgoal):
    """Drive to where nothing has been seen yet."""

    prompt = {
        "navigation": "go where nothing has been seen yet.",
        "rearrangement": "drive to a place that was not looked at yet.",
    }
    goals = (ExploreFrontier,)
    skill: Literal["explore"] = "explore"

    def ground(self, observation: Observation, grounder: Grounder) -> ExploreFrontier:
        """The explore goal; the controller chooses the frontier."""
        return ExploreFrontier()


class ExploreTowards(Subgoal):
    """Drive to the best place in a view that has not been seen yet."""

    prompt = {"navigation": "go where nothing has been seen yet, in the direction of a view."}
    goals = (ExploreView,)
    needs = {"navigation": "keyframes"}
    skill: Literal["explore_view"] = "explore_view"
    view: View

    def ground(self, observation: Observation, grounder: Grounder) -> ExploreView:
        """The view's pose and width; the controller chooses among the frontiers in it."""
        frame = observation.views[self.view]
        return ExploreView(frame.T_map_camera, frame.intrinsics.half_view_rad)


class Stop(Subgoal):
    """The task is done."""

    prompt = dict.fromkeys(("navigation", "manipulation", "rearrangement"), "end the task.")
    goals = (Finish,)
    skill: Literal["stop"] = "stop"

    def ground(self, observation: Observation, grounder: Grounder) -> Finish:
        """The goal that ends the task."""
        return Finish()
