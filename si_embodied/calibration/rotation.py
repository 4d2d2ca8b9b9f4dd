"""How a camera turns from one image to the next, by the features in them. Needs no board."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from si_embodied.calibration.detection import undistorted_pixels
from si_embodied.errors import DataError
from si_embodied.ros_nodes.sensing.opencv import import_opencv

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from si_embodied.calibration.pictures import Picture
    from si_embodied.ros_nodes.sensing.camera_models import CameraModel

_MOST_FEATURES, _LEAST_FEATURES = 300, 20
_QUALITY, _SPACING_PX = 0.01, 8
_MOST_ASTRAY_PX = 1.0
"""A feature that is followed to the next image and back ends where it began."""
_MOST_ERROR_RAD = 0.01
"""Median angle between a feature and where the rotation expects it; more means that most were followed wrongly."""


@dataclass(frozen=True, slots=True, eq=False)
class Turns:
    """Rotations between successive images."""

    from_s: NDArray[np.float64]  # (n,), stamp of the first image
    to_s: NDArray[np.float64]  # (n,), stamp of the second
    rotation_rad: NDArray[np.float64]  # (n, 3), rotation vector in the camera's frame


def camera_turns(pictures: Iterable[Picture], camera: CameraModel) -> Turns:
    """Follow features from image to image (Lucas and Kanade), and fit a rotation to their rays.

    A camera that also moves, as beside the axis of a turning base, only seems to turn by some other factor.

    Raises:
        DataError: fewer than two images have stamps, or features cannot be followed in most of them.
    """
    found: list[tuple[float, float, NDArray[np.float64]]] = []
    last: tuple[float, NDArray[np.uint8]] | None = None
    lost = 0
    cv2 = import_opencv()
    for picture in pictures:
        if not np.isfinite(picture.stamp_s):
            raise DataError(f"{picture.name} has no stamp; name pictures by their time in seconds, as in 12.345.png")
        grey = cv2.cvtColor(np.ascontiguousarray(picture.rgb), cv2.COLOR_RGB2GRAY)
        if last is not None and picture.stamp_s > last[0]:
            rotation = _rotation(last[1], grey, camera)
            lost += rotation is None
            if rotation is not None:
                found.append((last[0], picture.stamp_s, rotation))
        last = (picture.stamp_s, grey)
    if len(found) < 10 or lost > len(found):
        raise DataError(
            f"features could be followed between {len(found)} of {len(found) + lost} pairs of images; record 10 s or "
            "more at the camera's full rate, in a textured and bright place, and turn more slowly"
        )
    from_s, to_s, rotations = zip(*found, strict=True)
    return Turns(np.array(from_s), np.array(to_s), np.array(rotations))


def _rotation(before: NDArray[np.uint8], after: NDArray[np.uint8], camera: CameraModel) -> NDArray[np.float64] | None:
    """The camera's rotation vector (3,) between two images; None with too few features."""
    cv2 = import_opencv()
    corners = cv2.goodFeaturesToTrack(before, _MOST_FEATURES, _QUALITY, _SPACING_PX)
    if corners is None or len(corners) < _LEAST_FEATURES:
        return None
    options = {"winSize": (31, 31), "maxLevel": 4}
    moved, there, _ = cv2.calcOpticalFlowPyrLK(before, after, corners, None, **options)
    returned, back, _ = cv2.calcOpticalFlowPyrLK(after, before, moved, None, **options)
    astray_px = np.linalg.norm((returned - corners).reshape(-1, 2), axis=1)
    tracked = (there.ravel() == 1) & (back.ravel() == 1) & (astray_px < _MOST_ASTRAY_PX)
    if tracked.sum() < _LEAST_FEATURES:
        return None
    rays = [_rays(camera, each[tracked].reshape(-1, 2).astype(np.float64)) for each in (corners, moved)]
    rotation, error_rad = fit_rotation(*rays)
    return rotation if error_rad < _MOST_ERROR_RAD else None


def _rays(camera: CameraModel, pixels: NDArray[np.float64]) -> NDArray[np.float64]:
    """Unit vectors (n, 3) towards pixels."""
    k = camera.intrinsics
    flat = (undistorted_pixels(camera, pixels) - (k.cx, k.cy)) / (k.fx, k.fy)
    rays = np.column_stack([flat, np.ones(len(flat))])
    unit: NDArray[np.float64] = rays / np.linalg.norm(rays, axis=1, keepdims=True)
    return unit


def fit_rotation(before: NDArray[np.float64], after: NDArray[np.float64]) -> tuple[NDArray[np.float64], float]:
    """The rotation vector (3,) of a camera that sees unit rays (n, 3) before and after it turned, and the median error.

    By Kabsch's method ("A solution for the best rotation to relate two sets of vectors", 1976), without the rays that
    the others contradict.
    """
    kept = np.ones(len(before), dtype=np.bool_)
    for _ in range(4):
        u, _, vt = np.linalg.svd(before[kept].T @ after[kept])
        turned = u @ np.diag([1.0, 1.0, np.linalg.det(u @ vt)]) @ vt
        errors = np.linalg.norm(before - after @ turned.T, axis=1)
        kept = errors <= max(3 * float(np.median(errors)), 1e-6)
    rotation = np.asarray(import_opencv().Rodrigues(turned)[0], dtype=np.float64).ravel()
    return rotation, float(np.median(errors))
