"""Bounds that every goal must keep: finite numbers, the robot's limits, its map, and the depth it sees ahead."""

from __future__ import annotations

import dataclasses
import enum
from typing import TYPE_CHECKING, Any

import numpy as np

from si_embodied.embodiment import MobileBase, TableArm
from si_embodied.geometry import MAX_LENGTH_M, deproject_image
from si_embodied.types import Code, Refusal

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from si_embodied.config import GuardConfig
    from si_embodied.embodiment import Embodiment
    from si_embodied.geometry import Pose
    from si_embodied.types import CameraFrame, NavigationMap, Observation

_FLOOR_M = 0.08
"""Points lower than this above the base's origin are floor, as for the policies' mapper."""
_FEWEST_POINTS = 5
"""Fewer depth points than this are noise, not an obstacle."""
_MOST_POINTS = 20_000
"""Depth images are subsampled to about this many points; at 640 x 480 a pixel in four, still 1 cm apart at 2 m."""


def is_finite(value: Any) -> bool:
    """Whether all numbers in a value, and in its fields or items, are finite and below `MAX_LENGTH_M`."""
    if isinstance(value, float | int | np.number) and not isinstance(value, enum.Enum):
        return bool(-MAX_LENGTH_M <= value <= MAX_LENGTH_M)  # False for NaN; an int may exceed any float
    if isinstance(value, np.ndarray):
        return not np.issubdtype(value.dtype, np.number) or bool((np.abs(value) <= MAX_LENGTH_M).all())
    if isinstance(value, tuple | list):
        return all(map(is_finite, value))
    if dataclasses.is_dataclass(value):
        return all(is_finite(getattr(value, field.name)) for field in dataclasses.fields(value))
    return True


def check_base_pose(pose: Pose, observation: Observation, limits: GuardConfig) -> Refusal | None:
    """Reject a base pose farther away than `max_goal_distance_m`, or that the base cannot reach on its map."""
    x, y = (float(value) for value in pose.translation[:2])
    distance = float(np.hypot(*(pose.translation - observation.T_map_base.translation)[:2]))
    if distance > limits.max_goal_distance_m:
        limit = limits.max_goal_distance_m
        return Refusal(Code.TOO_FAR, f"the goal is {distance:.1f} m away, more than {limit} m")
    grid = observation.navigation_map
    if grid is not None and not grid.reachable(x, y):
        return Refusal(Code.OFF_MAP, f"the goal ({x:.2f}, {y:.2f}) is not on a cell of the map that the base can reach")
    return None


def check_tool_point(name: str, point: NDArray[np.float64], embodiment: Embodiment) -> Refusal | None:
    """Reject a map point (3,) outside an arm's workspace or reach. Other robots have no such bounds."""
    if not isinstance(embodiment, TableArm):
        return None
    low, high = embodiment.workspace_m
    if not ((point >= low).all() and (point <= high).all()):
        box = f"{_xyz(low)} to {_xyz(high)}"
        return Refusal(Code.OUT_OF_WORKSPACE, f"{name} {_xyz(point)} is outside the workspace {box}")
    distance = float(np.linalg.norm(point - np.asarray(embodiment.shoulder_m)))
    if distance > embodiment.reach_m:
        where = f"{distance:.2f} m from the shoulder, beyond the reach of {embodiment.reach_m:.2f} m"
        return Refusal(Code.OUT_OF_REACH, f"{name} {_xyz(point)} is {where}")
    return None


def check_depth(observation: Observation) -> Refusal | None:
    """Reject what relies on the map while no camera measures depth: what stepped in since then is not in the map."""
    if any(frame.depth_m is not None for frame in observation.frames):
        return None
    return Refusal(Code.NO_DEPTH, "no camera has a depth image that shows what is in the way now")


def check_path_ahead(
    distance_m: float, observation: Observation, embodiment: Embodiment
) -> Refusal | None:  # fmt: skip
    """Reject a straight drive unless the map or the depth images show that its path is free.

    Args:
        distance_m: positive, along the x axis of `observation.T_map_base`.
        observation: its depth images and map; `T_map_base` is where the drive starts.
        embodiment: the robot. Only a mobile base can drive.
    """
    if not isinstance(embodiment, MobileBase):
        return Refusal(Code.GOAL_INVALID, f"a {type(embodiment).__name__} cannot drive")
    if no_depth := check_depth(observation):
        return no_depth
    points = [_points_in_base(frame, observation.T_map_base) for frame in observation.frames]
    ahead = np.concatenate([np.zeros((0, 3)), *points])
    ahead = ahead[(np.abs(ahead[:, 1]) < embodiment.radius_m) & (ahead[:, 0] > embodiment.radius_m)]
    solid = np.sort(ahead[(ahead[:, 2] > _FLOOR_M) & (ahead[:, 2] < embodiment.height_m), 0])
    if len(solid) >= _FEWEST_POINTS and (room := solid[_FEWEST_POINTS - 1] - embodiment.radius_m) < distance_m:
        return Refusal(Code.OBSTRUCTED, f"an obstacle ahead leaves {room:.2f} m of the {distance_m:.2f} m to drive")
    if observation.navigation_map is not None:
        return _check_line(distance_m, observation.navigation_map, observation.T_map_base, embodiment.radius_m)
    if not len(ahead) or float(ahead[:, 0].max()) < distance_m:
        return Refusal(Code.OBSTRUCTED, f"no depth image shows that the {distance_m:.2f} m ahead are free")
    return None


def _check_line(distance_m: float, grid: NavigationMap, T_map_base: Pose, radius_m: float) -> Refusal | None:
    """Reject a drive over cells that the base cannot reach, except those it already stands on.

    A single unknown cell between reachable ones is a gap between the depth image's rays: obstacles are wider, because
    the map inflates them by the base's radius.
    """
    for along in np.append(np.arange(radius_m, distance_m, grid.resolution_m / 2), max(distance_m, radius_m)):
        x, y, _ = T_map_base.apply((along, 0.0, 0.0))
        if not grid.reachable(float(x), float(y), slack_cells=1):
            where = f"leaves the known free space of the map after {along:.2f} m"
            return Refusal(Code.OBSTRUCTED, f"a drive of {distance_m:.2f} m {where}")
    return None


def _points_in_base(frame: CameraFrame, T_map_base: Pose) -> NDArray[np.float64]:
    """The depth image as points (n, 3) in the base's frame, subsampled."""
    if frame.depth_m is None:
        return np.zeros((0, 3))
    step = max(1, int((frame.depth_m.size / _MOST_POINTS) ** 0.5))
    points = deproject_image(frame.intrinsics, frame.depth_m, step=step).reshape(-1, 3)
    return (T_map_base.inverse() @ frame.T_map_camera).apply(points[np.isfinite(points[:, 2])])


def _xyz(point: NDArray[np.float64] | tuple[float, float, float]) -> str:
    return "(" + ", ".join(f"{value:.2f}" for value in point) + ")"
