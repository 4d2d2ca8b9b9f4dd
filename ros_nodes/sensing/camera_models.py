"""A camera with model distortion, and its images without it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from si_embodied.errors import ObservationError
from si_embodied.geometry import Intrinsics

if TYPE_CHECKING:
    from numpy.typing import NDArray

Element = TypeVar("Element", bound=np.generic)


@dataclass(frozen=True)
class CameraModel:
    """Intrinsics of the undistorted image, and how to make it from the distorted one of the same size."""

    intrinsics: Intrinsics
    distortion: tuple[float, ...]  # k1, k2, p1, p2, k3 and k4, k5, k6 of the rational model; empty or zeros: none

    @classmethod
    def of(
        cls, k: Sequence[float], distortion: Sequence[float], width: int, height: int, *,
        binning: tuple[int, int] = (1, 1), offset: tuple[int, int] = (0, 0),
    ) -> CameraModel:  # fmt: skip
        """From the nine numbers of a camera matrix by rows, at full resolution, and the driver's binning and offset.

        Raises:
            ObservationError: a number of coefficients that is none of the model's.
        """
        if len(distortion) not in (0, 4, 5, 8):
            raise ObservationError(f"expected 0, 4, 5 or 8 distortion coefficients, got: {len(distortion)}")
        (bx, by), (ox, oy) = binning, offset
        # The centre of a binned pixel lies between those of its parts.
        cx, cy = (k[2] - ox + 0.5) / bx - 0.5, (k[5] - oy + 0.5) / by - 0.5
        intrinsics = Intrinsics(width // bx, height // by, k[0] / bx, k[4] / by, cx, cy)
        return cls(intrinsics, tuple(distortion) if any(distortion) else ())

    def distort(self, xy: NDArray[np.float64]) -> NDArray[np.float64]:
        """Where rays (..., 2) at depth 1 appear, at depth 1: Brown and Conrady's model as ROS and OpenCV write it."""
        k1, k2, p1, p2, k3, k4, k5, k6 = (*self.distortion, *(0.0,) * (8 - len(self.distortion)))
        x, y = xy[..., 0], xy[..., 1]
        r2 = x * x + y * y
        radial = (1 + r2 * (k1 + r2 * (k2 + r2 * k3))) / (1 + r2 * (k4 + r2 * (k5 + r2 * k6)))
        return np.stack(
            [
                x * radial + 2 * p1 * x * y + p2 * (r2 + 2 * x * x),
                y * radial + p1 * (r2 + 2 * y * y) + 2 * p2 * x * y,
            ],
            axis=-1,
        )

    def undistorted(self, image: NDArray[Element]) -> NDArray[Element]:
        """The image (H, W) or (H, W, C) without distortion, by the nearest pixel; 0 where the model saw nothing.

        Nearest, because a depth between two surfaces is no surface.

        Raises:
            ObservationError: the image is not of the camera's size.
        """
        size = (self.intrinsics.height, self.intrinsics.width)
        if image.shape[:2] != size:
            raise ObservationError(f"the image is {image.shape[:2]} but its camera_info is for {size}")
        if not self.distortion:
            return image
        rows, columns, inside = self._source
        result = image[rows, columns]
        result[~inside] = 0
        return result

    @cached_property
    def _source(self) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.bool_]]:
        """Row and column (H, W) in the distorted image of every undistorted pixel, and whether it lies there."""
        camera = self.intrinsics
        v, u = np.indices((camera.height, camera.width), dtype=np.float64)
        seen = self.distort(np.stack([(u - camera.cx) / camera.fx, (v - camera.cy) / camera.fy], axis=-1))
        columns = np.rint(seen[..., 0] * camera.fx + camera.cx).astype(np.intp)
        rows = np.rint(seen[..., 1] * camera.fy + camera.cy).astype(np.intp)
        inside = (columns >= 0) & (columns < camera.width) & (rows >= 0) & (rows < camera.height)
        return rows.clip(0, camera.height - 1), columns.clip(0, camera.width - 1), inside
