"""The ROS interface of an arm's drivers: the tool frame, the gripper's opening, and goals for both."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from geometry_msgs.msg import PoseStamped
from std_msgs.msg import Empty, Float64

from si_embodied.ros_nodes.motion.stop import ARM_CANCEL
from si_embodied.ros_nodes.simulator.ordering import GoalOrder
from si_embodied.ros_nodes.simulator.outcomes import OutcomePublisher

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np

    from si_embodied.geometry import Pose
    from si_embodied.ros_nodes.simulator.publishing import TransformPublisher
    from si_embodied.ros_nodes.simulator.settings import SimulatorSettings
    from si_embodied.ros_nodes.simulator.tabletop import TabletopRobot
    from si_embodied.sensor_noise.profiles import NoiseProfile


class ArmDrivers:
    """An arm on a fixed base. `later` runs a command after its latency.

    A motion is two messages: `gripper/goal`, metres between the finger pads, then `arm/goal`, the tool's pose.
    """

    def __init__(
        self,
        node: Any,
        robot: TabletopRobot,
        transforms: TransformPublisher,
        later: Callable[[Callable[[], None]], None],
    ) -> None:
        """Publish and subscribe on `node`."""
        self._node, self._robot, self._transforms, self._later = node, robot, transforms, later
        self._outcomes = OutcomePublisher(node, "arm/outcome")
        self._order = GoalOrder()
        self._opening = node.create_publisher(Float64, "gripper/opening", 10)
        node.create_subscription(PoseStamped, "arm/goal", self._on_goal, 10)
        node.create_subscription(Float64, "gripper/goal", self._on_opening, 10)
        node.create_subscription(Empty, ARM_CANCEL, self._on_cancel, 10)

    def start(self, stamp_s: float) -> None:
        """An episode has started."""
        self._transforms.publish_static(stamp_s, ("map", "base_link", self._robot.T_map_base))

    def tick(self, stamp_s: float, settings: SimulatorSettings, noise: NoiseProfile, rng: np.random.Generator) -> None:
        """Publish the tool's pose, and the outcome of a motion that has ended."""
        del noise, rng
        if settings.publish_tf:
            T_base_tool = self._robot.T_map_base.inverse() @ self._robot.T_map_tool
            self._transforms.publish(stamp_s, ("base_link", "tool", T_base_tool))
        self._opening.publish(Float64(data=self._robot.opening_m))
        outcome = self._robot.take_outcome()
        if outcome is not None:
            self._outcomes.ended(outcome)

    def look(self, stamp_s: float) -> None:
        """Do nothing: there are no sensors besides the cameras."""

    # --- commands ---------------------------------------------------------------------------------------------------

    def _on_cancel(self, _: Empty, info: Any) -> None:
        if not self._order.outdated(info):
            self._later(self._robot.cancel)

    def _on_opening(self, message: Float64) -> None:
        if math.isfinite(message.data):
            self._later(lambda: self._robot.grip(message.data))
        else:
            self._node.get_logger().error(f"ignoring a gripper/goal that is not finite: {message.data}")

    def _on_goal(self, message: PoseStamped, info: Any) -> None:
        self._order.goal(info)
        goal = self._outcomes.accepted(message)
        if goal is not None:
            self._later(lambda: self._move(message.header.stamp, goal))

    def _move(self, stamp: Any, goal: Pose) -> None:
        self._outcomes.begin(stamp)
        self._robot.move(goal)
