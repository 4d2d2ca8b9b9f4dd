"""Publishers that every robot needs: camera images and transforms."""

from __future__ import annotations

import array
from typing import TYPE_CHECKING, Any

import numpy as np
from geometry_msgs.msg import TransformStamped
from rclpy.qos import QoSProfile
from sensor_msgs.msg import CameraInfo, Image
from tf2_msgs.msg import TFMessage

from si_embodied.ros_nodes.sensing import bridge
from si_embodied.ros_nodes.sensing.qos import LATCHED, unserved_qos_events

if TYPE_CHECKING:
    from si_embodied.geometry import Intrinsics, Pose
    from si_embodied.types import CameraFrame

IMAGE_QOS = QoSProfile(depth=5)
"""Reliable: compatible with reliable and best-effort subscriptions."""


def optical_frame(camera: str) -> str:
    """The name of a camera's optical frame."""
    return f"{camera}_optical_frame"


class CameraPublisher:
    """One camera's NAME/image_raw, NAME/depth (registered, with the image's stamp) and NAME/camera_info."""

    def __init__(self, node: Any, name: str) -> None:
        """Publish as `name`."""
        self._frame_id = optical_frame(name)
        self._image, self._depth = Image(), Image()
        self._image_topic = node.create_publisher(Image, f"{name}/image_raw", IMAGE_QOS)
        self._depth_topic = node.create_publisher(Image, f"{name}/depth", IMAGE_QOS)
        events = unserved_qos_events()  # planners also listen for a camera_info that is latched
        self._info_topic = node.create_publisher(CameraInfo, f"{name}/camera_info", IMAGE_QOS, event_callbacks=events)

    def publish(self, frame: CameraFrame, depth_encoding: str) -> None:
        """Publish a frame, with its depth if it has any."""
        self._info_topic.publish(self._info(frame))
        if frame.depth_m is not None:
            millimetres = np.rint(np.minimum(frame.depth_m, 65.0) * 1000).astype("<u2")
            pixels = frame.depth_m.astype("<f4") if depth_encoding == "32FC1" else millimetres
            self._fill(self._depth, frame, pixels, depth_encoding)
            self._depth_topic.publish(self._depth)
        self._fill(self._image, frame, frame.rgb, "rgb8")
        self._image_topic.publish(self._image)

    def _fill(self, message: Image, frame: CameraFrame, pixels: Any, encoding: str) -> None:
        """Copy pixels into the message's existing array, 10 times as fast as creating a new one."""
        flat = np.ascontiguousarray(pixels).view(np.uint8).reshape(-1)
        if len(message.data) != flat.size:
            message.data = array.array("B", bytes(flat.size))
        np.frombuffer(message.data, dtype=np.uint8)[:] = flat
        message.height, message.width = frame.intrinsics.height, frame.intrinsics.width
        message.encoding, message.is_bigendian = encoding, 0
        message.step = flat.size // message.height
        self._stamp(message.header, frame)

    def _info(self, frame: CameraFrame) -> CameraInfo:
        message = camera_info(frame.intrinsics)
        self._stamp(message.header, frame)
        return message

    def _stamp(self, header: Any, frame: CameraFrame) -> None:
        header.frame_id = self._frame_id
        bridge.set_stamp(header.stamp, frame.stamp_s)


def camera_info(intrinsics: Intrinsics) -> CameraInfo:
    """The camera_info of a pinhole camera without distortion."""
    k = intrinsics.matrix()
    message = CameraInfo(width=intrinsics.width, height=intrinsics.height, distortion_model="plumb_bob", d=[0.0] * 5)
    message.k = k.ravel().tolist()
    message.r = np.eye(3).ravel().tolist()
    message.p = np.column_stack([k, np.zeros(3)]).ravel().tolist()
    return message


class TransformPublisher:
    """/tf and /tf_static."""

    def __init__(self, node: Any) -> None:
        """Create the publishers; the topic names are absolute, as in tf2."""
        self._moving = node.create_publisher(TFMessage, "/tf", QoSProfile(depth=100))
        self._static = node.create_publisher(TFMessage, "/tf_static", LATCHED)

    def publish(self, stamp_s: float, *poses: tuple[str, str, Pose]) -> None:
        """Publish (parent, child, T_parent_child) transforms at a time."""
        self._moving.publish(TFMessage(transforms=[transform(stamp_s, *each) for each in poses]))

    def publish_static(self, stamp_s: float, *poses: tuple[str, str, Pose]) -> None:
        """Publish all static transforms in one call: late subscribers get the last message only."""
        self._static.publish(TFMessage(transforms=[transform(stamp_s, *each) for each in poses]))


def transform(stamp_s: float, parent: str, child: str, T_parent_child: Pose) -> TransformStamped:
    """A stamped transform message."""
    message = TransformStamped(child_frame_id=child)
    message.header.frame_id = parent
    bridge.set_stamp(message.header.stamp, stamp_s)
    bridge.set_transform(message.transform, T_parent_child)
    return message
