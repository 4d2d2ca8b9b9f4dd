"""Conversion between ROS messages and the core's values. Pure: messages are duck-typed, so this needs no rclpy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np

from si_embodied.errors import ConfigError, ObservationError
from si_embodied.geometry import Intrinsics, Pose
from si_embodied.ros_nodes.sensing import compressed, encodings
from si_embodied.ros_nodes.sensing.camera_models import CameraModel
from si_embodied.ros_nodes.sensing.encodings import UNLIMITED, DepthLimits

if TYPE_CHECKING:
    from numpy.typing import NDArray

Message: TypeAlias = Any
"""A ROS message; each function's docstring names the type that it takes."""


_END_OF_TIME_S = (1 << 31) - 1
"""`sec` has 31 bits; the last second is left out, because rounding could carry into the next one."""


# --- time and poses -------------------------------------------------------------------------------------------------


def seconds(stamp: Message) -> float:
    """A `builtin_interfaces/Time` or `Duration` in seconds."""
    return float(stamp.sec) + 1e-9 * float(stamp.nanosec)


def set_stamp(stamp: Message, time_s: float) -> None:
    """Write seconds into a `builtin_interfaces/Time`, as precisely as a float holds them.

    Raises:
        ObservationError: the time is negative, after 2038 or not finite, which ROS cannot represent.
    """
    if not 0 <= time_s < _END_OF_TIME_S:
        raise ObservationError(f"expected a time from 0 s to {_END_OF_TIME_S} s, got: {time_s}")
    nanoseconds = round(time_s * 1e9)
    stamp.sec, stamp.nanosec = divmod(nanoseconds, 1_000_000_000)


def pose_of_transform(transform: Message) -> Pose:
    """`T_parent_child` of a `geometry_msgs/Transform`."""
    t, q = transform.translation, transform.rotation
    return Pose.from_quaternion((q.x, q.y, q.z, q.w), (t.x, t.y, t.z))


def pose_of_message(pose: Message) -> Pose:
    """The pose of a `geometry_msgs/Pose`."""
    p, q = pose.position, pose.orientation
    return Pose.from_quaternion((q.x, q.y, q.z, q.w), (p.x, p.y, p.z))


def set_pose(message: Message, pose: Pose) -> None:
    """Write a pose into a `geometry_msgs/Pose`."""
    set_point(message.position, pose.translation)
    _set_quaternion(message.orientation, pose)


def set_stamped_pose(message: Message, pose: Pose, frame: str, stamp_s: float) -> None:
    """Write a pose in a frame into a `geometry_msgs/PoseStamped`."""
    message.header.frame_id = frame
    set_stamp(message.header.stamp, stamp_s)
    set_pose(message.pose, pose)


def set_transform(message: Message, pose: Pose) -> None:
    """Write a pose into a `geometry_msgs/Transform`."""
    set_point(message.translation, pose.translation)
    _set_quaternion(message.rotation, pose)


def set_point(message: Message, xyz: NDArray[np.float64]) -> None:
    """Write (3,) into a `geometry_msgs/Point` or `Vector3`."""
    message.x, message.y, message.z = (float(value) for value in xyz)


def _set_quaternion(message: Message, pose: Pose) -> None:
    message.x, message.y, message.z, message.w = (float(value) for value in pose.quaternion())


# --- images ---------------------------------------------------------------------------------------------------------


def rgb_of(image: Message) -> NDArray[np.uint8]:
    """A colour or grey `sensor_msgs/Image` as (H, W, 3) RGB; a view of the message where its layout allows.

    Raises:
        ObservationError: unsupported encoding, or too little data for the image size.
        MissingExtraError: OpenCV is not installed (for YUV and Bayer encodings); or `BrokenPackageError`.
    """
    return encodings.rgb_of_image(image)


def rgb_of_compressed(image: Message) -> NDArray[np.uint8]:
    """A JPEG or PNG `sensor_msgs/CompressedImage` as (H, W, 3) RGB.

    Raises:
        ObservationError: the data is truncated or not an image, or the image is too large.
        MissingExtraError: OpenCV is not installed; or `BrokenPackageError`.
    """
    return compressed.colour(image)


