"""Where a mobile base stands: to face a target, near it and where nothing hides it, or at a place itself."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from si_embodied.geometry import Pose, deproject_image, wrap_angle
from si_embodied.skills import NavigateTo
from si_embodied.types import Code, Refusal

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from si_embodied.config import GroundingConfig
    from si_embodied.types import NavigationMap, Observation

_AT_PLACE_M = 0.15
"""A base this close to a place has arrived; Habitat's PointNav asks for 0.2 m."""
_NOT_AHEAD_RAD = 0.5
"""What is farther to the side may be out of sight."""
_BEARINGS = 72
"""Directions around a target, 5 degrees wide; in each it is visible up to some distance."""
_TARGET_RADIUS_M = 0.25
"""Points this close to the target belong to it, and do not hide it."""
_LOWER_M = 0.1
"""Points this much lower than the camera still hide what is behind them."""
_EDGE_M, _EDGE_COST_M = 0.1, 0.3
"""A cell this near to where the base can go no farther costs this much more: the base stops some centimetres off."""
_MOST_POINTS = 20_000
"""Depth images are subsampled to about this many points."""


def standoff(
    target: NDArray[np.float64], observation: Observation, config: GroundingConfig
) -> NavigateTo | Refusal:  # fmt: skip
    """A reachable base pose near the target (3,) that faces it, from which the target is visible if there is one.

    Without a map, the pose lies on the straight line from the base to the target. If the map ends before the target
    (seen through a doorway, for example), or all cells near it are hidden from it, the goal drives towards it in sight
    of it as far as the map is known and then ends with NO_STANDOFF.
    """
    x, y = float(target[0]), float(target[1])
    away = observation.T_map_base.translation[:2] - target[:2]
    from_here_m = float(np.hypot(*away))
    if observation.navigation_map is None:
        stand = target[:2] + away / max(from_here_m, 1e-9) * min(from_here_m, config.preferred_standoff_m)
        return NavigateTo(_facing(float(stand[0]), float(stand[1]), x, y), target)
    farthest_m, nearer_m = config.max_standoff_m, from_here_m - config.min_approach_m
    sight_m = _sight(target, observation, max(from_here_m, farthest_m))
    for within_m, limit_m, on_arrival in (
        (farthest_m, sight_m, Code.OK),
        (nearer_m, sight_m, Code.NO_STANDOFF),
        (farthest_m, None, Code.OK),  # what hides the target may look different from there
        (nearer_m, None, Code.NO_STANDOFF),
    ):
        cell = _best_cell(x, y, observation.navigation_map, within_m, config.preferred_standoff_m, limit_m)
        if cell is not None:
            return NavigateTo(_facing(*cell, x, y), target, on_arrival)
    return Refusal(Code.NO_STANDOFF, f"the base can reach no cell within {farthest_m} m of ({x:.2f}, {y:.2f})")


def arrival(place: NDArray[np.float64], observation: Observation, config: GroundingConfig) -> NavigateTo | Refusal:
    """A reachable base pose at a place (3,); where the map ends before it, one nearer to it, reached with NO_STANDOFF.

    If none is nearer, the base turns to the place, to see the way. Unlike a standoff, the pose need not be in sight of
    the place. Without a map, it is the place.
    """
    x, y = float(place[0]), float(place[1])
    start_x, start_y = (float(value) for value in observation.T_map_base.translation[:2])
    heading = math.atan2(y - start_y, x - start_x)
    if observation.navigation_map is None:
        return NavigateTo(Pose.planar(x, y, heading), place)
    nearer_m = math.hypot(x - start_x, y - start_y) - config.min_approach_m
    for within_m, on_arrival in ((_AT_PLACE_M, Code.OK), (nearer_m, Code.NO_STANDOFF)):
        cell = _best_cell(x, y, observation.navigation_map, within_m, 0.0, None)
        if cell is not None:
            return NavigateTo(Pose.planar(*cell, heading), place, on_arrival)
    if abs(wrap_angle(heading - observation.T_map_base.yaw)) > _NOT_AHEAD_RAD:
        return NavigateTo(Pose.planar(start_x, start_y, heading), place, Code.NO_STANDOFF)
    return Refusal(Code.NO_STANDOFF, f"the base can come no nearer to ({x:.2f}, {y:.2f}) on the map")


