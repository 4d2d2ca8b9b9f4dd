"""Conversions between Habitat's frames and ours; nothing else converts.

Habitat: y up; agents and cameras look along their own -z, with x to the right. Ours: the map is x forward, y left,
z up; base_link looks along its x; cameras are optical frames (x right, y down, z forward). The map's (x, y, z) is
Habitat's (x, z, -y). Rotations are quaternions (x, y, z, w) at this boundary.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from si_embodied.geometry import Pose

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

# Columns: Habitat's axes in the map; base_link's axes in an agent's frame; optical axes in Habitat's camera frame.
_MAP_HABITAT = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, -1.0], [0.0, 1.0, 0.0]])
_AGENT_BASE = np.array([[0.0, -1.0, 0.0], [0.0, 0.0, 1.0], [-1.0, 0.0, 0.0]])
_CAMERA_OPTICAL = np.diag([1.0, -1.0, -1.0])


def to_habitat(points: ArrayLike) -> NDArray[np.float64]:
    """Map points (..., 3) in Habitat's world."""
    turned: NDArray[np.float64] = np.asarray(points, np.float64) @ _MAP_HABITAT
    return turned


def to_map(points: ArrayLike) -> NDArray[np.float64]:
    """Points (..., 3) of Habitat's world in the map."""
    turned: NDArray[np.float64] = np.asarray(points, np.float64) @ _MAP_HABITAT.T
    return turned


def to_base(points: ArrayLike) -> NDArray[np.float64]:
    """Points (..., 3) of an agent's own frame in base_link."""
    turned: NDArray[np.float64] = np.asarray(points, np.float64) @ _AGENT_BASE
    return turned


def agent_rotation(yaw_rad: float) -> list[float]:
    """The quaternion (x, y, z, w) of an agent with a map heading; the identity faces map y."""
    half = (yaw_rad - math.pi / 2) / 2
    return [0.0, math.sin(half), 0.0, math.cos(half)]


def base_pose(position: ArrayLike, rotation: Any) -> Pose:
    """`T_map_base` of an agent's position (3,) and rotation, (x, y, z, w) or a `quaternion.quaternion`."""
    agent = Pose.from_quaternion(xyzw(rotation)).rotation
    return Pose(_MAP_HABITAT @ agent @ _AGENT_BASE, to_map(position))


def camera_pose(position: ArrayLike, rotation: Any) -> Pose:
    """`T_map_camera`, optical frame, of a sensor's world position (3,) and rotation."""
    camera = Pose.from_quaternion(xyzw(rotation)).rotation
    return Pose(_MAP_HABITAT @ camera @ _CAMERA_OPTICAL, to_map(position))


def camera_in_habitat(T_map_camera: Pose) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """A sensor's world position (3,) and rotation (x, y, z, w): the inverse of `camera_pose`."""
    rotation = _MAP_HABITAT.T @ T_map_camera.rotation @ _CAMERA_OPTICAL
    return to_habitat(T_map_camera.translation), Pose(rotation, np.zeros(3)).quaternion()


def xyzw(rotation: Any) -> NDArray[np.float64]:
    """A rotation as (x, y, z, w); `quaternion.quaternion` stores w first."""
    if hasattr(rotation, "imag") and hasattr(rotation, "real") and not isinstance(rotation, np.ndarray):
        return np.array([*rotation.imag, rotation.real], np.float64)
    return np.asarray(rotation, np.float64)


def as_quaternion(rotation: ArrayLike) -> Any:
    """(x, y, z, w) as a `quaternion.quaternion`, habitat-lab's type."""
    import quaternion

    x, y, z, w = (float(value) for value in np.asarray(rotation))
    return quaternion.quaternion(w, x, y, z)
