"""Transforms from /tf and /tf_static: through tf2_ros where it is installed, otherwise through our own buffer."""

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
"""Subtracted from a lookup time: a float holds seconds since 1970 to 0.2 microseconds, and rounding must not ask for a
time after the newest stamp."""


class Transforms(Protocol):
    """The transform tree over the last seconds; used from the executor's thread."""

    def lookup(self, target: str, source: str, stamp_s: float) -> Pose:
        """`T_target_source` at a time, never extrapolated.

        Raises:
            TransformError: the transform is not known at that time.
        """

    def latest(self, target: str, source: str) -> Pose | None:
        """`T_target_source` at the newest time at which it is known, None if it never was."""

    def close(self) -> None:
        """Unsubscribe."""


class TopicTransforms:
    """Transforms through our own buffer, which follows tf2."""

    def __init__(self, node: Any) -> None:
        """Subscribe on `node`."""
        self._node, self._buffer = node, TransformBuffer()
        self._subscriptions = [
            node.create_subscription(TFMessage, "/tf", lambda message: self._add(message, static=False), TF_QOS),
            node.create_subscription(
                TFMessage, "/tf_static", lambda message: self._add(message, static=True), STATIC_QOS
            ),
        ]

    def lookup(self, target: str, source: str, stamp_s: float) -> Pose:
        """See `Transforms`."""
        return self._buffer.lookup(target, source, stamp_s)

    def latest(self, target: str, source: str) -> Pose | None:
        """See `Transforms`."""
        return self._buffer.latest(target, source)

    def close(self) -> None:
        """Unsubscribe."""
        for subscription in self._subscriptions:
            self._node.destroy_subscription(subscription)

    def _add(self, message: Any, *, static: bool) -> None:
        each: TransformStamped
        for each in message.transforms:
            try:
                pose = bridge.pose_of_transform(each.transform)
            except ValueError as error:
                reason = f"ignoring an invalid transform of {each.child_frame_id!r}: {error}"
                self._node.get_logger().warning(reason, throttle_duration_sec=5.0)
                continue
            stamp_s = bridge.seconds(each.header.stamp)
            self._buffer.add(each.header.frame_id, each.child_frame_id, stamp_s, pose, static=static)


class Tf2Transforms:
    """Transforms through tf2's C++ buffer, as in every other node on the robot."""

    def __init__(self, node: Any) -> None:
        """Subscribe on `node`.

        Raises:
            ModuleNotFoundError: tf2_ros is not installed.
        """
        import tf2_ros

        self._error = tf2_ros.TransformException
        self._buffer = buffer = tf2_ros.Buffer()  # without the node, on which it would leave a service behind
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
        """Unsubscribe."""
        self._listener.unregister()
        self._jumps.unregister()


def make_transforms(node: Any) -> Transforms:
    """tf2_ros where it is installed, otherwise our own buffer."""
    try:
        return Tf2Transforms(node)
    except ModuleNotFoundError:
        return TopicTransforms(node)
