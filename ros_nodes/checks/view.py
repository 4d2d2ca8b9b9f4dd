"""Judges what a standing robot sees by what is known beforehand: mount, depth, floor, bounds. Needs no ROS."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from si_embodied.findings import Finding
from si_embodied.geometry import Pose, deproject_image, is_return
from si_embodied.ros_nodes.node.settings import NodeSettings
from si_embodied.types import CameraFrame

_MOST_ROLL_RAD = math.radians(15)
_MOST_UP_RAD = math.radians(60)
"""An optical frame that looks this far up is usually a body frame (x forward), whose z axis points up."""
_LEAST_RETURNS_RATIO = 0.2
_NEAR_FLOOR_M, _FLOOR_RANGE_M = 0.3, 3.0
_LEAST_FLOOR_POINTS = 200
MOST_FLOOR_M = 0.05
"""The map takes points up to 8 cm for floor and others for obstacles (`policies/mapping.py`); noise takes the rest."""
MOST_FLOOR_TILT_RAD = math.radians(2)
"""At 3 m it lifts the floor by 10 cm."""

MOST_DRIFT_M, MOST_DRIFT_RAD = 0.05, 0.05
"""Localisation of a standing robot jitters by centimetres."""


def check_view(frame: CameraFrame, T_map_base: Pose, settings: NodeSettings) -> Iterator[Finding]:
    """Judge one camera's image of a robot that stands.

    Args:
        frame: the image.
        T_map_base: the base, at the image's time.
        settings: the planner's.
    """
    T_base_camera = T_map_base.inverse() @ frame.T_map_camera
    yield judge_mount(frame.name, T_base_camera)
    if frame.depth_m is None:
        yield Finding(f"{frame.name}: depth", "note", "this camera has none: its points cannot become goals")
        return
    yield judge_depth(frame.name, frame.depth_m)
    if settings.kind == "navigation":
        yield judge_floor(frame, T_base_camera)
        yield judge_look_step(frame, settings)


def judge_standing(T_map_first: Pose, T_map_last: Pose) -> Finding:
    """Judge whether the base stood during the check, by its first and its last pose."""
    moved_m = float(np.linalg.norm(T_map_last.translation - T_map_first.translation))
    if T_map_first.differs(T_map_last, by_m=MOST_DRIFT_M, by_rad=MOST_DRIFT_RAD):
        fix = "stop what drives it; if it stood, the localisation drifts: let it converge first"
        return Finding("standing", "off", f"the base moved or turned during the check, by {moved_m:.2f} m", fix)
    return Finding("standing", "fine", f"the base moved by {100 * moved_m:.1f} cm")


def judge_mount(camera: str, T_base_camera: Pose) -> Finding:
    """Judge where the transforms put a camera, in the base's frame."""
    what = f"{camera}: mount"
    x, y, z = T_base_camera.translation
    right, _, forward = T_base_camera.rotation.T
    roll, up = math.asin(np.clip(right[2], -1, 1)), math.asin(np.clip(forward[2], -1, 1))
    says = (
        f"at ({x:.2f}, {y:.2f}, {z:.2f}) m in the base's frame, looks {round(math.degrees(up)):+d}° up and "
        f"{round(math.degrees(math.atan2(forward[1], forward[0]))):+d}° left, rolled by {round(math.degrees(roll))}°"
    )
    if up > _MOST_UP_RAD:
        fix = (
            "the images' frame_id must be the optical frame (z forward, x right: REP 103), not the camera's body frame"
        )
        return Finding(what, "off", says, fix)
    if abs(roll) > _MOST_ROLL_RAD:
        return Finding(what, "off", says, "correct the camera's joint in the URDF (si-embodied calibrate hand-eye)")
    if z <= 0:
        return Finding(what, "off", f"{says}: below the floor", "correct the camera's joint in the URDF")
    return Finding(what, "fine", says)


def judge_depth(camera: str, depth_m: NDArray[np.float32]) -> Finding:
    """Judge how much of an image has depth."""
    what, returns = f"{camera}: depth", is_return(depth_m)
    share = float(returns.mean())
    says = f"{share:.0%} of the pixels have depth"
    if share < _LEAST_RETURNS_RATIO:
        fix = "point it at something within its range; check depth_scale, min_depth_m, max_depth_m and its emitter"
        return Finding(what, "off", says, fix)
    low, middle, high = np.percentile(depth_m[returns], (1, 50, 99))
    return Finding(what, "fine", f"{says}, from {low:.2f} to {high:.2f} m, median {middle:.2f} m")


