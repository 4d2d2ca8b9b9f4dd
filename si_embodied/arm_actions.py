"""An arm's actions as arrays: tool poses, and EmbodiedBench's seven integers."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from si_embodied.errors import ConfigError
from si_embodied.geometry import Pose

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from si_embodied.embodiment import TableArm

POSITION_STEP_M = 0.01
"""EmbodiedBench (Yang et al., 2025) divides 1 m into 100 along each axis; 0 is the workspace's lowest corner."""
POSITION_LEVELS = 101
ROTATION_STEP_RAD = math.radians(3)
"""120 steps of 3 degrees; 0 is -180 degrees, so that 60 is none and 0 and 120 are the same half turn."""
ROTATION_LEVELS = 121
DISCRETE_LEVELS = (POSITION_LEVELS,) * 3 + (ROTATION_LEVELS,) * 3 + (2,)


def encode_pose(pose: Pose, opening: float) -> NDArray[np.float32]:
    """The (7,) action x, y, z (metres), roll, pitch, yaw (radians), opening (0 closed to 1 open)."""
    limit = np.float32(math.pi)
    rotation = np.clip(np.asarray(pose.roll_pitch_yaw(), dtype=np.float32), -limit, limit)
    return np.concatenate([pose.translation.astype(np.float32), rotation, np.array([opening], np.float32)])


def decode_pose(action: ArrayLike) -> tuple[Pose, float]:
    """The tool pose and the opening (0..1) of a pose action.

    Raises:
        ConfigError: not seven finite numbers.
    """
    values = np.asarray(action, dtype=np.float64)
    if values.shape != (7,) or not np.isfinite(values).all():
        raise ConfigError(f"expected seven finite numbers (x, y, z, roll, pitch, yaw, opening), got: {values}")
    roll, pitch, yaw = (float(value) for value in values[3:6])
    return Pose.from_rpy(roll, pitch, yaw, values[:3]), float(np.clip(values[6], 0.0, 1.0))


def encode_discrete(pose: Pose, opening: float, arm: TableArm) -> NDArray[np.int64]:
    """The seven integers nearest to a tool pose; an opening of at least half is open."""
    position = np.rint((pose.translation - np.asarray(arm.workspace_m[0])) / POSITION_STEP_M)
    rotation = np.rint((np.asarray(pose.roll_pitch_yaw()) + math.pi) / ROTATION_STEP_RAD)
    levels = np.concatenate([position, rotation, [float(opening >= 0.5)]])
    action: NDArray[np.int64] = np.clip(levels, 0, np.asarray(DISCRETE_LEVELS) - 1).astype(np.int64)
    return action


def decode_discrete(action: ArrayLike, arm: TableArm) -> tuple[Pose, float]:
    """The tool pose and the opening (0 or 1) of EmbodiedBench's seven integers.

    Raises:
        ConfigError: not seven integers, or one beyond its last level.
    """
    levels = np.asarray(action)
    if levels.shape != (7,) or not np.issubdtype(levels.dtype, np.integer):
        raise ConfigError(f"expected seven integers, got: {levels!r}")
    if (levels < 0).any() or (levels >= np.asarray(DISCRETE_LEVELS)).any():
        raise ConfigError(f"expected levels from 0 to {tuple(n - 1 for n in DISCRETE_LEVELS)}, got: {levels.tolist()}")
    position = np.asarray(arm.workspace_m[0]) + levels[:3] * POSITION_STEP_M
    roll, pitch, yaw = (float(level) * ROTATION_STEP_RAD - math.pi for level in levels[3:6])
    return Pose.from_rpy(roll, pitch, yaw, position), float(levels[6])
