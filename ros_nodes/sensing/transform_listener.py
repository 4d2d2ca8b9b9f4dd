"""Transforms from /tf and /tf_static: through tf2_ros where it is installed, otherwise through our own buffer."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Protocol

from geometry_msgs.msg import TransformStamped
from rclpy.qos import HistoryPolicy, QoSProfile, ReliabilityPolicy
from rclpy.time import Time
from tf2_msgs.msg import TFMessage

from si_embodied.errors import TransformError
from si_embodied.geometry import Pose
from si_embodied.ros_nodes.sensing import bridge
from si_embodied.ros_nodes.sensing.qos import LATCHED_BY_ALL, WEAKEST, incompatible_qos_events
from si_embodied.ros_nodes.sensing.rejections import Rejections
from si_embodied.ros_nodes.sensing.transform_buffer import TransformBuffer
from si_embodied.ros_nodes.sensing.transform_filter import ANY_TIME, TransformFilter

TF_QOS = QoSProfile(depth=100, history=HistoryPolicy.KEEP_LAST, reliability=ReliabilityPolicy.RELIABLE)
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

    def connected(self, a: str, b: str) -> bool:
        """Whether two frames are in one tree, at whatever time."""

    def clear(self) -> None:
        """Forget all moving transforms: the clock jumped back."""

    def close(self) -> None:
        """Unsubscribe."""


class TransformListener:
    """Subscribes to /tf and /tf_static, and passes on what the filter lets through."""

    def __init__(
        self, node: Any, add: Callable[[TransformStamped, Pose, bool], None], checks: TransformFilter, log: Rejections
    ) -> None:
        """Subscribe on `node`; remap /tf and /tf_static for a robot that has them in its namespace."""
        self._node, self._add, self._checks, self._log = node, add, checks, log
        self._subscriptions = [
            self._subscribe("/tf", TF_QOS, static=False),
            self._subscribe("/tf_static", LATCHED_BY_ALL, static=True),
        ]

    def close(self) -> None:
        """Unsubscribe."""
        for subscription in self._subscriptions:
            self._node.destroy_subscription(subscription)

    def on_message(self, message: Any, *, static: bool) -> None:
        """Add the transforms of a `tf2_msgs/TFMessage`; an invalid one costs only itself."""
        for each in message.transforms:
            try:
                self._add(each, self._checks.checked(each, static=static), static)
            except Exception as error:  # noqa: BLE001 - nothing that arrives may end the node
                self._log.add(f"transform of {each.child_frame_id[:40]}", error)

    def _subscribe(self, topic: str, qos: QoSProfile, *, static: bool) -> Any:
        """Listen with the QoS that tf2 has, and also to publishers that offer less."""
        callback = self._log.guarded(topic, lambda message: self.on_message(message, static=static))

        def listen_to_less(_: Any) -> None:
            if not any(each.topic_name == subscription.topic_name for each in self._subscriptions[2:]):
                self._subscriptions.append(self._node.create_subscription(TFMessage, topic, callback, WEAKEST))

        events = incompatible_qos_events(listen_to_less)
        subscription = self._node.create_subscription(TFMessage, topic, callback, qos, event_callbacks=events)
        return subscription


class TopicTransforms:
    """Transforms through our own buffer, which follows tf2."""

    def __init__(self, node: Any, checks: TransformFilter = ANY_TIME, log: Rejections | None = None) -> None:
        """Subscribe on `node`."""
        self._buffer = TransformBuffer(most_gap_s=checks.most_gap_s)
        self._listener = TransformListener(node, self._add, checks, log or Rejections())

    def lookup(self, target: str, source: str, stamp_s: float) -> Pose:
        """See `Transforms`."""
        return self._buffer.lookup(target, source, stamp_s)

    def latest(self, target: str, source: str) -> Pose | None:
        """See `Transforms`."""
        return self._buffer.latest(target, source)

    def connected(self, a: str, b: str) -> bool:
        """See `Transforms`."""
        return self._buffer.connected(a, b)

    def clear(self) -> None:
        """See `Transforms`."""
        self._buffer.clear()

    def close(self) -> None:
        """Unsubscribe."""
        self._listener.close()

    def _add(self, message: TransformStamped, pose: Pose, static: bool) -> None:
        parent, child = message.header.frame_id, message.child_frame_id
        if self._buffer.closes_loop(parent, child):
            raise TransformError(f"a transform from {child!r} to {parent!r} would close a loop of frames")
        self._buffer.add(parent, child, bridge.seconds(message.header.stamp), pose, static=static)


class Tf2Transforms:
    """Transforms through tf2's C++ buffer, as in every other node on the robot."""

    def __init__(self, node: Any, checks: TransformFilter = ANY_TIME, log: Rejections | None = None) -> None:
        """Subscribe on `node`.

        Raises:
            ModuleNotFoundError: tf2_ros is not installed.
        """
        import tf2_ros

        self._gaps = TransformBuffer(most_gap_s=checks.most_gap_s)  # tf2 interpolates across any
        self._error = tf2_ros.TransformException
        self._buffer = tf2_ros.Buffer()  # without the node, on which it would leave a service behind
        self._listener = TransformListener(node, self._add, checks, log or Rejections())

    def lookup(self, target: str, source: str, stamp_s: float) -> Pose:
        """See `Transforms`."""
        time = Time(nanoseconds=max(1, math.floor((stamp_s - _COARSE_S) * 1e9)))
        try:
            found = self._buffer.lookup_transform(target.lstrip("/"), source.lstrip("/"), time)
        except self._error as error:
            raise TransformError(f"no transform from {source!r} to {target!r} at {stamp_s:.3f} s: {error}") from error
        self._gaps.lookup(target, source, stamp_s)
        return bridge.pose_of_transform(found.transform)

    def latest(self, target: str, source: str) -> Pose | None:
        """See `Transforms`."""
        try:
            found = self._buffer.lookup_transform(target.lstrip("/"), source.lstrip("/"), Time())
        except self._error:
            return None
        return bridge.pose_of_transform(found.transform)

    def connected(self, a: str, b: str) -> bool:
        """See `Transforms`."""
        return self._gaps.connected(a, b)

    def clear(self) -> None:
        """See `Transforms`; tf2 too keeps the static ones."""
        self._buffer.clear()
        self._gaps.clear()

    def close(self) -> None:
        """Unsubscribe."""
        self._listener.close()

    def _add(self, message: TransformStamped, pose: Pose, static: bool) -> None:
        add = self._buffer.set_transform_static if static else self._buffer.set_transform
        add(message, "si_embodied")
        parent, child, stamp_s = message.header.frame_id, message.child_frame_id, bridge.seconds(message.header.stamp)
        self._gaps.add(parent, child, stamp_s, pose, static=static)


def make_transforms(node: Any, checks: TransformFilter, log: Rejections) -> Transforms:
    """tf2_ros where it is installed, otherwise our own buffer; neither interpolates across a long gap."""
    try:
        return Tf2Transforms(node, checks, log)
    except ModuleNotFoundError:
        return TopicTransforms(node, checks, log)
