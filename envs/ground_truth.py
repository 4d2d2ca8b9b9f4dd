"""Privileged knowledge of an apartment episode: the shortest path, and which pixels show the target."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Protocol

import numpy as np
from scipy.ndimage import distance_transform_edt, label

from si_embodied.embodiment import BaseAction
from si_embodied.envs.base_motion import slide
from si_embodied.envs.scenes.occupancy import CELL_M
from si_embodied.geometry import deproject_image, project, wrap_angle
from si_embodied.ground_truth import FloorPlan
from si_embodied.grounding import pixel_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from si_embodied.embodiment import MobileBase
    from si_embodied.envs.episode import CameraSetup, Episode
    from si_embodied.envs.scenes.occupancy import Grid
    from si_embodied.ground_truth import Pixel, Pointed
    from si_embodied.types import CameraFrame

_TURN_COST_M = 0.004  # of turning by 15 degrees; breaks near-ties in favour of the nearest heading
_TOUCH_COST_M = 0.03
_NEAREST_POINTED_M = 1.2  # nearer floor points are driven to without pointing, because `goto` stops short of its target
_STRAIGHT_M = 1.0  # longest straight drive
_EDGE_M = 0.02  # a depth this far outside an object still shows it


def best_heading(
    pose: tuple[float, float, float],
    turn_step_rad: float,
    forward_step_m: float,
    *,
    to_goal: Callable[[float, float], float],
    move: Callable[[float, float, float, float], tuple[float, float, bool]],
    arrived: Callable[[float, float], bool],
) -> float:
    """The heading (map, radians), a whole number of turns away, in which driving brings the base nearest to its goal.

    Args:
        pose: x, y and yaw in the map.
        turn_step_rad: angle of one turn.
        forward_step_m: length of one step.
        to_goal: driving distance from a map point.
        move: where a drive from x, y along a heading over a length ends, and whether it touches an obstacle.
        arrived: whether the base may stop at a map point.
    """
    x, y, yaw = pose
    count = round(2 * math.pi / turn_step_rad)
    here = to_goal(x, y)
    best, best_score = yaw, -math.inf
    for length in (forward_step_m, 2 * forward_step_m):
        for k in range(count):
            turns = k if k <= count // 2 else k - count
            heading = yaw + turns * turn_step_rad
            nx, ny, touched = move(x, y, heading, length)
            gain = here - to_goal(nx, ny)
            if arrived(nx, ny):
                gain = max(gain, 0.5 * length)
            score = gain - _TURN_COST_M * abs(turns) * turn_step_rad / 0.26 - _TOUCH_COST_M * touched
            if score > best_score:
                best, best_score = heading, score
        if best_score > 0.1 * length:
            break
    return best


def inner_pixel(mask: NDArray[np.bool_]) -> tuple[float, float]:
    """(u, v) well inside the largest part of a mask (H, W) that marks at least one pixel."""
    parts, count = label(mask)
    if count > 1:
        sizes = np.bincount(parts.ravel())
        sizes[0] = 0
        mask = parts == int(sizes.argmax())
    depth_inside = distance_transform_edt(np.pad(mask, 1))[1:-1, 1:-1]
    v, u = np.unravel_index(int(np.argmax(depth_inside)), mask.shape)
    return float(u), float(v)


def floor_plan(grid: Grid, path: NDArray[np.float64], goals: NDArray[np.float64]) -> FloorPlan:
    """A grid's floor with a path (N, 2) and goals (M, 2), map."""
    return FloorPlan(CELL_M, grid.origin_m, grid.clearance_m > 0.0, path, goals)


def shortest_path(episode: Episode) -> NDArray[np.float64]:
    """Map points (N, 2) of the shortest path from an episode's start through all its goal regions."""
    x, y, _ = episode.start
    legs: list[NDArray[np.float64]] = []
    for field in episode.fields:
        legs.append(field.path(x, y))
        if not len(legs[-1]):
            break
        x, y = (float(value) for value in legs[-1][-1])
    return np.concatenate(legs)


