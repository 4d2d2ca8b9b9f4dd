"""A camera with lens distortion, and its images undistorted: OpenCV's models under ROS's names."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from si_embodied.errors import ObservationError
from si_embodied.geometry import Intrinsics
from si_embodied.ros_nodes.sensing.opencv import import_opencv

if TYPE_CHECKING:
    from numpy.typing import NDArray

Element = TypeVar("Element", bound=np.generic)

_FISHEYE = ("equidistant", "fisheye")
_COEFFICIENTS = {
    "": (0,), "none": (0,),
    "plumb_bob": (0, 4, 5),  # Brown and Conrady: k1, k2, p1, p2, k3
    "rational_polynomial": (0, 8, 12, 14),  # and k4, k5, k6; thin prism s1 to s4; tilt tx, ty
    **dict.fromkeys(_FISHEYE, (4,)),  # Kannala and Brandt: k1 to k4
}  # fmt: skip
"""How many coefficients each `distortion_model` of `sensor_msgs/CameraInfo` has, in OpenCV's order."""


@dataclass(frozen=True, slots=True)
class CameraModel:
    """A camera: the intrinsics of its undistorted images, and how its lens distorts them.

    Both images have the same size and camera matrix. Undistorting therefore keeps the resolution at the image centre,
    and cuts a fisheye's field of view to what a pinhole camera of the same focal length sees.
    """

    intrinsics: Intrinsics
    distortion_model: str = ""  # as in sensor_msgs/CameraInfo
    distortion: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        """Check the distortion.

        Raises:
            ObservationError: an unknown distortion model, or coefficients that do not belong to it.
        """
        name, values = self.distortion_model, self.distortion
        if name not in _COEFFICIENTS:
            known = ", ".join(filter(None, _COEFFICIENTS))
            raise ObservationError(f"expected a distortion model of {known}, got: {name!r} with coefficients {values}")
        # Some drivers without a model still send zeros.
        if len(values) not in _COEFFICIENTS[name] and (any(values) or name not in ("", "none")):
            counts = " or ".join(map(str, _COEFFICIENTS[name]))
            raise ObservationError(
                f"expected {counts} coefficients of the distortion {name!r}, got: {values}; fix the camera_info"
            )
        if not np.isfinite(values).all():
            raise ObservationError(
                f"expected finite coefficients of the distortion {name!r}, got: {values}; calibrate again"
            )

    @property
    def distorts(self) -> bool:
        """Whether images differ from a pinhole camera's. A fisheye's always do: with zero coefficients, r = f theta."""
        return self.distortion_model in _FISHEYE or any(self.distortion)

    def undistorted(self, image: NDArray[Element]) -> NDArray[Element]:
        """The image (H, W) or (H, W, C) as a pinhole camera would have taken it; 0 where this camera saw nothing.

        Each pixel is copied from the nearest one, depth and colour alike, so that they stay registered. Interpolating
        between two surfaces would make up a depth at which there is none.

        Raises:
            ObservationError: the image does not have the camera's size.
            MissingExtraError: OpenCV is not installed; or `BrokenPackageError`.
        """
        size = (self.intrinsics.height, self.intrinsics.width)
        if image.shape[:2] != size:
            raise ObservationError(f"the image is {image.shape[:2]} but its camera_info is for {size}")
        if not self.distorts:
            return image
        cv2 = import_opencv()
        undistorted: NDArray[Element] = cv2.remap(np.ascontiguousarray(image), _maps(self), None, cv2.INTER_NEAREST)
        return undistorted


@lru_cache(maxsize=16)  # cameras; 4 bytes a pixel each
def _maps(model: CameraModel) -> NDArray[np.int16]:
    """Column and row (H, W, 2) in the camera's image of each undistorted pixel."""
    cv2 = import_opencv()
    size, k = (model.intrinsics.width, model.intrinsics.height), model.intrinsics.matrix()
    undistort = cv2.fisheye if model.distortion_model in _FISHEYE else cv2
    columns, rows = undistort.initUndistortRectifyMap(k, np.array(model.distortion), None, k, size, cv2.CV_32FC1)
    maps: NDArray[np.int16] = cv2.convertMaps(columns, rows, cv2.CV_16SC2, nninterpolation=True)[0]
    return maps
