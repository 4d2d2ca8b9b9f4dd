"""The depth of a wall at a known distance, for sensors that see nothing of the board's black squares."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np

from si_embodied.calibration.depth import Plane, plane_of
from si_embodied.errors import ConfigError, DataError
from si_embodied.geometry import deproject_image

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from si_embodied.calibration.pictures import Picture
    from si_embodied.ros_nodes.sensing.camera_models import CameraModel

_MOST_WALL_M = 50.0


def wall_planes(pictures: Iterable[Picture], camera: CameraModel, distance_m: float) -> list[Plane]:
    """The depth of a wall that fills the middle of the image.

    Args:
        pictures: with depth.
        camera: the calibration.
        distance_m: from the camera to the wall, at right angles to it.

    Raises:
        ConfigError: the distance is not positive, or in millimetres.
        DataError: no picture has depth.
    """
    if not 0 < distance_m < _MOST_WALL_M:
        raise ConfigError(
            f"expected --wall to be the distance to the wall in metres, above 0 and below {_MOST_WALL_M:g}, got: "
            f"{distance_m:g}"
        )
    planes = []
    for picture in pictures:
        if picture.depth_m is None:
            continue
        depth_m = camera.undistorted(picture.depth_m)
        height, width = depth_m.shape
        middle = (slice(height // 3, 2 * height // 3), slice(width // 3, 2 * width // 3))
        points = deproject_image(camera.intrinsics, depth_m)[middle].reshape(-1, 3)
        normal = _normal(points[np.isfinite(points).all(axis=1)], picture.name)
        rays = deproject_image(camera.intrinsics, np.ones_like(depth_m))[middle].reshape(-1, 3)
        expected_m = distance_m / (rays @ normal)
        planes.append(plane_of(picture.name, depth_m[middle].ravel(), expected_m, float(np.arccos(normal[2]))))
    if not planes:
        raise DataError("no picture has depth; put NAME_depth.png beside NAME.png, or name the topic with --depth")
    return planes


def _normal(points: NDArray[np.float64], name: str) -> NDArray[np.float64]:
    """The normal (3,) of the plane through most of the points, away from the camera."""
    if len(points) < 100:
        raise DataError(f"{name} has only {len(points)} returns in its middle; let the wall fill it, 0.5 to 3 m away")
    kept = points
    for _ in range(3):
        centre = kept.mean(axis=0)
        normal: NDArray[np.float64] = np.linalg.svd(kept - centre, full_matrices=False)[2][2]
        distances = np.abs((points - centre) @ normal)
        kept = points[distances <= 3 * max(float(np.median(distances)), 1e-4)]
    return -normal if normal[2] < 0 else normal
