"""Privileged knowledge of a Habitat episode: success by Habitat's measures, the path by our own follower."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from si_embodied.embodiment import BaseAction
from si_embodied.envs.ground_truth import best_heading, inner_pixel, straight_part, visible_path_point
from si_embodied.envs.habitat.frames import to_habitat, to_map
from si_embodied.envs.habitat.instructions import category_words
from si_embodied.geometry import wrap_angle
from si_embodied.ground_truth import FloorPlan
from si_embodied.grounding import pixel_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from si_embodied.embodiment import MobileBase
    from si_embodied.envs.habitat.config import Setup
    from si_embodied.envs.habitat.episodes import HabitatTask
    from si_embodied.geometry import Pose
    from si_embodied.ground_truth import Pixel, Pointed
    from si_embodied.types import CameraFrame

_MIN_VISIBLE_PX_AT_224 = 40
_PLAN_CELL_M = 0.05  # of the plan of the floor
_BESIDE_M = 0.5  # from the nearest view point of an object


class HabitatState(Protocol):
    """The state of a running episode; `HabitatEnv` has it."""

    task: HabitatTask
    setup: Setup
    embodiment: MobileBase
    episode: Any  # habitat-lab's
    raw: Any  # habitat-lab's last observation
    T_map_base: Pose

    @property
    def habitat_env(self) -> Any:
        """The `habitat.Env` that runs the episode."""

    @property
    def frame(self) -> CameraFrame:
        """The head camera's image of the last observation."""

    @property
    def pose(self) -> tuple[float, float, float]:
        """The robot's x, y in metres and yaw in radians, map."""

    def distance_to_goal(self) -> float:
        """habitat-lab's measure of that name, metres."""