def judge_floor(frame: CameraFrame, T_base_camera: Pose) -> Finding:
    """Judge the floor that depth, calibration and transforms together make: it must lie at the base's height and level.

    The plane is fitted by least squares to the points within 0.3 m of the base's height and 3 m of its centre, twice:
    the second time to those near the first plane.
    """
    what = f"{frame.name}: floor"
    points = T_base_camera.apply(deproject_image(frame.intrinsics, np.asarray(frame.depth_m)).reshape(-1, 3))
    points = points[is_return(np.asarray(frame.depth_m)).reshape(-1)]
    near = np.hypot(points[:, 0], points[:, 1]) < _FLOOR_RANGE_M
    points = points[near & (np.abs(points[:, 2]) < _NEAR_FLOOR_M)]
    if len(points) < _LEAST_FLOOR_POINTS:
        fix = "stand where the camera sees 2 m of free floor, or tilt it down; then check again"
        return Finding(what, "unknown", "this camera sees too little of it", fix)
    plane = _plane(points)
    residual = np.abs(points[:, 2] - _height(plane, points))
    plane = _plane(points[residual <= max(0.02, float(np.median(residual)) * 2)])
    height_m, tilt_rad = float(plane[2]), math.atan(math.hypot(plane[0], plane[1]))
    says = (
        f"{100 * height_m:+.1f} cm at the base and tilted by {math.degrees(tilt_rad):.1f}°, from {len(points)} points"
    )
    if abs(height_m) > MOST_FLOOR_M or tilt_rad > MOST_FLOOR_TILT_RAD:
        fix = (
            "correct the camera's height and pitch in the URDF, and the height of the base's frame above the floor; "
            "si-embodied calibrate hand-eye and depth tell by how much"
        )
        return Finding(what, "off", says, fix)
    return Finding(what, "fine", says)


def _plane(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Z = a x + b y + c by least squares: (a, b, c)."""
    design = np.column_stack([points[:, :2], np.ones(len(points))])
    solution: NDArray[np.float64] = np.linalg.lstsq(design, points[:, 2], rcond=None)[0]
    return solution


def _height(plane: NDArray[np.float64], points: NDArray[np.float64]) -> NDArray[np.float64]:
    height: NDArray[np.float64] = points[:, :2] @ plane[:2] + plane[2]
    return height


def judge_look_step(frame: CameraFrame, settings: NodeSettings) -> Finding:
    """Judge whether two images of a look around overlap."""
    view_rad = 2 * math.atan(frame.intrinsics.width / (2 * frame.intrinsics.fx))
    step_rad = settings.robot.look_step_rad
    says = f"robot.look_step_rad is {step_rad:.2f}, the camera sees {view_rad:.2f} rad"
    if step_rad >= view_rad:
        fix = f"set robot.look_step_rad to {0.8 * view_rad:.2f}: otherwise a look around leaves gaps"
        return Finding("bounds: look around", "off", says, fix)
    return Finding("bounds: look around", "fine", says)


def judge_age(settings: NodeSettings, ages_s: NDArray[np.float64]) -> Finding:
    """Judge the age of images, when they could be used, against the guard's bound."""
    most_s, oldest_s = settings.planner.guard.max_observation_age_s, float(ages_s.max())
    says = (
        f"images are {1000 * float(np.median(ages_s)):.0f} ms old when they can be used, at most {1000 * oldest_s:.0f}"
    )
    says += f"; planner.guard.max_observation_age_s is {most_s:g}"
    if oldest_s > most_s / 2:
        fix = "less resolution or rate, a faster connection; or more max_observation_age_s if the robot is slow"
        return Finding("bounds: age of images", "off", says, fix)
    return Finding("bounds: age of images", "fine", says)


def judge_bounds(settings: NodeSettings) -> Finding:
    """What the guard allows, for the pilot to read before the first goal."""
    guard = settings.planner.guard
    if settings.kind == "manipulation":
        arm = settings.arm
        says = f"workspace from {arm.lowest_m} to {arm.highest_m} m, reach {arm.reach_m:g} m"
        if not all(low < high for low, high in zip(arm.lowest_m, arm.highest_m, strict=True)):
            return Finding("bounds: workspace", "off", f"{says}: it is empty", "set arm.lowest_m and arm.highest_m")
        return Finding("bounds: workspace", "fine", says)
    says = (
        f"goals up to {guard.max_goal_distance_m:g} m away, drives up to {guard.max_drive_m:g} m, "
        f"robot of radius {settings.robot.radius_m:g} m and height {settings.robot.height_m:g} m: is that this robot?"
    )
    return Finding("bounds: base", "fine", says)
