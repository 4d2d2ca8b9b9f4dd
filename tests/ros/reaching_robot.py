"""An arm in a process of its own, on the base of wall_robot.py: its tool moves slowly to arm/goal until arm/cancel.

Every motion begins at START_M, so each one takes long, however many came before.
"""

from __future__ import annotations

import math

import numpy as np
import rclpy
from geometry_msgs.msg import PoseStamped, TransformStamped
from rclpy.executors import ExternalShutdownException
from std_msgs.msg import Empty, Float64
from wall_robot import PERIOD_S, WallRobot

from si_embodied.geometry import Pose
from si_embodied.ros_nodes.node.shared_memory import no_shared_memory
from si_embodied.ros_nodes.sensing import bridge

START_M = (0.6, 0.3, 0.9)


class ReachingRobot(WallRobot):
    """Its base stands still. `tool_pose` tells where the tool is, also while no transforms are published."""

    def __init__(self) -> None:
        super().__init__()
        self.tool = Pose.from_rpy(math.pi, 0.0, 0.0, START_M)
        self.target: Pose | None = None
        self.opening_m = 0.1
        self.poses = self.create_publisher(PoseStamped, "tool_pose", 10)
        self.openings = self.create_publisher(Float64, "gripper/opening", 10)
        self.create_subscription(PoseStamped, "arm/goal", self.on_arm_goal, 1)
        self.create_subscription(Float64, "gripper/goal", self.on_opening, 1)
        self.create_subscription(Empty, "arm/cancel", self.on_arm_cancel, 1)

    def on_arm_goal(self, message: PoseStamped, info: dict) -> None:
        self.order.goal(info)
        self.target = bridge.pose_of_message(message.pose)
        self.tool = Pose(self.target.rotation, np.array(START_M))

    def on_opening(self, message: Float64) -> None:
        self.opening_m = message.data

    def on_arm_cancel(self, _: Empty, info: dict) -> None:
        if not self.order.outdated(info):
            self.target = None

    def move(self) -> None:
        if self.target is not None:
            left = self.target.translation - self.tool.translation
            share = min(1.0, self.speed * PERIOD_S / max(float(np.linalg.norm(left)), 1e-9))
            self.tool = Pose(self.tool.rotation, self.tool.translation + share * left)
        self.openings.publish(Float64(data=self.opening_m))
        pose = PoseStamped()
        bridge.set_stamped_pose(pose, self.tool, "map", self.now_s())
        self.poses.publish(pose)

    def transforms(self, base: Pose, now_s: float) -> list[TransformStamped]:
        return [*super().transforms(base, now_s), self.transform("map", "tool", self.tool, now_s)]


if __name__ == "__main__":
    with no_shared_memory():  # a killed planner must not hold up what moves the robot
        rclpy.init()
        robot = ReachingRobot()
    try:
        rclpy.spin(robot)
    except (KeyboardInterrupt, ExternalShutdownException):
        pass