def depth_of(image: Message, limits: DepthLimits = UNLIMITED) -> NDArray[np.float32]:
    """A depth image as (H, W) metres along the optical axis, 0 = no return (REP 118).

    Takes a `sensor_msgs/Image` (16UC1 in units of `limits.scale_m`, 32FC1 in metres with NaN or infinity for no return)
    or a `CompressedImage` of the plugin `compressedDepth`. What lies outside the limits is no return.

    Raises:
        ObservationError: unsupported encoding, too little data for the image size, or a unit that is implausible.
    """
    values = encodings.depth_values(image) if hasattr(image, "encoding") else compressed.depth_values(image)
    return encodings.metres(values, limits)


def image_size(image: Message) -> tuple[int, int]:
    """Width and height of a `sensor_msgs/Image`, or as the header of a `CompressedImage` claims them.

    Raises:
        ObservationError: the compressed image is neither JPEG nor PNG, or too large.
    """
    return (image.width, image.height) if hasattr(image, "encoding") else compressed.size_of(image)


def camera_model_of(info: Message, *, rectified: bool = False, size: tuple[int, int] | None = None) -> CameraModel:
    """The camera of a `sensor_msgs/CameraInfo`, at the resolution of its images.

    Args:
        info: the message, whose `k`, `d` and `p` are at full resolution: binning and the region of interest are
            applied. Its `width` and `height` are the full sensor's, or, as some drivers have it, the region's.
        rectified: the images are rectified already: `p` describes them, and there is no distortion to remove.
        size: width and height of the image, where it is known. A driver whose `width` and `height` are the binned
            image's is then understood too.

    Raises:
        ObservationError: the camera is not calibrated, its distortion model is not supported, or binning and region do
            not fit its size.
    """
    name, matrix = ("p", info.p) if rectified else ("k", info.k)
    row = len(matrix) // 3  # k is 3 x 3, p is 3 x 4, both by rows
    calibrated = row > 2 and np.isfinite(matrix).all() and matrix[0] > 0 and matrix[row + 1] > 0
    if info.width < 1 or info.height < 1 or not calibrated:
        raise ObservationError(
            f"the camera_info of {info.header.frame_id!r} is not calibrated: {info.width} x {info.height}, "
            f"{name} = {list(matrix)}"
        )
    fx, cx, fy, cy = (float(matrix[index]) for index in (0, 2, row + 1, row + 2))
    columns = _axis(info.width, info.roi.x_offset, info.roi.width, info.binning_x, cx, size and size[0])
    rows = _axis(info.height, info.roi.y_offset, info.roi.height, info.binning_y, cy, size and size[1])
    try:
        intrinsics = Intrinsics(
            columns.size, rows.size, fx / columns.binning, fy / rows.binning, columns.centre(cx), rows.centre(cy)
        )
    except ConfigError as error:
        raise ObservationError(f"the camera_info of {info.header.frame_id!r} cannot be used: {error}") from error
    if rectified:
        return CameraModel(intrinsics)
    return CameraModel(intrinsics, info.distortion_model, tuple(float(value) for value in info.d))


class _Axis(NamedTuple):
    """How an image's columns (or rows) lie on the sensor."""

    size: int  # of the image, pixels
    offset: int  # of the region of interest, sensor pixels
    binning: int

    def centre(self, principal: float) -> float:
        """The principal point: the centre of a binned pixel lies between the centres of the pixels that it sums."""
        return (principal - self.offset + 0.5) / self.binning - 0.5


def _axis(full: int, offset: int, region: int, binning: int, principal: float, size: int | None) -> _Axis:
    """One axis of a camera_info: its size, the region of interest (0: all of it), binning and principal point."""
    binning = max(1, binning)
    if region and region < full < offset + region:
        raise ObservationError(
            f"expected a region of interest on the sensor of {full} pixels, got: {region} from {offset}; fix the driver"
        )
    if offset and not region:
        raise ObservationError(f"expected a region with a size, got: 0 pixels from {offset}; fix the driver")
    if offset and region == full and abs(2 * principal - full) <= abs(2 * (principal - offset) - full):
        raise ObservationError(
            f"expected K of the whole sensor, because the region begins at {offset}, got the principal point "
            f"{principal}, which is that of the {full} pixels themselves; fix the driver: set the offset to 0"
        )
    image = min(region or full, full) // binning
    if image < 1:
        raise ObservationError(f"expected an image of at least 1 pixel, got: {full} pixels binned by {binning}")
    # Width, height and K of the binned image, from a calibration at that resolution: nothing is left to be applied.
    if binning > 1 and size == full and image != full and principal < 0.75 * full:
        return _Axis(full, 0, 1)
    if binning > 1 and size == full and image != full:
        return _Axis(full, offset, binning)
    return _Axis(image, offset, binning)
