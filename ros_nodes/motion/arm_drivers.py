"""Drivers of an arm's tool and gripper: plain topics, or MoveIt (moveit_arm.py)."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any, Protocol

from geometry_msgs.msg import PoseStamped
from std_msgs.msg import Float64, String

from si_embodied.errors import MissingRosPackageError
from si_embodied.geometry import Pose
from si_embodied.ros_nodes.motion import outcomes
from si_embodied.ros_nodes.motion.openings import current_opening
from si_embodied.ros_nodes.node.settings import ArmSettings
from si_embodied.ros_nodes.sensing import bridge
from si_embodied.ros_nodes.sensing.qos import LATCHED


class ArmDriver(Protocol):
    """Executes one motion at a time. The skills check for themselves whether the tool has reached its pose."""

    def move(self, T_map_tool: Pose, opening_m: float) -> None:
        """Start moving the tool to a pose and the gripper to an opening, the metres between its pads."""

    @property
    def settled(self) -> bool:
        """Whether no goal is on its way that could still be accepted."""

    def cancel(self) -> None:
        """Drop the motion under way. The gripper stays as it is."""

    def take_end(self) -> bool:
        """Whether the motion has ended; true once per motion."""

    def opening_m(self) -> float | None:
        """The distance between the gripper's pads, None if none has come for 2 s or it is not finite."""

    def close(self) -> None:
        """Release the node's publishers, subscriptions and clients."""


class TopicArm:
    """Sends a motion on `gripper/goal`, then `arm/goal`; `gripper/opening` and `arm/outcome` report on it.

    `sim_node` implements these topics, and so can a driver of your own. It must stop at once on `arm/cancel`, which
    `MotionStop` publishes: a stop sends no goal.
    """

    settled = True

    def __init__(self, node: Any, map_frame: str, *, clock: Callable[[], float]) -> None:
        """Publish and subscribe on `node`; poses are in `map_frame`."""
        self._node, self._map_frame, self._clock = node, map_frame, clock
        self._sent_ns = 0  # stamp of the motion under way
        self._ended = False
        self._opening_m, self._opening_s = math.nan, -math.inf  # and when it came
        self._poses = node.create_publisher(PoseStamped, "arm/goal", 1)
        self._openings = node.create_publisher(Float64, "gripper/goal", 1)
        self._subscriptions = [
            node.create_subscription(Float64, "gripper/opening", self._on_opening, 1),
            node.create_subscription(String, "arm/outcome", self._on_outcome, LATCHED),
        ]

    def move(self, T_map_tool: Pose, opening_m: float) -> None:
        """See `ArmDriver`."""
        self._openings.publish(Float64(data=opening_m))
        self._send(T_map_tool)

    def cancel(self) -> None:
        """See `ArmDriver`; an outcome that arrives later is ignored."""
        self._sent_ns += 1
        self._ended = False

    def take_end(self) -> bool:
        """See `ArmDriver`."""
        ended, self._ended = self._ended, False
        return ended

    def opening_m(self) -> float | None:
        """See `ArmDriver`."""
        return current_opening(self._opening_m, time.monotonic() - self._opening_s)

    def close(self) -> None:
        """Release the publishers and subscriptions."""
        for subscription in self._subscriptions:
            self._node.destroy_subscription(subscription)
        for publisher in (self._poses, self._openings):
            self._node.destroy_publisher(publisher)

    def _send(self, T_map_tool: Pose) -> None:
        self._ended = False
        # The stamp identifies the motion, so it must differ even where simulated time stands still.
        self._sent_ns = max(round(self._clock() * 1e9), self._sent_ns + 1)
        message = PoseStamped()
        message.header.frame_id = self._map_frame
        message.header.stamp.sec, message.header.stamp.nanosec = divmod(self._sent_ns, 1_000_000_000)
        bridge.set_pose(message.pose, T_map_tool)
        self._poses.publish(message)

    def _on_opening(self, message: Float64) -> None:
        self._opening_m, self._opening_s = float(message.data), time.monotonic()

    def _on_outcome(self, message: String) -> None:
        stamp_ns, _ = outcomes.parsed(message.data)
        self._ended = self._ended or stamp_ns == self._sent_ns


def make_arm_driver(node: Any, settings: ArmSettings, map_frame: str, *, clock: Callable[[], float]) -> ArmDriver:
    """The driver that `arm.driver` names.

    Raises:
        MissingRosPackageError: the driver is MoveIt, and its messages are not installed.
    """
    if settings.driver == "topic":
        return TopicArm(node, map_frame, clock=clock)
    try:
        from si_embodied.ros_nodes.motion.moveit_arm import MoveItArm
    except ModuleNotFoundError as error:
        raise MissingRosPackageError(str(error.name)) from error
    return MoveItArm(node, settings, map_frame)
