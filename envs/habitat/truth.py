"""What only the oracle may know of a Habitat episode. Habitat's measures decide; the way is our follower's."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from si_embodied.embodiment import BaseAction
from si_embodied.envs.follower import best_heading, inner_pixel
from si_embodied.envs.habitat.frames import to_habitat, to_map
from si_embodied.geometry import project, wrap_angle

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from si_embodied.envs.habitat.navigation import HabitatEnv

_MIN_VISIBLE_PX_AT_224 = 40
_NEAREST_POINTED_M = 1.2  # a nearer floor point is driven to without pointing: `goto` stands off from what it points at
_STRAIGHT_M = 1.0  # driven ahead at a time


class HabitatGroundTruth:
    """The simulator's own knowledge of the running episode."""

    def __init__(self, env: HabitatEnv) -> None:
        """Look into `env`."""
        self._env = env

    def target_name(self) -> str:
        """The goal in words: "chair", or "point" where it is a place."""
        return self._env.goal_words

    def at_goal(self) -> bool:
        """Whether stopping now is success by Habitat's measures."""
        return self._env.distance_to_goal() < self._env.embodiment.success_distance_m

    def next_action(self) -> int:
        """The next action of the shortest way; stops where that is success."""
        env = self._env
        if self.at_goal():
            return int(BaseAction.STOP)
        yaw, body = env.pose[2], env.embodiment
        heading = best_heading(
            env.pose,
            body.turn_step_rad,
            body.forward_step_m,
            to_goal=env.distance_from,
            move=env.would_move,
            arrived=lambda x, y: env.distance_from(x, y) < body.success_distance_m,
        )
        error = wrap_angle(heading - yaw)
        if abs(error) <= body.turn_step_rad / 2 + 1e-6:
            return int(BaseAction.FORWARD)
        return int(BaseAction.TURN_LEFT if error > 0 else BaseAction.TURN_RIGHT)

    def visible_target(self) -> tuple[int, float, float] | None:
        """(view, u, v) of a pixel of the goal, or of a place's way as far as it is seen; None when none is."""
        if self._env.goal_is_a_place:
            return self._visible_way()
        mask = self._env.goal_mask()
        fewest = max(1, round(_MIN_VISIBLE_PX_AT_224 * mask.size / 224**2))
        return None if int(mask.sum()) < fewest else (0, *inner_pixel(mask))

    def straight_way(self) -> tuple[float, float] | None:
        """(bearing, distance) in base_link, radians and metres, of the next straight piece of the way to a place.

        None where the goal is a thing, which is pointed at, or where the way is seen far enough to be pointed at.
        """
        if not self._env.goal_is_a_place or self._visible_way() is not None:
            return None
        x, y, yaw = self._env.pose
        way = self._way()
        end = (x, y)
        for px, py in way[1:]:
            length = math.hypot(px - x, py - y)
            nx, ny, touched = self._env.would_move(x, y, math.atan2(py - y, px - x), length)
            if touched or math.hypot(nx - px, ny - py) > 0.02 or length > _STRAIGHT_M:
                break
            end = (float(px), float(py))
        return wrap_angle(math.atan2(end[1] - y, end[0] - x) - yaw), math.hypot(end[0] - x, end[1] - y)

    def _way(self) -> NDArray[np.float64]:
        """Map points (N, 2) of the shortest way from here."""
        env = self._env
        x, y, _ = env.pose
        return to_map(env.shortest_path(to_habitat([x, y, 0.0])))[:, :2]

    def _visible_way(self) -> tuple[int, float, float] | None:
        """The farthest floor point of the way that the camera sees, if that is far enough to point at."""
        env = self._env
        frame = env.frame
        assert frame.depth_m is not None  # our environments all have depth
        way = self._way()
        optical = frame.T_map_camera.inverse().apply(np.pad(way, ((0, 0), (0, 1))))
        pixels = project(frame.intrinsics, optical)
        height, width = frame.depth_m.shape
        x, y, _ = env.pose
        for point, (u, v), z in zip(way[::-1], pixels[::-1], optical[::-1, 2], strict=True):
            if math.hypot(point[0] - x, point[1] - y) < _NEAREST_POINTED_M:
                return None
            if np.isfinite(u) and 2 <= u < width - 3 and 2 <= v < height - 3:
                seen = float(frame.depth_m[round(v), round(u)])
                if abs(seen - float(z)) < 0.03 + 0.03 * float(z):
                    return 0, float(u), float(v)
        return None
