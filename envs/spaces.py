"""The observation of our environments: its Gymnasium space, and the dict made from posed frames."""

from __future__ import annotations

import string
from typing import TYPE_CHECKING, Any

import gymnasium
import numpy as np

from si_embodied.errors import ObservationError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from si_embodied.geometry import Pose
    from si_embodied.types import ArmState, CameraFrame

MAX_INSTRUCTION_LENGTH = 400
CHARSET = string.ascii_letters + string.digits + string.punctuation + " "

# Finite, because Gymnasium's checker rejects infinity; large enough for any map, image and episode.
_LARGEST = 1e6


def _wide(*shape: int) -> gymnasium.spaces.Box:
    return gymnasium.spaces.Box(-_LARGEST, _LARGEST, shape, np.float64)


def observation_space(
    n_cameras: int, height: int, width: int, *, max_range_m: float, arm: bool = False
) -> gymnasium.spaces.Dict:
    """The space of `observation_dict`: N cameras on the leading axis.

    Keys: rgb (N, H, W, 3) uint8; depth (N, H, W) float32 metres, 0 = no return; intrinsics (N, 3, 3); T_map_camera
    (N, 4, 4) optical frames; T_map_base (4, 4); stamp_s (); instruction text. With `arm`: T_map_tool (4, 4) and
    gripper_opening () metres.
    """
    box = gymnasium.spaces.Box
    spaces: dict[str, gymnasium.spaces.Space[Any]] = {
        "rgb": box(0, 255, (n_cameras, height, width, 3), np.uint8),
        "depth": box(0.0, max_range_m, (n_cameras, height, width), np.float32),
        "intrinsics": _wide(n_cameras, 3, 3),
        "T_map_camera": _wide(n_cameras, 4, 4),
        "T_map_base": _wide(4, 4),
        "stamp_s": box(0.0, 1e9, (), np.float64),
        "instruction": gymnasium.spaces.Text(MAX_INSTRUCTION_LENGTH, charset=CHARSET),
    }
    if arm:
        spaces["T_map_tool"] = _wide(4, 4)
        spaces["gripper_opening"] = box(0.0, _LARGEST, (), np.float64)
    return gymnasium.spaces.Dict(spaces)


def observation_dict(
    frames: Sequence[CameraFrame], T_map_base: Pose, instruction: str, stamp_s: float, arm: ArmState | None = None
) -> dict[str, Any]:
    """The observation of `observation_space`, from frames of one size.

    Raises:
        ObservationError: there are no frames, or a frame lacks depth.
    """
    if not frames:
        raise ObservationError("expected at least one camera frame, got none")
    depths = [frame.depth_m for frame in frames if frame.depth_m is not None]
    if len(depths) != len(frames):
        raise ObservationError("expected every frame to have depth; render with rgbd")
    observation: dict[str, Any] = {
        "rgb": np.stack([frame.rgb for frame in frames]),
        "depth": np.stack(depths),
        "intrinsics": np.stack([frame.intrinsics.matrix() for frame in frames]),
        "T_map_camera": np.stack([frame.T_map_camera.matrix() for frame in frames]),
        "T_map_base": T_map_base.matrix(),
        "stamp_s": np.array(stamp_s, np.float64),
        "instruction": instruction,
    }
    if arm is not None:
        observation["T_map_tool"] = arm.T_map_tool.matrix()
        observation["gripper_opening"] = np.array(arm.gripper_opening_m, np.float64)
    return observation
