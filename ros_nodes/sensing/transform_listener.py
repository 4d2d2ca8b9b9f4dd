"""Where frames are, heard on /tf and /tf_static: through tf2_ros where it is installed, else through our own buffer."""

from __future__ import annotations

import math
from typing import Any, Protocol

from geometry_msgs.msg import TransformStamped
from rclpy.clock import JumpThreshold
from rclpy.duration import Duration
from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile, ReliabilityPolicy
from rclpy.time import Time
from tf2_msgs.msg import TFMessage

from si_embodied.errors import TransformError
from si_embodied.geometry import Pose
from si_embodied.ros_nodes.sensing import bridge
from si_embodied.ros_nodes.sensing.transform_buffer import TransformBuffer

TF_QOS = QoSProfile(depth=100, history=HistoryPolicy.KEEP_LAST, reliability=ReliabilityPolicy.RELIABLE)
STATIC_QOS = QoSProfile(depth=100, durability=DurabilityPolicy.TRANSIENT_LOCAL)
_COARSE_S = 5e-7
"""Seconds since 1970 as a float are good to 0.2 microseconds; this much earlier is never later than a newest stamp."""


class Transforms(Protocol):
    """The tree of frames over the last seconds; used from the executor's thread."""

    def lookup(self, target: str, source: str, stamp_s: float) -> Pose:
        """`T_target_source` at a time, never extrapolated.

        Raises:
            TransformError: it is not known.
        """

    def latest(self, target: str, source: str) -> Pose | None:
        """`T_target_source` at the newest time at which it is known, None where it never was."""

    def close(self) -> None:
        """Listen no more."""


class TopicTransforms:
    """Our own buffer; it has tf2's semantics."""

    def __init__(self, node: Any) -> None:
        """Subscribe on `node`."""
        self._node, self._buffer = node, TransformBuffer()
        self._subscriptions = [
            node.create_subscription(TFMessage, "/tf", lambda heard: self._add(heard, static=False), TF_QOS),
            node.create_subscription(TFMessage, "/tf_static", lambda heard: self._add(heard, static=True), STATIC_QOS),
        ]

    def lookup(self, target: str, source: str, stamp_s: float) -> Pose:
        """See `Transforms`."""
        return self._buffer.lookup(target, source, stamp_s)

    def latest(self, target: str, source: str) -> Pose | None:
        """See `Transforms`."""
        return self._buffer.latest(target, source)

    def close(self) -> None:
        """Listen no more."""
        for subscription in self._subscriptions:
            self._node.destroy_subscription(subscription)

    def _add(self, message: Any, *, static: bool) -> None:
        each: TransformStamped
        for each in message.transforms:
            try:
                pose = bridge.pose_of_transform(each.transform)
            except ValueError as error:
                words = f"ignoring a transform of {each.child_frame_id!r}: {error}"
                self._node.get_logger().warning(words, throttle_duration_sec=5.0)
                continue
            stamp_s = bridge.seconds(each.header.stamp)
            self._buffer.add(each.header.frame_id, each.child_frame_id, stamp_s, pose, static=static)


class Tf2Transforms:
    """tf2's buffer, in C++: what every other node of the robot looks up."""

    def __init__(self, node: Any) -> None:
        """Subscribe on `node`.

        Raises:
            ModuleNotFoundError: tf2_ros is not installed.
        """
        import tf2_ros

        self._error = tf2_ros.TransformException
        self._buffer = buffer = tf2_ros.Buffer()  # given the node it would leave a service on it
        back = JumpThreshold(min_forward=None, min_backward=Duration(nanoseconds=-1))
        self._jumps = node.get_clock().create_jump_callback(back, post_callback=lambda _: buffer.clear())
        self._listener = tf2_ros.TransformListener(self._buffer, node, spin_thread=False)

    def lookup(self, target: str, source: str, stamp_s: float) -> Pose:
        """See `Transforms`."""
        time = Time(nanoseconds=max(1, math.floor((stamp_s - _COARSE_S) * 1e9)))
        try:
            found = self._buffer.lookup_transform(target.lstrip("/"), source.lstrip("/"), time)
        except self._error as error:
            raise TransformError(f"no transform from {source!r} to {target!r} at {stamp_s:.3f} s: {error}") from error
        return bridge.pose_of_transform(found.transform)

    def latest(self, target: str, source: str) -> Pose | None:
        """See `Transforms`."""
        try:
            found = self._buffer.lookup_transform(target.lstrip("/"), source.lstrip("/"), Time())
        except self._error:
            return None
        return bridge.pose_of_transform(found.transform)

    def close(self) -> None:
        """Listen no more."""
        self._listener.unregister()
        self._jumps.unregister()


def make_transforms(node: Any) -> Transforms:
    """tf2_ros where it is there, else our own."""
    try:
        return Tf2Transforms(node)
    except ModuleNotFoundError:
        return TopicTransforms(node)
