"""The planner's heartbeat, which the watchdog listens to, and the watchdog's choice among several planners."""

from __future__ import annotations

import secrets
from typing import Any

from rclpy.clock import Clock, ClockType
from std_msgs.msg import Header, String

from si_embodied.ros_nodes.node.planner_watch import Beat
from si_embodied.ros_nodes.sensing.qos import LATCHED

HEARTBEAT_TOPIC, ACTIVE_TOPIC = "planner_heartbeat", "active_planner"
NOBODY = "nobody"
"""Said instead of a planner's id while the watchdog stops the robot."""
PERIOD_S = 0.1


class Heartbeat:
    """Sent at 10 Hz from the executor's own timer while the node is active, so a hung executor falls silent."""

    def __init__(self, node: Any) -> None:
        """Publish `planner_heartbeat`, and listen to `active_planner`."""
        self._node, self._id = node, secrets.token_hex(4)
        self._publisher = node.create_publisher(Header, HEARTBEAT_TOPIC, 1)
        self._heard = False  # the watchdog expects this planner to go on
        self._chosen = ""  # the planner that the watchdog lets act; empty: any
        node.create_subscription(String, ACTIVE_TOPIC, self._on_choice, LATCHED)
        node.create_timer(PERIOD_S, self._beat, clock=Clock(clock_type=ClockType.STEADY_TIME))

    @property
    def displaced(self) -> bool:
        """Whether another planner acts on this robot."""
        return self._chosen not in ("", NOBODY, self._id)

    @property
    def refusal(self) -> str:
        """Why this planner may not act; empty if it may."""
        if self._chosen == NOBODY:
            return "the watchdog is stopping the robot, because a planner's heartbeat was lost"
        if not self.displaced:
            return ""
        return f"another planner ({self._chosen}) acts on this robot, this one is {self._id}; stop one of the two"

    def stopped(self) -> None:
        """Say that the planner has stopped the robot and is no longer active: the watchdog need not."""
        if self._heard:
            self._publish(active=False)

    def silence(self) -> None:
        """Say nothing more: what the planner could not stop, the watchdog will."""
        self._heard = False

    def _beat(self) -> None:
        if self._node.active or (self._heard and self._node.stopping):
            self._publish(active=True)
        else:
            self.stopped()

    def _publish(self, *, active: bool) -> None:
        self._heard = active
        message = Header(frame_id=Beat(self._id, self._node.get_fully_qualified_name(), active).text())
        message.stamp = self._node.get_clock().now().to_msg()
        self._publisher.publish(message)

    def _on_choice(self, message: String) -> None:
        self._chosen = message.data
