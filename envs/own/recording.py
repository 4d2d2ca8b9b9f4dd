"""The images of a recording, where they were taken, and the floor that their depth shows."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from si_embodied.envs.own.cloud import Cloud, find_floor, floor_of
from si_embodied.geometry import Pose, deproject_image, heading
from si_embodied.images.posed import read_posed_images

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from si_embodied.embodiment import MobileBase
    from si_embodied.envs.own.cloud import Floor
    from si_embodied.geometry import Intrinsics
    from si_embodied.images.posed import PosedImages
    from si_embodied.types import CameraFrame

POINT_M = 0.02
"""The cloud of a recording has one point in each cube of this size."""
_SAME_M, _SAME_RAD = 0.02, math.radians(1.5)  # an image that differs less from an earlier one is left out
_MARGIN_M = 0.05  # of paths, beyond the base's radius
_RANGE_M = 6.0  # of depth that enters the cloud
_MOST_POINTS = 8_000_000  # that are looked at; of more, every second row and column, and so on
_LEAST_POINTS = 3  # that make an obstacle: depth cameras see things at edges that are not there


@dataclass(frozen=True, eq=False)
class Recording:
    """A folder of posed images, with its floor at z = 0."""

    images: PosedImages
    cloud: Cloud
    lift_m: float  # added to the recorded heights
    height: int  # of the observations, pixels
    what: str

    @classmethod
    def of(cls, folder: Path, *, image_height: int | None = None, floor_m: float | None = None) -> Recording:
        """Read a recording; see `read_posed_images`.

        Args:
            folder: with the images.
            image_height: of the observations, pixels; None keeps the recorded size.
            floor_m: height of the floor in the map; None finds it.

        Raises:
            DataError: the folder is incomplete or malformed.
            SceneError: there is no floor.
        """
        changed_ns = tuple(file.stat().st_mtime_ns for file in sorted(folder.glob("*.*")))
        images, cloud = _read(folder.absolute(), changed_ns)
        floor_m = find_floor(cloud, str(folder)) if floor_m is None else floor_m
        return cls(images, cloud.raised(-floor_m), -floor_m, image_height or images.intrinsics.height, str(folder))

    @property
    def intrinsics(self) -> Intrinsics:
        """The camera at the size of the observations."""
        size = self.images.intrinsics
        return size.scaled(round(size.width * self.height / size.height), self.height)

    @cached_property
    def poses(self) -> NDArray[np.float64]:
        """(N, 3), x, y and heading of every image: the robot stands under its camera."""
        cameras = [image.T_map_camera for image in self.images.images]
        return np.array([(*camera.translation[:2], heading(camera)) for camera in cameras])

    @cached_property
    def camera_height_m(self) -> float:
        """Above the floor."""
        return float(np.median([image.T_map_camera.translation[2] for image in self.images.images])) + self.lift_m

    @cached_property
    def tilt_rad(self) -> float:
        """Of the camera, up positive."""
        axes = [float(image.T_map_camera.rotation[2, 2]) for image in self.images.images]
        return math.asin(float(np.clip(np.median(axes), -1, 1)))

    def floor(self, body: MobileBase) -> Floor:
        """Where a robot can drive: on the floor that was seen or driven on."""
        clearance_m = body.radius_m + _MARGIN_M
        return floor_of(
            self.cloud, body.height_m, clearance_m, least=_LEAST_POINTS, what=self.what, driven=self.poses
        )  # fmt: skip

    def frame(self, index: int, camera: str, stamp_s: float) -> CameraFrame:
        """An image as recorded but for its size and its stamp."""
        frame = self.images.frame(index, camera)
        lifted = Pose(frame.T_map_camera.rotation, frame.T_map_camera.translation + np.array([0.0, 0.0, self.lift_m]))
        return _resized(replace(frame, stamp_s=stamp_s, T_map_camera=lifted), self.intrinsics)


def wrapped(angles_rad: NDArray[np.float64]) -> NDArray[np.float64]:
    """Angles, each between -pi and pi."""
    return np.asarray(np.remainder(angles_rad + math.pi, 2 * math.pi) - math.pi)


@lru_cache(maxsize=1)
def _read(folder: Path, changed_ns: tuple[int, ...]) -> tuple[PosedImages, Cloud]:
    """The images and points of a folder, kept for whoever opens it again."""
    del changed_ns  # of the camera and the poses: part of the key
    images = _distinct(read_posed_images(folder))
    return images, _cloud(images)


def _distinct(images: PosedImages) -> PosedImages:
    """Without images that were taken where an earlier one was, such as those of a robot that stood."""
    kept: list[int] = []
    poses = np.array([(*each.T_map_camera.translation[:2], heading(each.T_map_camera)) for each in images.images])
    for index, pose in enumerate(poses):
        away = poses[kept] - pose
        turn = np.abs(wrapped(away[:, 2]))
        if not ((np.hypot(away[:, 0], away[:, 1]) < _SAME_M) & (turn < _SAME_RAD)).any():
            kept.append(index)
    return replace(images, images=tuple(images.images[index] for index in kept))


def _cloud(images: PosedImages) -> Cloud:
    """The points of all depth images within range, one in each small cube."""
    size = images.intrinsics
    step = max(1, math.ceil(math.sqrt(len(images.images) * size.width * size.height / _MOST_POINTS)))
    points, rgb = [], []
    for index in range(len(images.images)):
        frame = images.frame(index, "")
        assert frame.depth_m is not None  # a posed image has depth
        optical = deproject_image(frame.intrinsics, frame.depth_m, step=step).reshape(-1, 3)
        near = optical[:, 2] < _RANGE_M  # False without a return
        points.append(frame.T_map_camera.apply(optical[near]).astype(np.float32))
        rgb.append(frame.rgb[::step, ::step].reshape(-1, 3)[near])
    everything = np.concatenate(points)
    cubes = np.floor(everything / POINT_M).astype(np.int64)
    cubes -= cubes.min(axis=0)
    sides = cubes.max(axis=0) + 1
    _, first = np.unique((cubes[:, 0] * sides[1] + cubes[:, 1]) * sides[2] + cubes[:, 2], return_index=True)
    return Cloud(everything[first], np.concatenate(rgb)[first], np.ones(len(first), bool))


def _resized(frame: CameraFrame, intrinsics: Intrinsics) -> CameraFrame:
    """The frame at another size; depth is taken from the nearest pixel, because edges must not be mixed."""
    height, width = intrinsics.height, intrinsics.width
    if frame.rgb.shape[:2] == (height, width):
        return frame
    from PIL import Image

    assert frame.depth_m is not None  # a posed image has depth
    rows = ((np.arange(height) + 0.5) * frame.rgb.shape[0] / height).astype(np.intp)
    columns = ((np.arange(width) + 0.5) * frame.rgb.shape[1] / width).astype(np.intp)
    rgb = np.asarray(Image.fromarray(frame.rgb).resize((width, height), Image.Resampling.BOX))
    depth_m = frame.depth_m[np.ix_(rows, columns)]
    return replace(frame, rgb=rgb, depth_m=depth_m, intrinsics=intrinsics)
