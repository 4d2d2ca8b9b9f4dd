"""What a skill is: a subgoal that a model may answer, and the goal in metres that it is grounded to."""

from __future__ import annotations

import abc
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, ClassVar, TypeAlias

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from si_embodied.types import Refusal

if TYPE_CHECKING:
    from si_embodied.config import GuardConfig
    from si_embodied.embodiment import Embodiment, TaskKind
    from si_embodied.geometry import Pose
    from si_embodied.grounding import Grounder
    from si_embodied.types import Observation

Coordinate = Annotated[int, Field(ge=0, le=1000)]
Point = Annotated[tuple[Coordinate, Coordinate], Field(description="x and y, 0..1000 relative to the view")]
ObjectName = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9 -]{0,39}$", max_length=40)]
View = Annotated[int, Field(ge=0, le=7)]

MapPoint: TypeAlias = Annotated[NDArray[np.float64], "(3,)"]
"""A point in the map, metres."""
MapArea: TypeAlias = Annotated[NDArray[np.float64], "(2, 2)"]
"""Lowest and highest map xy of an upright rectangle, metres."""


class Goal(abc.ABC):
    """A grounded subgoal, in metres and radians, in the map. Subclasses are frozen dataclasses with slots."""

    __slots__ = ()

    @property
    @abc.abstractmethod
    def words(self) -> str:
        """The goal for people, in metres and degrees: "turn +90°"."""

    @property
    def pose(self) -> Pose | None:
        """Where the base or the tool is to be, in the map; None where the goal is no pose."""
        return None

    @property
    def place_m(self) -> NDArray[np.float64] | None:
        """The map point (3,) that the goal is about; None where it is about none."""
        return None

    @property
    def amount(self) -> float:
        """Radians of a rotation or metres of a drive; 0 for other goals."""
        return 0.0

    def anchor(self) -> NDArray[np.float64]:
        """What makes two goals of one type the same, in metres or radians; the guard counts repetitions by it."""
        return np.array([self.amount]) if self.place_m is None else np.asarray(self.place_m, dtype=np.float64)

    def check(self, observation: Observation, embodiment: Embodiment, limits: GuardConfig) -> Refusal | None:
        """Why this goal is out of the robot's bounds; None where it is within them."""
        return None


class Subgoal(BaseModel, abc.ABC):
    """One step of a plan, as the model writes it. Frozen, and closed: an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    prompt: ClassVar[Mapping[TaskKind, str]] = {}
    """What the model is told of the skill, for each kind of task that has it."""
    goals: ClassVar[tuple[type[Goal], ...]] = ()
    """What `ground` returns."""

    skill: str

    @property
    def words(self) -> str:
        """The subgoal for people and for the next prompt: "goto red chair", "turn 90"."""
        shown = [value for name, value in self if name not in ("view", "point", "to")]
        return " ".join(str(value) for value in shown)

    @abc.abstractmethod
    def ground(self, observation: Observation, grounder: Grounder) -> Goal | Refusal:
        """The goal that this subgoal means in this observation, or why it means none.

        Args:
            observation: the one whose images the model saw, never a newer one; it has the subgoal's view.
            grounder: turns points of images into points and poses of the map.
        """


class PointedSubgoal(Subgoal):
    """A subgoal that points at an object in a view."""

    object: ObjectName
    view: View
    point: Point

    def ground(self, observation: Observation, grounder: Grounder) -> Goal | Refusal:
        """Project the point, then ground there; see `Subgoal.ground`."""
        point = grounder.point_in_map(observation.frames[self.view], self.point)
        return point if isinstance(point, Refusal) else self.ground_at(point, observation, grounder)

    @abc.abstractmethod
    def ground_at(
        self, point: NDArray[np.float64], observation: Observation, grounder: Grounder
    ) -> Goal | Refusal:  # fmt: skip
        """The goal for the map point (3,) that the subgoal's pixel shows, or why there is none."""


def point_words(point: NDArray[np.float64]) -> str:
    """A map point in metres."""
    return "({:.2f}, {:.2f}, {:.2f}) m".format(*point)
