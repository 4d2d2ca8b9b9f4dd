"""Conversion between ROS messages and the core's values. Pure: messages are duck-typed, so this needs no rclpy."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from si_embodied.errors import ObservationError
from si_embodied.geometry import Intrinsics, Pose
from si_embodied.ros_nodes.sensing.camera_models import CameraModel
from si_embodied.ros_nodes.sensing.opencv import import_opencv

if TYPE_CHECKING:
    from numpy.typing import NDArray

Message: TypeAlias = Any
"""A ROS message; each function's docstring names the type that it takes."""

_COLOUR_CHANNELS = {"rgb8": 3, "bgr8": 3, "rgba8": 4, "bgra8": 4, "mono8": 1, "8UC1": 1, "8UC3": 3}
_DEPTH_TYPES = {"16UC1": "u2", "mono16": "u2", "32FC1": "f4"}


# --- time and poses -------------------------------------------------------------------------------------------------


def seconds(stamp: Message) -> float:
    """A `builtin_interfaces/Time` or `Duration` in seconds."""
    return float(stamp.sec) + 1e-9 * float(stamp.nanosec)


def set_stamp(stamp: Message, time_s: float) -> None:
    """Write seconds into a `builtin_interfaces/Time`, as precisely as a float holds them.

    Raises:
        ObservationError: the time is negative or not finite, which ROS cannot represent.
    """
    if not (math.isfinite(time_s) and time_s >= 0):
        raise ObservationError(f"expected a time of at least 0 s, got: {time_s}")
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
    """
    channels = _COLOUR_CHANNELS.get(image.encoding)
    if channels is None:
        known = ", ".join(_COLOUR_CHANNELS)
        raise ObservationError(f"expected an image encoded as one of {known}, got: {image.encoding!r}")
    rows = _rows(image, channels)
    pixels = rows[:, : image.width * channels].reshape(image.height, image.width, channels)
    if channels == 1:
        return np.repeat(pixels, 3, axis=2)
    # 8UC3 leaves the channel order open; by OpenCV's convention it is BGR.
    return pixels[..., 2::-1] if image.encoding in ("bgr8", "bgra8", "8UC3") else pixels[..., :3]


def rgb_of_compressed(image: Message) -> NDArray[np.uint8]:
    """A JPEG or PNG `sensor_msgs/CompressedImage` as (H, W, 3) RGB.

    Raises:
        ObservationError: the data is truncated or not an image.
        MissingExtraError: OpenCV is not installed; or `BrokenPackageError`.
    """
    cv2 = import_opencv()
    try:
        # A camera's pixels are where its calibration says, whatever orientation the file header asks for.
        bgr = cv2.imdecode(np.frombuffer(image.data, np.uint8), cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    except cv2.error:  # no bytes, or too many pixels
        bgr = None
    if bgr is None:
        raise ObservationError(f"cannot decode a compressed image of format {image.format!r}; fix its source")
    rgb: NDArray[np.uint8] = bgr[..., ::-1]
    return rgb


def depth_of(image: Message) -> NDArray[np.float32]:
    """A depth `sensor_msgs/Image` as (H, W) metres along the optical axis, 0 = no return (REP 118).

    16UC1 is millimetres, 32FC1 is metres with NaN or infinity for no return.

    Raises:
        ObservationError: unsupported encoding, or too little data for the image size.
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
            f"an image of {image.width} x {image.height} {image.encoding} with step {image.step} does not fit in "
            f"{data.size} bytes; fix its source"
        )
    return data[: step * image.height].reshape(image.height, step)


def camera_model_of(info: Message, *, rectified: bool = False) -> CameraModel:
    """The camera of a `sensor_msgs/CameraInfo`, at the resolution of its images.

    Args:
        info: the message, whose `k`, `d` and `p` are at full resolution: binning and the region's offset are applied.
        rectified: the images are rectified already: `p` describes them, and there is no distortion to remove.

    Raises:
        ObservationError: the camera is not calibrated, or its distortion model is not supported.
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
    bx, by = max(1, info.binning_x), max(1, info.binning_y)
    # The centre of a binned pixel lies between the centres of the pixels that it sums.
    cx, cy = (cx - info.roi.x_offset + 0.5) / bx - 0.5, (cy - info.roi.y_offset + 0.5) / by - 0.5
    intrinsics = Intrinsics(info.width // bx, info.height // by, fx / bx, fy / by, cx, cy)
    if rectified:
        return CameraModel(intrinsics)
    return CameraModel(intrinsics, info.distortion_model, tuple(float(value) for value in info.d))
