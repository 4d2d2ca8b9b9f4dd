"""The ROS interface of a mobile base's drivers: odometry, scans, velocities, goal poses, the head camera's tilt."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from geometry_msgs.msg import PoseStamped, Twist
from nav_msgs.msg import Odometry
from sensor_msgs.msg import LaserScan
from std_msgs.msg import Empty, Float64

from si_embodied.geometry import Pose
from si_embodied.ros_nodes.motion.stop import BASE_CANCEL
from si_embodied.ros_nodes.sensing import bridge
from si_embodied.ros_nodes.simulator.apartment import LASER_HEIGHT_M, LASER_RANGE_M, LASER_RAYS, ApartmentRobot
from si_embodied.ros_nodes.simulator.ordering import GoalOrder
from si_embodied.ros_nodes.simulator.outcomes import OutcomePublisher
from si_embodied.sensor_noise.localisation import NoisyLocalisation

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np

    from si_embodied.ros_nodes.simulator.publishing import TransformPublisher
    from si_embodied.ros_nodes.simulator.settings import SimulatorSettings
    from si_embodied.sensor_noise.profiles import NoiseProfile

_LASER = "base_laser"


class BaseDrivers:
    """The topics of a mobile base. `later` runs a command after its latency."""

    def __init__(
        self,
        node: Any,
        robot: ApartmentRobot,
        transforms: TransformPublisher,
        later: Callable[[Callable[[], None]], None],
    ) -> None:
        """Publish and subscribe on `node`."""
        self._node, self._robot, self._transforms, self._later = node, robot, transforms, later
        self._localisation = NoisyLocalisation()
        self._outcomes = OutcomePublisher(node, "navigation/outcome")
        self._odometry = node.create_publisher(Odometry, "odom", 10)
        self._scan = node.create_publisher(LaserScan, "scan", 5)
        self._order = GoalOrder()
        node.create_subscription(Twist, "cmd_vel", self._on_velocity, 10)
        node.create_subscription(PoseStamped, "goal_pose", self._on_goal, 10)
        node.create_subscription(Empty, BASE_CANCEL, self._on_cancel, 10)
        node.create_subscription(Float64, "head/tilt", self._on_tilt, 10)

    def start(self, stamp_s: float) -> None:
        """An episode has started, with the robot at another place."""
        self._localisation.put(self._robot.T_map_base)
        laser = Pose.planar(0.0, 0.0, 0.0, LASER_HEIGHT_M)
        self._transforms.publish_static(stamp_s, ("base_link", _LASER, laser))

    def tick(self, stamp_s: float, settings: SimulatorSettings, noise: NoiseProfile, rng: np.random.Generator) -> None:
        """Publish the base's pose and velocity, and the outcome of a goal that has ended."""
        self._localisation.update(self._robot.T_map_base, self._robot.tick_s, noise.pose, rng)
        T_odom_base = self._localisation.T_odom_base
        if settings.publish_tf:
            self._transforms.publish(
                stamp_s, ("map", "odom", self._localisation.T_map_odom), ("odom", "base_link", T_odom_base)
            )
        message = Odometry(child_frame_id="base_link")
        message.header.frame_id = "odom"
        bridge.set_stamp(message.header.stamp, stamp_s)
        bridge.set_pose(message.pose.pose, T_odom_base)
        message.twist.twist.linear.x, message.twist.twist.angular.z = self._robot.velocity
        self._odometry.publish(message)
        outcome = self._robot.take_outcome()
        if outcome is not None:
            self._outcomes.ended(outcome)

    def look(self, stamp_s: float) -> None:
        """Publish a laser scan with each set of images."""
        step = 2 * math.pi / LASER_RAYS
        message = LaserScan(
            angle_min=-math.pi, angle_max=math.pi - step, angle_increment=step,
            range_min=LASER_RANGE_M[0], range_max=LASER_RANGE_M[1], ranges=self._robot.scan().tolist(),
        )  # fmt: skip
        message.header.frame_id = _LASER
        bridge.set_stamp(message.header.stamp, stamp_s)
        self._scan.publish(message)

    # --- commands ---------------------------------------------------------------------------------------------------

    def _on_cancel(self, _: Empty, info: Any) -> None:
        if not self._order.outdated(info):
            self._later(self._robot.cancel)

    def _on_velocity(self, message: Twist, info: Any) -> None:
        if self._order.outdated(info):
            return
        speed, rate = message.linear.x, message.angular.z
        if not (math.isfinite(speed) and math.isfinite(rate)):
            self._node.get_logger().error(f"standing still: cmd_vel is not finite: {speed} m/s, {rate} rad/s")
            speed = rate = 0.0
        self._later(lambda: self._robot.drive(speed, rate))

    def _on_goal(self, message: PoseStamped, info: Any) -> None:
        self._order.goal(info)
        goal = self._outcomes.accepted(message)
        if goal is not None:
            self._later(lambda: self._go(message.header.stamp, goal))

    def _go(self, stamp: Any, goal: Pose) -> None:
        self._outcomes.begin(stamp)
        self._robot.go(goal)

    def _on_tilt(self, message: Float64) -> None:
        if math.isfinite(message.data):
            self._later(lambda: self._robot.tilt(message.data))
