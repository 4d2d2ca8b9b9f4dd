"""Privileged knowledge of an episode in a place of one's own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import numpy as np

from si_embodied.envs.base_motion import slide
from si_embodied.envs.ground_truth import floor_plan, inner_pixel, straight_part, visible_path_point
from si_embodied.envs.own.cloud import FLOOR_M
from si_embodied.geometry import deproject_to_map
from si_embodied.grounding import pixel_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from si_embodied.envs.own.goals import Asked
    from si_embodied.envs.own.place import Place
    from si_embodied.ground_truth import FloorPlan, Pixel, Pointed
    from si_embodied.types import CameraFrame

_FEWEST_PX_AT_224 = 40  # that show a goal
_EDGE_M = 0.05  # a depth this far outside an object still shows it
_TALLEST_M = 2.0  # an object without a height: up to here


class OwnWorldState(Protocol):
    """The state of a running episode; `OwnWorldEnv` has it."""

    @property
    def place(self) -> Place:
        """The place, with the robot in it."""

    @property
    def asked(self) -> Asked:
        """The goal of the running episode."""

    @property
    def seen(self) -> CameraFrame:
        """The last observation's image."""


class OwnWorldGroundTruth:
    """Where the goal is, and which pixels show it by their depth."""

    def __init__(self, env: OwnWorldState) -> None:
        """Read the state of `env`."""
        self._env = env

    @property
    def goal_is_a_place(self) -> bool:
        """Whether the goal is a point and not an object."""
        return self._env.asked.is_point

    def target_name(self) -> str:
        """The goal in words: "fridge"; the floor on the path to a point."""
        goal = self._env.asked.goal
        return goal.object or goal.instruction

    def at_goal(self) -> bool:
        """Whether stopping now is success."""
        return self._env.asked.reached(self._env.place.pose)

    def next_action(self) -> int:
        """The next action along the shortest path; stops where that is success."""
        if self.at_goal():
            return 0
        return int(self._env.asked.paths.next_action(self._env.place.pose))

    def mask(self, frame: CameraFrame) -> NDArray[np.bool_]:
        """(H, W), the pixels whose depth lies on the goal."""
        assert frame.depth_m is not None  # our environments all have depth
        goal = self._env.asked.goal
        x, y, z = deproject_to_map(frame.intrinsics, frame.depth_m, frame.T_map_camera)
        half_m = goal.size / 2 + _EDGE_M
        with np.errstate(invalid="ignore"):  # pixels without a return
            near = np.maximum(np.abs(x - goal.position[0]), np.abs(y - goal.position[1])) <= half_m
            if len(goal.position) == 3:
                return np.asarray(near & (np.abs(z - goal.position[2]) <= half_m) & (z > FLOOR_M / 2))
            return np.asarray(near & (z > FLOOR_M) & (z < _TALLEST_M))

    def seen_in(self, frame: CameraFrame) -> tuple[float, float] | None:
        """(u, v) of the goal in an image of this place; None if it shows too little of it, and for a point."""
        if self.goal_is_a_place:
            return None
        mask = self.mask(frame)
        return inner_pixel(mask) if int(mask.sum()) >= _fewest(mask) else None

    def visible_target(self) -> Pixel | None:
        """(view, u, v) of the goal, or of the farthest visible point of the path to a point; None if none shows."""
        if self.goal_is_a_place:
            pose = self._env.place.pose
            return visible_path_point(self._env.seen, self._env.asked.paths.points(pose), pose)
        pixel = self.seen_in(self._env.seen)
        return None if pixel is None else (0, *pixel)

    def target_in_view(self) -> bool | None:
        """Whether enough of the goal is visible; None for a point."""
        return None if self.goal_is_a_place else self.seen_in(self._env.seen) is not None

    def pointed_at(self, view: int, point: tuple[int, int]) -> Pointed | None:
        """Whether a point (0..1000) of the last image lies on the goal; None for a point goal."""
        if view != 0 or self.goal_is_a_place:
            return None
        mask = self.mask(self._env.seen)
        u, v = pixel_of(point, mask.shape[1], mask.shape[0])
        return "target" if mask[round(v), round(u)] else "other"

    def straight_way(self) -> tuple[float, float] | None:
        """(bearing, distance) in base_link of the straight beginning of the path; None where the goal is pointed at."""
        if not self.goal_is_a_place or self.visible_target() is not None:
            return None
        place = self._env.place

        def move(x: float, y: float, heading: float, length: float) -> tuple[float, float, bool]:
            return slide(place.floor.obstacles, place.embodiment.radius_m, x, y, heading, length)

        return straight_part(place.pose, self._env.asked.paths.points(place.pose), move)

    def floor_plan(self) -> FloorPlan:
        """The place from above, with the shortest path from the start."""
        asked = self._env.asked
        goal = np.asarray([asked.goal.position[:2]], np.float64)
        return floor_plan(self._env.place.floor.grid, asked.paths.points(asked.start), goal)


def _fewest(mask: NDArray[np.bool_]) -> int:
    return max(1, round(_FEWEST_PX_AT_224 * mask.size / 224**2))
