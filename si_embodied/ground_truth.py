"""Privileged knowledge of a simulated episode, only for success measures, the oracle and the perfect-pixels planner."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from si_embodied.types import CameraFrame

Pixel: TypeAlias = tuple[int, float, float]
"""View, u and v, in the last observation."""
Pointed: TypeAlias = Literal["target", "other", "nothing"]
"""What lies at a point of an image: the target of the step under way, another object, or no object at all."""


@dataclass(frozen=True, slots=True, eq=False)
class FloorPlan:
    """An episode from above: where something stands, and the shortest path, both in the map."""

    resolution_m: float  # cell size
    origin_m: tuple[float, float]  # outer corner of cell [0, 0]
    free: NDArray[np.bool_]  # (rows along y, columns along x): where nothing stands
    shortest_path_m: NDArray[np.float64]  # (N, 2), from the start through all goals; empty if there is none
    goals_m: NDArray[np.float64]  # (M, 2), in order


class Witness(Protocol):
    """What an evaluation asks a world's ground truth, to say why an episode failed and to draw it from above.

    All of it is about the last observation. A world without ground truth leaves these questions open.
    """

    def target_in_view(self) -> bool | None:
        """Whether enough of the current step's target is visible; None if that cannot be told."""

    def pointed_at(self, view: int, point: tuple[int, int]) -> Pointed | None:
        """What lies at a point (0..1000) of a view; None if that cannot be told."""

    def floor_plan(self) -> FloorPlan | None:
        """The episode from above; None if it has no floor to drive on."""


class NavigationGroundTruth(Protocol):
    """Ground truth of a navigation episode."""

    @property
    def goal_is_a_place(self) -> bool:
        """Whether the goal is a place (a point, or where an image was taken) and not an object."""

    def next_action(self) -> Any:
        """The next action along the shortest path, in the environment's action mode; stops where that is success."""

    def visible_target(self) -> Pixel | None:
        """A pixel well inside the current leg's target; None if too little of it is visible."""

    def seen_in(self, frame: CameraFrame) -> tuple[float, float] | None:
        """(u, v) well inside what an earlier image shows of the current leg's target; None if that is too little."""

    def straight_way(self) -> tuple[float, float] | None:
        """(bearing, distance) in base_link, radians and metres, to drive next where pointing cannot lead to the goal.

        None where it can: an object is pointed at, and so is enough of the path to a place.
        """

    def at_goal(self) -> bool:
        """Whether stopping now is success."""

    def target_name(self) -> str:
        """A noun phrase for the current leg's target, like "red chair"."""


@dataclass(frozen=True, slots=True, eq=False)
class ManipulationStep:
    """The next pick or place of a task, from the current physics."""

    kind: Literal["pick", "place"]
    object_name: str  # what to grasp; for a place, what to put it on or in
    position_m: NDArray[np.float64]  # (3,), map: of the tool at the grasp, or of the surface to rest on
    yaw_rad: float  # of the tool at the grasp; 0 for a place
    width_m: float  # of the object along the closing direction; 0 for a place
    grasp_height_m: float  # of the tool above the object's support; 0 for a place


class ManipulationGroundTruth(Protocol):
    """Ground truth of a tabletop episode."""

    def next_step(self) -> ManipulationStep | None:
        """The next step of the task, None when it is done."""

    def pixel_of(self, step: Any) -> Pixel | None:
        """A pixel that shows a step's target; None if no view shows it."""


class RearrangementGroundTruth(Protocol):
    """Ground truth of a rearrangement episode."""

    def next_action(self) -> int:
        """The number of the task's next skill."""

    def seen_step(self) -> tuple[str, str, Pixel | None] | None:
        """(skill, words, pixel) of the next step given perfect perception; None when the task is done.

        The pixel is None for "navigate" and "explore", which point at nothing.
        """