class HabitatGroundTruth:
    """The simulator's own knowledge of the running episode."""

    def __init__(self, env: HabitatState) -> None:
        """Read the state of `env`."""
        self._env = env
        self._goals = np.zeros((0, 3))  # in Habitat's world, where `distance_to_goal` is 0
        self._ids: list[int] = []  # semantic ids of the goal objects
        self._seen: dict[float, tuple[float, float] | None] = {}  # the goal in the images of this episode, by stamp

    def begin(self) -> None:
        """Read the goals of an episode that has just been reset."""
        episode, task = self._env.episode, self._env.setup.config.habitat.task
        if task.measurements.distance_to_goal.distance_to == "VIEW_POINTS":
            points = [view.agent_state.position for goal in episode.goals for view in goal.view_points]
        else:
            points = [goal.position for goal in episode.goals]
        self._goals = np.asarray(points, np.float64)
        named = (episode.info or {}).get("object_id")
        ids = [goal.object_id for goal in episode.goals] if self._env.task == "objectnav" else [named]
        self._ids = [int(i) for i in ids if i is not None]
        self._seen = {}

    def target_name(self) -> str:
        """What to point at: "chair"; the floor on the path to a place; "goal" if the data do not name it."""
        if self.goal_is_a_place:
            return "floor"
        if self._env.task == "objectnav":
            return category_words(self._env.episode.object_category)
        return str((self._env.episode.info or {}).get("object_name", "goal"))

    @property
    def goal_is_a_place(self) -> bool:
        """Whether the goal is a place (a point, or where an image was taken) and not an object."""
        return self._env.task in ("pointnav", "imagenav")

    def goal_mask(self) -> NDArray[np.bool_]:
        """(H, W), the pixels of the last observation that show the goal; all False without a semantic camera."""
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
        """The next action along the shortest path; stops where that is success."""
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

    def visible_target(self) -> Pixel | None:
        """(view, u, v) of the goal, or of the farthest visible point of the path to a place; None if neither shows."""
        if self.goal_is_a_place:
            return self._visible_path_point()
        pixel = self.seen_in(self._env.frame)
        return None if pixel is None else (0, *pixel)

    def seen_in(self, frame: CameraFrame) -> tuple[float, float] | None:
        """(u, v) of the goal in an image of this episode; None also if the simulator cannot look from there again.

        The embedded simulator can. With another one, only images are known that were new when they were planned from.
        """
        if self.goal_is_a_place:
            return None
        sim = self._env.habitat_env.sim
        if frame.stamp_s not in self._seen:
            if frame.stamp_s == self._env.frame.stamp_s:
                mask = self.goal_mask()
            elif hasattr(sim, "semantic_from"):
                mask = np.isin(sim.semantic_from(frame), self._ids)
            else:
                return None
            self._seen[frame.stamp_s] = None if int(mask.sum()) < _fewest(mask) else inner_pixel(mask)
        return self._seen[frame.stamp_s]

    def target_in_view(self) -> bool | None:
        """Whether enough of the goal object is visible; None for a place, and without a semantic camera."""
        if self.goal_is_a_place or not self._has_semantics:
            return None
        mask = self.goal_mask()  # not `seen_in`, which remembers the images that a planner was shown
        return int(mask.sum()) >= _fewest(mask)

    def pointed_at(self, view: int, point: tuple[int, int]) -> Pointed | None:
        """What lies at a point (0..1000) of the last image; None for a place, and without a semantic camera.

        Another simulator than the embedded one gives walls and floors an id as well, so only the target is known there.
        """
        if view != 0 or self.goal_is_a_place or not self._has_semantics:
            return None
        mask = self.goal_mask()
        u, v = pixel_of(point, mask.shape[1], mask.shape[0])
        if mask[round(v), round(u)]:
            return "target"
        sim = self._env.habitat_env.sim
        if not hasattr(sim, "semantic_from"):
            return None
        return "other" if sim.semantic()[round(v), round(u)] > 0 else "nothing"

    @property
    def _has_semantics(self) -> bool:
        return hasattr(self._env.habitat_env.sim, "semantic") or "semantic" in self._env.raw

    def floor_plan(self) -> FloorPlan:
        """The navigable floor at the robot's height, with the shortest path from here to the nearest goal."""
        pathfinder = self._env.habitat_env.sim.pathfinder
        height = float(to_habitat(self._env.T_map_base.translation)[1])
        free = np.asarray(pathfinder.get_topdown_view(_PLAN_CELL_M, height), bool)[::-1]  # rows along map y
        low, _ = pathfinder.get_bounds()
        origin = float(low[0]), -float(low[2]) - free.shape[0] * _PLAN_CELL_M
        path = self._nearest_path()
        return FloorPlan(_PLAN_CELL_M, origin, free, path, path[-1:])

    def _nearest_path(self) -> NDArray[np.float64]:
        """Map points (N, 2) of the shortest path from here to the nearest goal; empty if there is none."""
        sim, here = self._env.habitat_env.sim, to_habitat(self._env.T_map_base.translation)
        if hasattr(sim.pathfinder, "path"):  # the embedded simulator's takes several goals
            points = sim.pathfinder.path(here, self._goals)
        else:
            nearest = min(self._goals, key=lambda goal: sim.geodesic_distance(here, goal))
            points = sim.get_straight_shortest_path_points(here, nearest)
        return to_map(np.asarray(points, np.float64).reshape(-1, 3))[:, :2]

    def straight_way(self) -> tuple[float, float] | None:
        """(bearing, distance) in base_link, radians and metres, of the next straight segment of the path.

        None where enough of the path is visible to point at. An object is pointed at from anywhere but from close to
        where its episode would succeed: `goto` may stop just beside that.
        """
        if self.goal_is_a_place:
            pointed = self._visible_path_point() is not None
        else:
            pointed = self._env.distance_to_goal() > _BESIDE_M
        if pointed:
            return None
        return straight_part(self._env.pose, self._path(), self.would_move)

    # --- the simulator's paths, in the map --------------------------------------------------------------------------

    @property
    def _floor_m(self) -> float:
        return float(self._env.T_map_base.translation[2])

    def distance_from(self, x: float, y: float) -> float:
        """Driving distance from a map point to the goal, metres."""
        point = to_habitat([x, y, self._floor_m])
        return float(self._env.habitat_env.sim.geodesic_distance(point, self._goals, self._env.episode))

    def would_move(self, x: float, y: float, heading_rad: float, length_m: float) -> tuple[float, float, bool]:
        """Where a drive from a map point ends (x, y), and whether it touches an obstacle."""
        end = [x + math.cos(heading_rad) * length_m, y + math.sin(heading_rad) * length_m, self._floor_m]
        pathfinder = self._env.habitat_env.sim.pathfinder
        reached = to_map(pathfinder.try_step(to_habitat([x, y, self._floor_m]), to_habitat(end)))
        touched = math.hypot(reached[0] - end[0], reached[1] - end[1]) > 1e-3
        return float(reached[0]), float(reached[1]), touched

    def _path(self) -> NDArray[np.float64]:
        """Map points (N, 2) of the shortest path from here to the first goal."""
        here = to_habitat(self._env.T_map_base.translation)
        points = self._env.habitat_env.sim.get_straight_shortest_path_points(here, self._goals[0])
        return to_map(np.asarray(points, np.float64).reshape(-1, 3))[:, :2]

    def _visible_path_point(self) -> Pixel | None:
        """(view, u, v) of the path's farthest visible floor point; None if it is too near to point at."""
        return visible_path_point(self._env.frame, self._path(), self._env.pose)


def _fewest(mask: NDArray[np.bool_]) -> int:
    """How many pixels of a mask (H, W) show the goal at least."""
    return max(1, round(_MIN_VISIBLE_PX_AT_224 * mask.size / 224**2))
