"""From an environment's observation dict to the core's `Observation`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from si_embodied.errors import ObservationError
from si_embodied.geometry import Intrinsics, Pose
from si_embodied.types import ArmState, CameraFrame, Observation

_REQUIRED = ("rgb", "depth", "intrinsics", "T_map_camera", "T_map_base", "stamp_s")


def from_gymnasium(observation: Mapping[str, Any], cameras: Sequence[str]) -> Observation:
    """The core's value of an observation dict.

    Args:
        observation: `rgb` (N, H, W, 3) uint8, `depth` (N, H, W) float32 metres with 0 for no return, `intrinsics`
            (N, 3, 3), `T_map_camera` (N, 4, 4), `T_map_base` (4, 4), `stamp_s`; an arm adds `T_map_tool` (4, 4) and
            `gripper_opening` in metres.
        cameras: the names of the N cameras.

    Raises:
        ObservationError: a key is missing or a shape does not fit.
    """
    missing = [key for key in _REQUIRED if key not in observation]
    if missing:
        raise ObservationError(f"the observation lacks {missing}; it has: {sorted(observation)}")
    rgb = np.asarray(observation["rgb"])
    if rgb.ndim != 4 or len(rgb) != len(cameras):
        wanted = f"rgb (N, H, W, 3) of the {len(cameras)} cameras {tuple(cameras)}"
        raise ObservationError(f"expected {wanted}, got: {rgb.shape}")
    stamp_s = float(observation["stamp_s"])
    height, width = rgb.shape[1:3]
    frames = tuple(
        CameraFrame(
            name=name,
            stamp_s=stamp_s,
            rgb=rgb[index],
            depth_m=np.asarray(observation["depth"])[index],
            intrinsics=Intrinsics.from_matrix(observation["intrinsics"][index], width, height),
            T_map_camera=Pose.from_matrix(observation["T_map_camera"][index]),
        )
        for index, name in enumerate(cameras)
    )
    arm = None
    if "T_map_tool" in observation:
        arm = ArmState(Pose.from_matrix(observation["T_map_tool"]), float(observation["gripper_opening"]))
    return Observation(stamp_s, frames, Pose.from_matrix(observation["T_map_base"]), arm)
