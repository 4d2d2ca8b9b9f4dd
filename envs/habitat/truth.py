"""What only the oracle may know of a Habitat episode. Habitat's measures decide; the way is our follower's."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from si_embodied.embodiment import BaseAction
from si_embodied.envs.ground_truth import best_heading, inner_pixel
from si_embodied.envs.habitat.frames import to_habitat, to_map
from si_embodied.envs.habitat.instructions import category_words
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

    def begin(self) -> None:
        """Take in the goals of an episode that has just been reset."""
        episode, task = self._env.episode, self._env.setup.config.habitat.task
        if task.measurements.distance_to_goal.distance_to == "VIEW_POINTS":
            points = [view.agent_state.position for goal in episode.goals for view in goal.view_points]
        else:
            points = [goal.position for goal in episode.goals]
        self._goals = np.asarray(points, np.float64)  # (N, 3) of Habitat's world, at which `distance_to_goal` is 0
        named = (episode.info or {}).get("object_id")
        ids = [goal.object_id for goal in episode.goals] if self._env.task == "objectnav" else [named]
        self._ids = [int(i) for i in ids if i is not None]  # semantic ids of the things that are goals

    def target_name(self) -> str:
        """The goal in words: "chair", or "goal" where Habitat has no word for it."""
        return category_words(self._env.episode.object_category) if self._env.task == "objectnav" else "goal"

    @property
    def goal_is_a_place(self) -> bool:
        """Whether the goal is a point or a picture's place, not a thing."""
        return self._env.task in ("pointnav", "imagenav")

    def goal_mask(self) -> NDArray[np.bool_]:
        """(H, W), the pixels of the last observation that show the goal; none where no semantic camera tells."""
        env = self._env
        shape = env.frame.rgb.shape[:2]
        if hasattr(env.habitat_env.sim, "semantic"):
            return np.isin(env.habitat_env.sim.semantic(), self._ids)
        if "semantic" in env.raw:  # a user's config with a semantic camera beside the others
            return np.isin(np.asarray(env.raw["semantic"]).reshape(shape), self._ids)
        return np.zeros(shape, bool)

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
            to_goal=self.distance_from,
            move=self.would_move,
            arrived=lambda x, y: self.distance_from(x, y) < body.success_distance_m,
        )
        error = wrap_angle(heading - yaw)
        if abs(error) <= body.turn_step_rad / 2 + 1e-6:
            return int(BaseAction.FORWARD)
        return int(BaseAction.TURN_LEFT if error > 0 else BaseAction.TURN_RIGHT)

    def visible_target(self) -> tuple[int, float, float] | None:
        """(view, u, v) of a pixel of the goal, or of a place's way as far as it is seen; None when none is."""
        if self.goal_is_a_place:
            return self._visible_way()
        mask = self.goal_mask()
        fewest = max(1, round(_MIN_VISIBLE_PX_AT_224 * mask.size / 224**2))
        return None if int(mask.sum()) < fewest else (0, *inner_pixel(mask))

    def straight_way(self) -> tuple[float, float] | None:
        """(bearing, distance) in base_link, radians and metres, of the next straight piece of the way to a place.

        None where the goal is a thing, which is pointed at, or where the way is seen far enough to be pointed at.
        """
        if not self.goal_is_a_place or self._visible_way() is not None:
            return None
        x, y, yaw = self._env.pose
        way = self._way()
        end = (x, y)
        for px, py in way[1:]:
            length = math.hypot(px - x, py - y)
            nx, ny, touched = self.would_move(x, y, math.atan2(py - y, px - x), length)
            if touched or math.hypot(nx - px, ny - py) > 0.02 or length > _STRAIGHT_M:
                break
            end = (float(px), float(py))
        return wrap_angle(math.atan2(end[1] - y, end[0] - x) - yaw), math.hypot(end[0] - x, end[1] - y)

    # --- the simulator's knowledge of ways, in the map --------------------------------------------------------------

    @property
    def _floor_m(self) -> float:
        return float(self._env.T_map_base.translation[2])

    def distance_from(self, x: float, y: float) -> float:
        """Driving distance from a map point to the goal, metres."""
        point = to_habitat([x, y, self._floor_m])
        return float(self._env.habitat_env.sim.geodesic_distance(point, self._goals, self._env.episode))

    def would_move(self, x: float, y: float, heading_rad: float, length_m: float) -> tuple[float, float, bool]:
        """Where a drive from a map point ends, and whether it touches something."""
        end = [x + math.cos(heading_rad) * length_m, y + math.sin(heading_rad) * length_m, self._floor_m]
        pathfinder = self._env.habitat_env.sim.pathfinder
        reached = to_map(pathfinder.try_step(to_habitat([x, y, self._floor_m]), to_habitat(end)))
        touched = math.hypot(reached[0] - end[0], reached[1] - end[1]) > 1e-3
        return float(reached[0]), float(reached[1]), touched

    def _way(self) -> NDArray[np.float64]:
        """Map points (N, 2) of the shortest way from here to the first goal."""
        here = to_habitat(self._env.T_map_base.translation)
        points = self._env.habitat_env.sim.get_straight_shortest_path_points(here, self._goals[0])
        return to_map(np.asarray(points, np.float64).reshape(-1, 3))[:, :2]

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
