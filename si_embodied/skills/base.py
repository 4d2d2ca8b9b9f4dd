"""Base classes of skills: the subgoal that a model writes, and the metric goal that it is grounded to."""

from __future__ import annotations

import abc
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from si_embodied.embodiment import MobileBase
from si_embodied.skills.bounds import check_base_pose, check_tool_point
from si_embodied.types import Code, Refusal

if TYPE_CHECKING:
    from si_embodied.config import GuardConfig
    from si_embodied.embodiment import Embodiment, TaskKind
    from si_embodied.geometry import Pose
    from si_embodied.grounding import Grounder
    from si_embodied.types import Observation

Coordinate = Annotated[int, Field(ge=0, le=1000)]
Point = Annotated[tuple[Coordinate, Coordinate], Field(description="x and y, 0..1000 relative to the view")]
ObjectName = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9 -]{0,39}$", max_length=40)]
View = Annotated[int, Field(ge=0, le=15)]

Shown: TypeAlias = Literal["objects", "keyframes"]
"""What a prompt can show of the planner's memory: the known objects, and earlier views."""

MapPoint: TypeAlias = Annotated[NDArray[np.float64], "(3,)"]
"""A point in the map, metres."""
MapArea: TypeAlias = Annotated[NDArray[np.float64], "(2, 2)"]
"""Lowest and highest map xy of an upright rectangle, metres."""


class Goal(abc.ABC):
    """A grounded subgoal, in metres and radians in the map frame. Subclasses are frozen dataclasses with slots."""

    __slots__ = ()

    @property
    @abc.abstractmethod
    def words(self) -> str:
        """The goal in words, in metres and degrees: "turn +90°"."""

    @property
    def pose(self) -> Pose | None:
        """Target pose of the base or the tool in the map; None for a goal without one."""
        return None

    @property
    def place_m(self) -> NDArray[np.float64] | None:
        """The map point (3,) that the goal refers to; None for a goal without one."""
        return None

    @property
    def amount(self) -> float:
        """Angle of a rotation in radians, or length of a drive in metres; 0 for other goals."""
        return 0.0

    def anchor(self) -> NDArray[np.float64]:
        """The values, in metres or radians, by which the guard recognises a repeated goal of the same type."""
        return np.array([self.amount]) if self.place_m is None else np.asarray(self.place_m, dtype=np.float64)

    def after(self, T_map_base: Pose) -> Pose | None:
        """Where the base stands after the goal if it starts at `T_map_base`; None if that is not known in advance."""
        return None

    def check(self, observation: Observation, embodiment: Embodiment, limits: GuardConfig) -> Refusal | None:
        """The reason this goal exceeds the robot's bounds; None if it is within them.

        The guard has already refused goals with non-finite numbers. By default, a pose must lie within the bounds of
        this robot's own poses, and an amount below `max_goal_distance_m`.

        Args:
            observation: `T_map_base` is where the base will stand when the goal starts.
            embodiment: the robot.
            limits: the guard's settings.
        """
        if abs(self.amount) > limits.max_goal_distance_m:
            return Refusal(Code.GOAL_INVALID, f"{self.words}: {self.amount:.2f} is over {limits.max_goal_distance_m}")
        if self.pose is None:
            return None
        if isinstance(embodiment, MobileBase):
            return check_base_pose(self.pose, observation, limits)
        return check_tool_point("the goal", self.pose.translation, embodiment)


class Subgoal(BaseModel, abc.ABC):
    """One step of a plan, as the model writes it. Frozen and closed: an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    prompt: ClassVar[Mapping[TaskKind, str]] = {}
    """The skill's prompt line, for each kind of task that has the skill."""
    goals: ClassVar[tuple[type[Goal], ...]] = ()
    """The types that `ground` may return."""
    needs: ClassVar[Mapping[TaskKind, Shown]] = {}
    """What a prompt must show for this skill to be offered, for each kind of task where it needs something."""

    skill: str

    @property
    def words(self) -> str:
        """The subgoal as displays and the next prompt word it: "goto red chair", "turn 90"."""
        shown = [value for name, value in self if name not in ("view", "point", "to")]
        return " ".join(str(value) for value in shown)

    @abc.abstractmethod
    def ground(self, observation: Observation, grounder: Grounder) -> Goal | Refusal:
        """Turn the subgoal into a metric goal, or say why that is impossible.

        Args:
            observation: the one whose images the model saw, never a newer one. It contains the subgoal's view.
            grounder: projects image points into the map and finds poses there.
        """


class PointedSubgoal(Subgoal):
    """A subgoal that points at an object in a view."""

    needs_present_view: ClassVar[bool] = True
    """Whether the point must lie in a present view. What is handled may have moved since an earlier one."""

    object: ObjectName
    view: View
    point: Point

    def ground(self, observation: Observation, grounder: Grounder) -> Goal | Refusal:
        """Project the point into the map and ground there; see `Subgoal.ground`."""
        if self.needs_present_view and self.view >= len(observation.frames):
            words = f"{self.skill} points at an earlier view, since which the {self.object} may have moved"
            return Refusal(Code.STALE_OBSERVATION, f"{words}; point at a present view")
        frame = observation.views[self.view]
        old = grounder.check_age(f"the view with the {self.object}", frame.stamp_s, observation)
        point = old or grounder.point_in_map(frame, self.point)
        return point if isinstance(point, Refusal) else self.ground_at(point, observation, grounder)

    @abc.abstractmethod
    def ground_at(
        self, point: NDArray[np.float64], observation: Observation, grounder: Grounder
    ) -> Goal | Refusal:  # fmt: skip
        """The goal for the map point (3,) at the subgoal's pixel, or why there is none."""


def point_words(point: NDArray[np.float64]) -> str:
    """Format a map point (3,) in metres."""
    return "({:.2f}, {:.2f}, {:.2f}) m".format(*point)
