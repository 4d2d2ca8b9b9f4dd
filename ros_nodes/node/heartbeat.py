"""The planner's heartbeat, which the watchdog listens to, and the watchdog's choice among several planners."""

from __future__ import annotations

import secrets
import time
from typing import Any

from rclpy.clock import Clock, ClockType
from std_msgs.msg import Header, String

from si_embodied.ros_nodes.node.planner_watch import Beat, Permission
from si_embodied.ros_nodes.sensing.qos import LATCHED

HEARTBEAT_TOPIC, ACTIVE_TOPIC = "planner_heartbeat", "active_planner"
PERIOD_S = 0.1


class Heartbeat:
    """Sent at 10 Hz from the executor's own timer while the node is active, so a hung executor falls silent."""

    def __init__(self, node: Any) -> None:
        """Publish `planner_heartbeat`, and listen to `active_planner`."""
        self._node, self._id = node, secrets.token_hex(4)
        self.permission = Permission(self._id, time.monotonic())
        self._publisher = node.create_publisher(Header, HEARTBEAT_TOPIC, 1)
        self._heard = False  # the watchdog expects this planner to go on
        self._silent = False  # until the planner is active again
        self._warned = False  # that there is no watchdog
        self._choices = node.create_subscription(String, ACTIVE_TOPIC, self._on_choice, LATCHED)
        node.create_timer(PERIOD_S, self._beat, clock=Clock(clock_type=ClockType.STEADY_TIME))

    def stopped(self) -> None:
        """Say that the planner has stopped the robot and is no longer active: the watchdog need not."""
        if self._heard:
            self._publish(active=False)

    def silence(self) -> None:
        """Say nothing more: what the planner could not stop, the watchdog will."""
        self._heard, self._silent = False, True

    def _beat(self) -> None:
        watchdogs = self._node.count_publishers(self._choices.topic_name)
        self.permission.look(watchdogs=watchdogs, now_s=time.monotonic())
        if self._node.active and not self._warned and self.permission.unprotected:
            self._warned = True
            self._node.get_logger().warning("no watchdog runs: nobody stops the robot if this planner dies")
        self._silent = self._silent and not self._node.active
        if self._node.active or (self._heard and self._node.stopping):
            self._publish(active=True)
        elif self._heard or (self._node.stopped and not self._silent):  # a new watchdog must learn of the stop
            self._publish(active=False)

    def _publish(self, *, active: bool) -> None:
        self._heard = active
        name, acting = self._node.get_fully_qualified_name(), self._node.stopping
        message = Header(frame_id=Beat(self._id, name, active, acting=acting, stopped=self._node.stopped).text())
        message.stamp = self._node.get_clock().now().to_msg()
        self._publisher.publish(message)

    def _on_choice(self, message: String) -> None:
        self.permission.hear(message.data, time.monotonic())
