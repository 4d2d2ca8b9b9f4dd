"""Posed RGB-D frames from MuJoCo's cameras, in the ROS optical frame."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from si_embodied.envs.mujoco.renderer import SceneRenderer, camera_id
from si_embodied.geometry import Intrinsics, Pose
from si_embodied.types import CameraFrame

if TYPE_CHECKING:
    import mujoco

# MuJoCo's cameras look along -z with y up; optical frames look along z with y down.
_OPTICAL = np.diag([1.0, -1.0, -1.0])


def yaw_quaternion(yaw_rad: float) -> tuple[float, float, float, float]:
    """(w, x, y, z) of a rotation about z."""
    return math.cos(yaw_rad / 2), 0.0, 0.0, math.sin(yaw_rad / 2)


def head_quaternion(pan_rad: float, tilt_rad: float) -> tuple[float, float, float, float]:
    """(w, x, y, z) of a head that looks along its x: panned about z, left positive, then tilted, up positive."""
    pan, down = pan_rad / 2, -tilt_rad / 2
    c, s, cd, sd = math.cos(pan), math.sin(pan), math.cos(down), math.sin(down)
    return c * cd, -s * sd, c * sd, s * cd  # about z, then about the new y


def camera_pose(model: mujoco.MjModel, data: mujoco.MjData, camera: str | int) -> Pose:
    """`T_map_camera`, optical frame, as of the last `mj_forward` (or `mj_kinematics` and `mj_camlight`)."""
    index = camera_id(model, camera)
    return Pose(data.cam_xmat[index].reshape(3, 3) @ _OPTICAL, data.cam_xpos[index].copy())


def camera_intrinsics(model: mujoco.MjModel, camera: str | int, height: int, width: int) -> Intrinsics:
    """Intrinsics with square pixels, from the camera's vertical field of view."""
    fov = math.radians(float(model.cam_fovy[camera_id(model, camera)]))
    return Intrinsics.from_vertical_fov(width, height, fov)


def camera_frame(renderer: SceneRenderer, data: mujoco.MjData, camera: str, stamp_s: float) -> CameraFrame:
    """Render one camera: colour, depth, intrinsics and pose of the same instant."""
    rgb, depth_m = renderer.rgbd(data, camera)
    intrinsics = camera_intrinsics(renderer.model, camera, renderer.height, renderer.width)
    return CameraFrame(camera, stamp_s, rgb, depth_m, intrinsics, camera_pose(renderer.model, data, camera))
