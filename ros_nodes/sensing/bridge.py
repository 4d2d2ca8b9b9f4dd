"""ROS messages to the core's values and back: pure, and without rclpy, because a message is what has its fields."""

from __future__ import annotations

import io
import math
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from si_embodied.errors import ObservationError, extra
from si_embodied.geometry import Pose
from si_embodied.ros_nodes.sensing.camera_models import CameraModel

if TYPE_CHECKING:
    from numpy.typing import NDArray

Message: TypeAlias = Any
"""A ROS message; the type of each is in the docstring of what takes it."""

_COLOUR_CHANNELS = {"rgb8": 3, "bgr8": 3, "rgba8": 4, "bgra8": 4, "mono8": 1, "8UC1": 1, "8UC3": 3}
_DEPTH_TYPES = {"16UC1": "u2", "mono16": "u2", "32FC1": "f4"}


# --- time and poses -------------------------------------------------------------------------------------------------


def seconds(stamp: Message) -> float:
    """A `builtin_interfaces/Time` or `Duration` in seconds."""
    return float(stamp.sec) + 1e-9 * float(stamp.nanosec)


def set_stamp(stamp: Message, time_s: float) -> None:
    """Write seconds into a `builtin_interfaces/Time`, to the nanosecond that a float can tell.

    Raises:
        ObservationError: a time that ROS cannot say: negative or not finite.
    """
    if not (math.isfinite(time_s) and time_s >= 0):
        raise ObservationError(f"expected a time in seconds from 0, got: {time_s}")
    nanoseconds = round(time_s * 1e9)
    stamp.sec, stamp.nanosec = divmod(nanoseconds, 1_000_000_000)


def pose_of_transform(transform: Message) -> Pose:
    """`T_parent_child` of a `geometry_msgs/Transform`."""
    t, q = transform.translation, transform.rotation
    return Pose.from_quaternion((q.x, q.y, q.z, q.w), (t.x, t.y, t.z))


def pose_of_message(pose: Message) -> Pose:
    """A `geometry_msgs/Pose`."""
    p, q = pose.position, pose.orientation
    return Pose.from_quaternion((q.x, q.y, q.z, q.w), (p.x, p.y, p.z))


def set_pose(message: Message, pose: Pose) -> None:
    """Write a pose into a `geometry_msgs/Pose`."""
    set_point(message.position, pose.translation)
    _set_quaternion(message.orientation, pose)


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
        ObservationError: another encoding, or data that does not fit the sizes.
    """
    channels = _COLOUR_CHANNELS.get(image.encoding)
    if channels is None:
        known = ", ".join(_COLOUR_CHANNELS)
        raise ObservationError(f"expected an image encoded as one of {known}, got: {image.encoding!r}")
    rows = _rows(image, channels)
    pixels = rows[:, : image.width * channels].reshape(image.height, image.width, channels)
    if channels == 1:
        return np.repeat(pixels, 3, axis=2)
    # OpenCV's own name for three bytes says nothing of their order; it means BGR.
    return pixels[..., 2::-1] if image.encoding in ("bgr8", "bgra8", "8UC3") else pixels[..., :3]


def rgb_of_compressed(image: Message) -> NDArray[np.uint8]:
    """A JPEG or PNG `sensor_msgs/CompressedImage` as (H, W, 3) RGB.

    Raises:
        ObservationError: bytes that are no picture.
        MissingExtraError: Pillow is not installed.
    """
    with extra("sim"):
        from PIL import Image
    try:
        with Image.open(io.BytesIO(bytes(image.data)), formats=("JPEG", "PNG")) as picture:
            return np.asarray(picture.convert("RGB"))
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise ObservationError(f"a compressed image of format {image.format!r} cannot be read: {error}") from error


def depth_of(image: Message) -> NDArray[np.float32]:
    """A depth `sensor_msgs/Image` as (H, W) metres along the optical axis, 0 = no return (REP 118).

    16UC1 is millimetres, 32FC1 is metres with NaN or infinity for no return.

    Raises:
        ObservationError: another encoding, or data that does not fit the sizes.
    """
    kind = _DEPTH_TYPES.get(image.encoding)
    if kind is None:
        known = ", ".join(_DEPTH_TYPES)
        raise ObservationError(f"expected a depth image encoded as one of {known}, got: {image.encoding!r}")
    size = int(kind[1])
    rows = np.ascontiguousarray(_rows(image, size)[:, : image.width * size])
    values = rows.view(np.dtype(kind).newbyteorder(">" if image.is_bigendian else "<"))
    if kind == "u2":
        return values.astype(np.float32) * np.float32(0.001)
    depth = values.astype(np.float32)
    depth[~(np.isfinite(depth) & (depth > 0))] = 0.0
    return depth


def _rows(image: Message, bytes_per_pixel: int) -> NDArray[np.uint8]:
    """The message's bytes as (H, step)."""
    data = np.frombuffer(image.data, dtype=np.uint8)
    step = image.step or image.width * bytes_per_pixel
    if image.width < 1 or image.height < 1 or step < image.width * bytes_per_pixel or data.size < step * image.height:
        raise ObservationError(
            f"an image of {image.width} x {image.height} {image.encoding} with step {image.step} does not fit into "
            f"{data.size} bytes; fix its source"
        )
    return data[: step * image.height].reshape(image.height, step)


def camera_model_of(info: Message) -> CameraModel:
    """The camera of a `sensor_msgs/CameraInfo`: intrinsics at the image's own resolution, and distortion.

    Raises:
        ObservationError: not calibrated, or a distortion model that is not undone here.
    """
    k, name = list(info.k), info.distortion_model
    if info.width < 1 or info.height < 1 or not (k[0] > 0 and k[4] > 0):
        raise ObservationError(
            f"the camera_info of {info.header.frame_id!r} is not calibrated: {info.width} x {info.height}, k = {k}"
        )
    coefficients = tuple(float(value) for value in info.d)
    if name not in ("", "plumb_bob", "rational_polynomial") and any(coefficients):
        raise ObservationError(
            f"cannot undo the distortion {name!r}; give the rectified image of image_proc with its camera_info"
        )
    binning = max(1, info.binning_x), max(1, info.binning_y)
    return CameraModel.of(
        k, coefficients, info.width, info.height, binning=binning, offset=(info.roi.x_offset, info.roi.y_offset)
    )
