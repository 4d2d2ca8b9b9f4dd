"""Pixel encodings of `sensor_msgs/Image` (sensor_msgs/image_encodings.hpp) as RGB, and as depth in metres."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from si_embodied.errors import ObservationError
from si_embodied.ros_nodes.sensing.opencv import import_opencv

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Pixels: TypeAlias = NDArray[np.uint8]
    Convert: TypeAlias = Callable[[Pixels, int], Pixels]

_PLAUSIBLE_SHARE = 0.05
"""Of the returns, at least this share lies within the sensor's range; fewer means that the unit is wrong."""


class DepthImageError(ObservationError):
    """A depth image that cannot be used: its encoding, size, frame or unit."""


@dataclass(frozen=True, slots=True)
class DepthLimits:
    """What a depth sensor measures."""

    scale_m: float = 0.001  # metres per unit of integer depth; REP 118 has millimetres
    nearest_m: float = 0.0  # nearer values are no returns
    farthest_m: float = math.inf


UNLIMITED = DepthLimits()


def _reordered(channels: slice) -> Convert:
    return lambda pixels, _: pixels[..., channels]


def _grey(pixels: Pixels, high: int) -> Pixels:
    """Repeat the most significant byte in all three channels."""
    return np.repeat(pixels[..., high : high + 1], 3, axis=2)


def _opencv(conversion: str) -> Convert:
    def convert(pixels: Pixels, _: int) -> Pixels:
        cv2 = import_opencv()
        rgb: Pixels = cv2.cvtColor(np.ascontiguousarray(pixels), getattr(cv2, conversion))
        return rgb

    return convert


def _bayer(conversion: str) -> Convert:
    demosaic = _opencv(conversion)
    return lambda pixels, high: demosaic(pixels[..., high], 0)


_RGB, _BGR = _reordered(slice(0, 3)), _reordered(slice(2, None, -1))
_YUV = {"uyvy": "UYVY", "yuv422": "UYVY", "yuyv": "YUY2", "yuv422_yuy2": "YUY2"}  # two pixels share their colour
# OpenCV names a Bayer pattern by the second row's second and third pixels, ROS by the first row's first two.
_BAYER = {"rggb": "BayerBG", "bggr": "BayerRG", "gbrg": "BayerGR", "grbg": "BayerGB"}
_COLOUR: dict[str, tuple[int, Convert]] = {
    "rgb8": (3, _RGB), "bgr8": (3, _BGR), "rgba8": (4, _RGB), "bgra8": (4, _BGR),
    "8UC3": (3, _BGR), "8UC4": (4, _BGR),  # these leave the order open: OpenCV's, as in cv_bridge
    "mono8": (1, _grey), "8UC1": (1, _grey), "mono16": (2, _grey),
    **{ros: (2, _opencv(f"COLOR_YUV2RGB_{cv}")) for ros, cv in _YUV.items()},
    **{f"bayer_{ros}8": (1, _bayer(f"COLOR_{cv}2RGB")) for ros, cv in _BAYER.items()},
    **{f"bayer_{ros}16": (2, _bayer(f"COLOR_{cv}2RGB")) for ros, cv in _BAYER.items()},
}  # fmt: skip
"""Bytes per pixel, and the conversion of (H, W, bytes) to RGB, which is told the index of the most significant byte."""

_DEPTH_TYPES = {"16UC1": "u2", "mono16": "u2", "32FC1": "f4"}


def rgb_of_image(image: Any) -> NDArray[np.uint8]:
    """See `bridge.rgb_of`."""
    if image.encoding not in _COLOUR:
        known = ", ".join(_COLOUR)
        raise ObservationError(f"expected an image encoded as one of {known}, got: {image.encoding!r}")
    size, convert = _COLOUR[image.encoding]
    if image.encoding in _YUV and image.width % 2:
        raise ObservationError(f"expected {image.encoding} to have an even width, got: {image.width}; fix its source")
    pixels = _rows(image, size)[:, : image.width * size].reshape(image.height, image.width, size)
    return convert(pixels, 0 if image.is_bigendian else size - 1)


def depth_values(image: Any) -> NDArray[np.uint16] | NDArray[np.float32]:
    """The numbers (H, W) of a depth `sensor_msgs/Image`: integers in the camera's unit, or metres.

    Raises:
        ObservationError: unsupported encoding, or the data does not fit the image's size.
    """
    kind = _DEPTH_TYPES.get(image.encoding)
    if kind is None:
        known = ", ".join(_DEPTH_TYPES)
        raise DepthImageError(f"expected a depth image encoded as one of {known}, got: {image.encoding!r}")
    size = int(kind[1])
    if kind == "u2" and image.width >= 16 and image.step == 4 * image.width:
        raise DepthImageError(
            f"a depth image encoded as {image.encoding} has 4 bytes per pixel (step {image.step}, width "
            f"{image.width}), which is 32FC1; fix its source"
        )
    rows = np.ascontiguousarray(_rows(image, size)[:, : image.width * size])
    values = rows.view(np.dtype(kind).newbyteorder(">" if image.is_bigendian else "<"))
    return values.astype(np.uint16) if kind == "u2" else values.astype(np.float32)


def metres(values: NDArray[np.uint16] | NDArray[np.float32], limits: DepthLimits) -> NDArray[np.float32]:
    """Depth in metres, 0 where there is no return or where it lies outside the sensor's range.

    Raises:
        ObservationError: almost no return lies within the sensor's range, so the unit is not what it is said to be.
    """
    integers = np.issubdtype(values.dtype, np.integer)
    depth = values.astype(np.float32)
    if integers:
        depth *= np.float32(limits.scale_m)
    returns = np.isfinite(depth) & (depth > 0)
    inside = returns & (depth >= limits.nearest_m) & (depth <= limits.farthest_m)
    found = int(np.count_nonzero(returns))
    if np.count_nonzero(inside) < _PLAUSIBLE_SHARE * found:
        unit = f"as integers of {limits.scale_m:g} m" if integers else "as floats in metres"
        raise DepthImageError(
            f"implausible depth: of {found} returns {np.count_nonzero(inside)} lie between {limits.nearest_m:g} and "
            f"{limits.farthest_m:g} m, their median is {np.median(depth[returns]):.3g} m, taken {unit}; "
            "fix the driver's unit or set depth_scale, min_depth_m and max_depth_m"
        )
    depth[~inside] = 0.0
    return depth


def _rows(image: Any, bytes_per_pixel: int) -> NDArray[np.uint8]:
    """The message's bytes as (H, step)."""
    data = np.frombuffer(image.data, dtype=np.uint8)
    step = image.step or image.width * bytes_per_pixel
    if image.width < 1 or image.height < 1 or step < image.width * bytes_per_pixel or data.size < step * image.height:
        raise ObservationError(
            f"an image of {image.width} x {image.height} {image.encoding} with step {image.step} does not fit in "
            f"{data.size} bytes; fix its source"
        )
    return data[: step * image.height].reshape(image.height, step)
