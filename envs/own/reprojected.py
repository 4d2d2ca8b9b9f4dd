"""A recording as a place to drive in freely: the camera sees the recorded points from where the robot is."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.ndimage import distance_transform_edt

from si_embodied.envs.own.driving import FreePlace
from si_embodied.envs.own.place import Moved
from si_embodied.envs.own.recording import POINT_M, wrapped
from si_embodied.geometry import Pose
from si_embodied.types import CameraFrame

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from si_embodied.embodiment import BaseAction, MobileBase
    from si_embodied.envs.own.cloud import Cloud
    from si_embodied.envs.own.place import BasePose
    from si_embodied.envs.own.recording import Recording
    from si_embodied.geometry import Intrinsics

_NEAREST_M = 0.1  # of a point to the camera
_GAP_PX = 2.5  # gaps between points up to this wide are closed
_OVERLAP = 1.6  # of points, so that near surfaces hide what is behind them
_LARGEST_PX = 24  # of a point
_LEAST_SEEN = 0.5  # of the pixels: an action that leads to a view with fewer is refused
# Optical axes of a level camera in base_link: x forward, y left, z up.
_LEVEL = np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]])


class ReprojectedPlace(FreePlace):
    """The floor of a recording, and views of its points. Where too little was recorded, the robot holds."""

    def __init__(self, recording: Recording, embodiment: MobileBase) -> None:
        """Drive in a recording, with its camera's height, tilt and intrinsics.

        Args:
            recording: the images.
            embodiment: the robot, driven by discrete steps.
        """
        super().__init__(embodiment, recording.floor(embodiment), recording.poses, recording.tilt_rad)
        self.cloud, self._camera = recording.cloud, recording.intrinsics
        self._height_m = recording.camera_height_m
        self.shape = (self._camera.height, self._camera.width)
        self._view: tuple[NDArray[np.uint8], NDArray[np.float32]] | None = None  # from the robot's pose

    def put(self, pose: BasePose) -> None:
        """Put the robot at a pose, its camera as at the start of an episode."""
        super().put(pose)
        self._view = None

    def act(self, action: BaseAction) -> Moved:
        """Do one action; if too little was recorded of what would be seen then, the robot holds."""
        pose, tilt, view = self.pose, self.tilt, self._view
        moved = super().act(action)
        if (self.pose, self.tilt) != (pose, tilt):
            self._view = drawn = self._draw()
            if np.count_nonzero(drawn[1]) < _LEAST_SEEN * drawn[1].size:
                self.pose, self.tilt, self._view = pose, tilt, view
                moved = Moved(0.0, touched=True)
        away = np.hypot(self.starts[:, 0] - self.pose[0], self.starts[:, 1] - self.pose[1])
        turned = np.abs(wrapped(self.starts[:, 2] - self.pose[2]))
        nearest = int(np.argmin(away + turned / 2))
        return Moved(moved.length_m, moved.touched, float(away[nearest]), float(turned[nearest]))

    def frame(self, stamp_s: float) -> CameraFrame:
        """What the camera sees."""
        self._view = self._view or self._draw()
        name = self.embodiment.cameras[0]
        return CameraFrame(name, stamp_s, *self._view, self._camera, self._pose_of_camera())

    def close(self) -> None:
        """Do nothing: there is no renderer."""

    def _pose_of_camera(self) -> Pose:
        x, y, yaw = self.pose
        tilted = Pose.from_rpy(self.tilt, 0.0, 0.0).rotation
        return Pose(Pose.planar(x, y, yaw).rotation @ _LEVEL @ tilted, np.array([x, y, self._height_m]))

    def _draw(self) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
        return draw_points(self.cloud, self._camera, self._pose_of_camera(), POINT_M)


def draw_points(
    cloud: Cloud, camera: Intrinsics, T_map_camera: Pose, size_m: float
) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Colour (H, W, 3) and depth (H, W), 0 where nothing is, of points drawn as squares that face the camera.

    Args:
        cloud: the points.
        camera: the pinhole camera.
        T_map_camera: its pose.
        size_m: of a point.
    """
    rotation = T_map_camera.rotation.astype(np.float32)
    optical = (cloud.points - T_map_camera.translation.astype(np.float32)) @ rotation
    ahead = np.flatnonzero(optical[:, 2] > _NEAREST_M)
    x, y, z = optical[ahead].T
    side = np.clip(np.ceil(_OVERLAP * size_m * camera.fx / z), 1, _LARGEST_PX).astype(np.int32)
    left = np.rint(camera.fx * x / z + camera.cx - (side - 1) / 2).astype(np.int32)
    top = np.rint(camera.fy * y / z + camera.cy - (side - 1) / 2).astype(np.int32)
    inside = (left + side > 0) & (top + side > 0) & (left < camera.width) & (top < camera.height)
    point, side, left, top, z = ahead[inside], side[inside], left[inside], top[inside], z[inside]
    # The nearest point of each pixel: millimetres in the upper bits of a key, the point's number in the lower ones.
    key = (np.rint(z * 1000).astype(np.int64) << 32) | point
    nearest = np.full(camera.height * camera.width, np.iinfo(np.int64).max)
    for pixels in np.unique(side):
        same = np.flatnonzero(side == pixels)
        for row, column in np.ndindex(pixels, pixels):
            u, v = left[same] + column, top[same] + row
            drawn = (u >= 0) & (v >= 0) & (u < camera.width) & (v < camera.height)
            np.minimum.at(nearest, v[drawn] * camera.width + u[drawn], key[same[drawn]])
    known = (nearest != np.iinfo(np.int64).max).reshape(camera.height, camera.width)
    rgb = np.zeros((camera.height, camera.width, 3), np.uint8)
    depth_m = np.zeros((camera.height, camera.width), np.float32)
    hit = nearest[known.ravel()]
    rgb[known], depth_m[known] = cloud.rgb[hit & 0xFFFFFFFF], (hit >> 32).astype(np.float32) / 1000
    if known.any() and not known.all():
        away, (rows, columns) = distance_transform_edt(~known, return_indices=True)
        gaps = away <= _GAP_PX
        rgb[gaps], depth_m[gaps] = rgb[rows[gaps], columns[gaps]], depth_m[rows[gaps], columns[gaps]]
    return rgb, depth_m
