"""Outcomes of goals that arrive on a plain topic; a goal is identified by its stamp."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from std_msgs.msg import String

from si_embodied.errors import ConfigError
from si_embodied.ros_nodes.sensing import bridge
from si_embodied.ros_nodes.sensing.qos import LATCHED
from si_embodied.types import Code, Outcome

if TYPE_CHECKING:
    from geometry_msgs.msg import PoseStamped

    from si_embodied.geometry import Pose


class OutcomePublisher:
    """Publishes {"goal_stamp_ns", "code", "message"} (JSON, latched) once per goal; one goal at a time."""

    def __init__(self, node: Any, topic: str) -> None:
        """Start without a goal."""
        self._node = node
        self._topic = node.create_publisher(String, topic, LATCHED)
        self._goal: Any = None  # stamp of the goal under way

    def accepted(self, message: PoseStamped) -> Pose | None:
        """The goal's pose. An invalid goal is rejected: its failure is published, and None returned."""
        try:
            if message.header.frame_id not in ("map", "/map"):
                raise ConfigError(f"expected a goal in the frame 'map', got: {message.header.frame_id!r}")
            return bridge.pose_of_message(message.pose)
        except ConfigError as error:
            self._node.get_logger().error(f"rejecting a goal: {error}")
            self._publish(message.header.stamp, Outcome(Code.SKILL_FAILED, str(error)))
            return None

    def begin(self, stamp: Any) -> None:
        """Start a goal; this preempts the one under way."""
        if self._goal is not None:
            self._publish(self._goal, Outcome(Code.CANCELED, "preempted by another goal"))
        self._goal = stamp

    def ended(self, outcome: Outcome) -> None:
        """Publish the outcome of the goal under way."""
        if self._goal is not None:
            self._publish(self._goal, outcome)
            self._goal = None

    def _publish(self, stamp: Any, outcome: Outcome) -> None:
        values = {
            "goal_stamp_ns": stamp.sec * 1_000_000_000 + stamp.nanosec,
            "code": int(outcome.code),
            "message": outcome.message,
        }
        self._topic.publish(String(data=json.dumps(values)))