def visible_path_point(frame: CameraFrame, path: NDArray[np.float64], pose: tuple[float, float, float]) -> Pixel | None:
    """(view, u, v) of the farthest point of a path (N, 2) that a frame shows; None if that is too near to point at."""
    assert frame.depth_m is not None  # our environments all have depth
    optical = frame.T_map_camera.inverse().apply(np.pad(path, ((0, 0), (0, 1))))
    pixels = project(frame.intrinsics, optical)
    height, width = frame.depth_m.shape
    for point, (u, v), z in zip(path[::-1], pixels[::-1], optical[::-1, 2], strict=True):
        if math.hypot(point[0] - pose[0], point[1] - pose[1]) < _NEAREST_POINTED_M:
            return None
        if np.isfinite(u) and 2 <= u < width - 3 and 2 <= v < height - 3:
            seen = float(frame.depth_m[round(v), round(u)])
            if abs(seen - float(z)) < 0.03 + 0.03 * float(z):
                return 0, float(u), float(v)
    return None


def straight_part(
    pose: tuple[float, float, float],
    path: NDArray[np.float64],
    move: Callable[[float, float, float, float], tuple[float, float, bool]],
) -> tuple[float, float]:
    """(bearing, distance) in base_link, radians and metres, of the straight beginning of a path (N, 2).

    Args:
        pose: x, y and yaw in the map.
        path: begins at the pose.
        move: as in `best_heading`.
    """
    x, y, yaw = pose
    end = (x, y)
    for px, py in path[1:]:
        length = math.hypot(px - x, py - y)
        nx, ny, touched = move(x, y, math.atan2(py - y, px - x), length)
        if touched or math.hypot(nx - px, ny - py) > 0.02 or length > _STRAIGHT_M:
            break
        end = (float(px), float(py))
    return wrap_angle(math.atan2(end[1] - y, end[0] - x) - yaw), math.hypot(end[0] - x, end[1] - y)


class ApartmentState(Protocol):
    """The state of a running episode; `ApartmentEnv` has it."""

    embodiment: MobileBase
    camera: CameraSetup
    discrete: bool
    min_visible_px: int  # of the target; fewer do not count as seeing it
    pose: tuple[float, float, float]  # x, y in metres and yaw in radians, map
    tilt: float  # of the head camera, radians, up positive
    leg: int  # index of the goal under way

    @property
    def episode(self) -> Episode:
        """The running episode."""

    def target_mask(self) -> NDArray[np.bool_]:
        """(H, W), the pixels of the current view that show the current leg's target."""

    def furniture_mask(self) -> NDArray[np.bool_]:
        """(H, W), the pixels of the current view that show any furniture."""

    def leg_reached(self) -> bool:
        """Whether the robot is near the current leg's target and sees it."""


