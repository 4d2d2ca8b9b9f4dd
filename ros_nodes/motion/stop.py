"""Stops the base: zero velocity on `cmd_vel`. Needs no transform, image, model or server."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from geometry_msgs.msg import Twist, TwistStamped

from si_embodied.ros_nodes.sensing import bridge

_REPEAT_S = 0.5
"""How long zero velocity is repeated: a controller that has just received a goal may still send a command."""


class MotionStop:
    """Publishes zero velocity for a while after `apply`. Used from the executor's thread only; nothing blocks."""

    def __init__(self, node: Any, clock: Callable[[], float], *, stamped: bool) -> None:
        """Publish from `node`, as TwistStamped if the base needs it `stamped`; `clock` is the ROS clock in seconds."""
        self._node, self._clock, self._stamped = node, clock, stamped
        self._publisher = node.create_publisher(TwistStamped if stamped else Twist, "cmd_vel", 1)
        self._until_s: float | None = None

    def apply(self) -> None:
        """Command zero velocity now, and keep repeating it from `tick`."""
        self._until_s = self._clock() + _REPEAT_S
        self._publish()

    def release(self) -> None:
        """Stop repeating, so that the robot can move."""
        self._until_s = None

    def tick(self) -> None:
        """Repeat zero velocity while the stop is applied."""
        if self._until_s is None:
            return
        if self._clock() >= self._until_s:
            self._until_s = None
        else:
            self._publish()

    def close(self) -> None:
        """Destroy the publisher."""
        self._node.destroy_publisher(self._publisher)

    def _publish(self) -> None:
        message = TwistStamped() if self._stamped else Twist()
        if self._stamped:
            bridge.set_stamp(message.header.stamp, self._clock())
            message.header.frame_id = "base_link"
        self._publisher.publish(message)
