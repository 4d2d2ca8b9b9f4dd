"""Where things are, in words for a prompt: seen from the robot, now."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from si_embodied.geometry import heading, wrap_angle

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from si_embodied.geometry import Pose
    from si_embodied.types import CameraFrame, Observation

NONE_KNOWN = "(none yet)"

_HERE_M, _AHEAD_DEG, _TURNED_DEG = 0.3, 10, 10


def notes_text(views: Sequence[CameraFrame], observation: Observation, *, goal_images: int = 0) -> str:
    """A line for each numbered image: "Image-2: from 3.1 m behind, looking 90 degrees left, 14 s ago".

    Args:
        views: the images that follow the goal's.
        observation: what the robot sees now.
        goal_images: 1 if the first image is the goal's.
    """
    now = {id(frame) for frame in observation.frames}
    notes = ["the goal picture"] * goal_images
    notes += [f"now, {view.name} camera" if id(view) in now else _then(view, observation) for view in views]
    return "\n".join(f"Image-{number}: {note}" for number, note in enumerate(notes, start=1))


def objects_text(observation: Observation) -> str:
    """A line for each known object: "red mug: 2.3 m away, 30 degrees left, 12 s ago"; '(none yet)' without any."""
    lines = []
    for seen in observation.objects:
        where = direction_text(seen.position_m, observation.T_map_base)
        sure = ", seen twice" if seen.confirmed else ""
        lines.append(f"{seen.name}: {where}, {_ago(seen.stamp_s, observation)}{sure}")
    return "\n".join(lines) or NONE_KNOWN


def goal_text(observation: Observation) -> str:
    """The point goal as seen from the robot now: "3.2 m away, 40 degrees left"; '(none)' without one."""
    if observation.goal_point_m is None:
        return "(none)"
    return direction_text(observation.goal_point_m, observation.T_map_base)


def direction_text(point_m: NDArray[np.float64], T_map_base: Pose) -> str:
    """Distance and bearing of a map point (3,) from the base: "2.3 m away, 30 degrees left"."""
    x, y = (float(value) for value in T_map_base.inverse().apply(point_m)[:2])
    return f"{math.hypot(x, y):.1f} m away, {_bearing(math.atan2(y, x))}"


def _then(frame: CameraFrame, observation: Observation) -> str:
    base = observation.T_map_base
    x, y = (float(value) for value in base.inverse().apply(frame.T_map_camera.translation)[:2])
    # Where the camera stood and looked, not the base; both cameras are above the base.
    turned = wrap_angle(heading(frame.T_map_camera) - base.yaw)
    distance = math.hypot(x, y)
    place = "from here" if distance < _HERE_M else f"from {distance:.1f} m {_side(math.atan2(y, x))}"
    return f"{place}, looking {_bearing(turned)}, {_ago(frame.stamp_s, observation)}"


def _side(angle_rad: float) -> str:
    quarter = round(angle_rad / (math.pi / 2)) % 4
    return ("ahead", "left", "behind", "right")[quarter]


def _bearing(angle_rad: float) -> str:
    """An angle in steps of 5 degrees, left positive: "40 degrees left", "ahead", "behind"."""
    degrees = 5 * round(math.degrees(angle_rad) / 5)
    if abs(degrees) < _AHEAD_DEG:
        return "ahead"
    if abs(degrees) > 180 - _TURNED_DEG:
        return "behind"
    return f"{abs(degrees)} degrees {'left' if degrees > 0 else 'right'}"


def _ago(stamp_s: float, observation: Observation) -> str:
    return f"{max(0, round(observation.stamp_s - stamp_s))} s ago"