def _sight(target: NDArray[np.float64], observation: Observation, within_m: float) -> NDArray[np.float64]:
    """How far from the target (3,) a base can stand and see it, metres, for each of the bearings from the target.

    Only what is as high as the camera counts as hiding it: walls, door frames, wardrobes. Lower furniture hides a point
    of the target at most, and is often the target's own: a sofa's armrests. The base itself sees the target.
    """
    limits = np.full(_BEARINGS, np.inf)
    for frame in observation.views:
        if frame.depth_m is None:
            continue
        step = max(1, round((frame.depth_m.size / _MOST_POINTS) ** 0.5))
        points = deproject_image(frame.intrinsics, frame.depth_m, step=step).reshape(-1, 3)
        points = frame.T_map_camera.apply(points[np.isfinite(points[:, 2])])
        offset = points[points[:, 2] > frame.T_map_camera.translation[2] - _LOWER_M] - target
        away = np.hypot(offset[:, 0], offset[:, 1])
        hiding = (away > _TARGET_RADIUS_M) & (away < within_m)
        np.minimum.at(limits, _bearing_bins(offset[hiding]), away[hiding])
    limits = np.minimum(limits, np.maximum(np.roll(limits, 1), np.roll(limits, -1)))  # gaps between the depth pixels
    limits[_bearing_bins(observation.T_map_base.translation - target)] = np.inf
    return limits


def _best_cell(
    x: float, y: float, grid: NavigationMap, within_m: float, preferred_m: float, sight_m: NDArray[np.float64] | None
) -> tuple[float, float] | None:
    """Map xy of the best reachable cell within `within_m` of the target, weighing distance against path length.

    With `sight_m`, from `_sight`, only of cells from which the target is visible.
    """
    xs, ys = grid.centres()
    columns = np.flatnonzero(np.abs(xs - x) <= within_m)
    rows = np.flatnonzero(np.abs(ys - y) <= within_m)
    if not len(columns) or not len(rows):
        return None
    window = grid.path_length_m[np.ix_(rows, columns)]
    away = np.stack(np.meshgrid(xs[columns] - x, ys[rows] - y), axis=-1)
    distance = np.hypot(away[..., 0], away[..., 1])
    allowed = np.isfinite(window) & (distance <= within_m)
    if sight_m is not None:
        allowed &= distance <= sight_m[_bearing_bins(away)]
    edge = _edge(window, round(_EDGE_M / grid.resolution_m))
    # The wrong distance weighs twice as much as path length. A cell behind a wall costs the path around it.
    cost = np.where(allowed, 2 * np.abs(distance - preferred_m) + window + _EDGE_COST_M * edge, np.inf)
    row, column = np.unravel_index(int(np.argmin(cost)), cost.shape)
    return (float(xs[columns[column]]), float(ys[rows[row]])) if np.isfinite(cost[row, column]) else None


def _edge(path_length_m: NDArray[np.float32], reach: int) -> NDArray[np.bool_]:
    """Mask (rows, columns) of the cells with another one, `reach` cells away along an axis, that is out of reach."""
    inside = np.pad(np.isfinite(path_length_m), reach, constant_values=True)
    rows, columns = path_length_m.shape
    middle = np.s_[reach : reach + rows], np.s_[reach : reach + columns]
    vertical = inside[:rows, middle[1]] & inside[-rows:, middle[1]]
    edge: NDArray[np.bool_] = ~(vertical & inside[middle[0], :columns] & inside[middle[0], -columns:])
    return edge


def _bearing_bins(offset: NDArray[np.float64]) -> NDArray[np.intp]:
    """The bin of each offset (..., 2 or 3) by its direction in the plane."""
    angle = np.arctan2(offset[..., 1], offset[..., 0])
    bins: NDArray[np.intp] = np.floor((angle + math.pi) / (2 * math.pi) * _BEARINGS).astype(np.intp) % _BEARINGS
    return bins


def _facing(x: float, y: float, target_x: float, target_y: float) -> Pose:
    return Pose.planar(x, y, math.atan2(target_y - y, target_x - x))