class NavigationGroundTruth:
    """The simulator's own knowledge of the running episode."""

    goal_is_a_place = False

    def __init__(self, env: ApartmentState) -> None:
        """Read the state of `env`."""
        self._env = env

    def target_name(self) -> str:
        """The current leg's target in words: "red chair"."""
        return self._env.episode.goal(self._env.leg).phrase

    def at_goal(self) -> bool:
        """Whether stopping now is success."""
        env = self._env
        return env.leg == len(env.episode.task.goals) - 1 and env.leg_reached()

    def visible_target(self) -> Pixel | None:
        """(view, u, v) well inside the current target's largest visible part; None if too little is visible."""
        mask = self._env.target_mask()
        if int(mask.sum()) < self._env.min_visible_px:
            return None
        return 0, *inner_pixel(mask)

    def seen_in(self, frame: CameraFrame) -> tuple[float, float] | None:
        """(u, v) in an earlier image: where its depth lies within the bounds of the current target."""
        assert frame.depth_m is not None  # our environments all have depth
        low, high = self._env.episode.goal(self._env.leg).bounds
        points = frame.T_map_camera.apply(deproject_image(frame.intrinsics, frame.depth_m))
        with np.errstate(invalid="ignore"):  # pixels without a return
            mask = ((points > low - _EDGE_M) & (points < high + _EDGE_M) & (points[..., 2:] > _EDGE_M)).all(axis=-1)
        return inner_pixel(mask) if int(mask.sum()) >= self._env.min_visible_px else None

    def shows_target(self, view: int, point: tuple[int, int]) -> bool:
        """Whether a point (0..1000) of a view of the last observation lies on the current leg's target."""
        mask = self._env.target_mask()
        u, v = pixel_of(point, mask.shape[1], mask.shape[0])
        return view == 0 and bool(mask[round(v), round(u)])

    def target_in_view(self) -> bool:
        """Whether enough of the current leg's target is visible."""
        return int(self._env.target_mask().sum()) >= self._env.min_visible_px

    def pointed_at(self, view: int, point: tuple[int, int]) -> Pointed | None:
        """What lies at a point (0..1000) of the current view: the target, other furniture, or a wall or the floor."""
        if view != 0:
            return None
        if self.shows_target(view, point):
            return "target"
        furniture = self._env.furniture_mask()
        u, v = pixel_of(point, furniture.shape[1], furniture.shape[0])
        return "other" if furniture[round(v), round(u)] else "nothing"

    def floor_plan(self) -> FloorPlan:
        """The apartment from above, with the shortest path from the start."""
        episode = self._env.episode
        goals = [episode.goal(leg).centre[:2] for leg in range(len(episode.task.goals))]
        return floor_plan(episode.grid, shortest_path(episode), np.asarray(goals, np.float64))

    def straight_way(self) -> None:
        """None: the goals are objects, which a planner points at."""

    def next_action(self) -> int | NDArray[np.float32]:
        """The next action along the shortest path, in the environment's action mode; stops where that is success."""
        env = self._env
        if self.at_goal():
            return int(BaseAction.STOP) if env.discrete else np.array([0.0, 0.0, 1.0], np.float32)
        heading = self._heading()
        return self._face(heading) if heading is None or env.discrete else self._steer(heading)

    def distance_from(self, x: float, y: float) -> float:
        """Driving distance through the current leg's region and the later ones."""
        return self._env.episode.fields[self._env.leg].at(x, y)

    def _heading(self) -> float | None:
        """Best heading to drive along, map, radians; None where the current target is visible from here."""
        env = self._env
        x, y, _ = env.pose
        region, grid, body = env.episode.regions[env.leg], env.episode.grid, env.embodiment
        if region[grid.cell(x, y)]:
            return None

        def move(x: float, y: float, heading: float, length: float) -> tuple[float, float, bool]:
            return slide(env.episode.obstacles, body.radius_m, x, y, heading, length)

        step = body.turn_step_rad if env.discrete else math.radians(7.5)
        arrived = lambda x, y: bool(region[grid.cell(x, y)])  # noqa: E731
        return best_heading(env.pose, step, body.forward_step_m, to_goal=self.distance_from, move=move, arrived=arrived)

    def _face(self, heading: float | None) -> int | NDArray[np.float32]:
        """One turn or step along a heading; without a heading, turn and tilt until the camera sees the target."""
        env = self._env
        if heading is not None:
            error = wrap_angle(heading - env.pose[2])
            if abs(error) <= env.embodiment.turn_step_rad / 2 + 1e-6:
                return int(BaseAction.FORWARD)
            return int(BaseAction.TURN_LEFT if error > 0 else BaseAction.TURN_RIGHT)
        x, y, yaw = env.pose
        low, high = env.episode.goal(env.leg).bounds
        middle = (low + high) / 2
        # The camera may be panned, and it is the camera that must face the target.
        error = wrap_angle(math.atan2(middle[1] - y, middle[0] - x) - yaw - env.camera.pan_rad)
        if not env.discrete:
            rate = float(np.clip(error / env.embodiment.control_period_s, -1, 1)) * 1.0
            if abs(error) < 0.05:
                rate = 1.0  # facing its middle does not show it: look around
            return np.array([0.0, rate, 0.0], np.float32)
        if abs(error) > env.embodiment.turn_step_rad / 2 + 1e-6:
            return int(BaseAction.TURN_LEFT if error > 0 else BaseAction.TURN_RIGHT)
        elevation = math.atan2(middle[2] - env.camera.height_m, math.hypot(middle[0] - x, middle[1] - y))
        if elevation < env.tilt - env.embodiment.tilt_step_rad / 2 and env.tilt > env.embodiment.tilt_range_rad[0]:
            return int(BaseAction.LOOK_DOWN)
        if elevation > env.tilt + env.embodiment.tilt_step_rad / 2 and env.tilt < env.embodiment.tilt_range_rad[1]:
            return int(BaseAction.LOOK_UP)
        return int(BaseAction.TURN_LEFT)

    def _steer(self, heading: float) -> NDArray[np.float32]:
        """Turn towards a heading; drive faster the better the base faces it."""
        body, error = self._env.embodiment, wrap_angle(heading - self._env.pose[2])
        rate = float(np.clip(error / body.control_period_s, -body.max_turn_rate_rad_s, body.max_turn_rate_rad_s))
        left = abs(error) - abs(rate) * body.control_period_s
        speed = body.max_speed_m_s if abs(error) < 0.2 else (0.0 if left > 0.2 or abs(error) > 0.4 else 0.4)
        return np.array([speed, rate, 0.0], np.float32)
