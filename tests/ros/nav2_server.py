"""What the planner sees of Nav2, in a process of its own: NavigateToPose, carried out by the robot before the wall."""

from __future__ import annotations

import math
import time
from typing import Any

import rclpy
from geometry_msgs.msg import Pose, PoseStamped
from nav2_msgs.action import NavigateToPose
from nav_msgs.msg import Odometry
from rclpy.action import ActionServer, CancelResponse
from rclpy.executors import ExternalShutdownException, MultiThreadedExecutor
from rclpy.node import Node
from std_msgs.msg import String

NO_VALID_PATH = 208
"""Of nav2_msgs/ComputePathToPose, which NavigateToPose hands on."""


class Nav2Server(Node):
    def __init__(self) -> None:
        super().__init__("nav2_server")
        self.reachable = bool(self.declare_parameter("reachable", True).value)
        self.base = Pose()
        self.goals = self.create_publisher(PoseStamped, "goal_pose", 1)
        self.ends = self.create_publisher(String, "ends", 10)  # how each goal ended
        self.create_subscription(Odometry, "odom", self.on_odometry, 1)
        accept = {"cancel_callback": lambda _: CancelResponse.ACCEPT}
        self.server = ActionServer(self, NavigateToPose, "navigate_to_pose", self.go, **accept)

    def on_odometry(self, message: Odometry) -> None:
        self.base = message.pose.pose

    def go(self, handle: Any) -> NavigateToPose.Result:
        wanted = handle.request.pose
        if not self.reachable:
            handle.abort()
            return NavigateToPose.Result(error_code=NO_VALID_PATH, error_msg="no way there")
        self.goals.publish(wanted)
        while self.left(wanted.pose) > 0.05:
            if handle.is_cancel_requested:
                stay = PoseStamped(header=wanted.header, pose=self.base)
                self.goals.publish(stay)
                handle.canceled()
                self.ends.publish(String(data="canceled"))
                return NavigateToPose.Result()
            time.sleep(0.01)
        handle.succeed()
        self.ends.publish(String(data="succeeded"))
        return NavigateToPose.Result()

    def left(self, wanted: Pose) -> float:
        """Metres, and how far the quaternions are apart, on top of each other."""
        a, b = wanted.orientation, self.base.orientation
        turn = 1 - abs(a.z * b.z + a.w * b.w)
        return math.dist((wanted.position.x, wanted.position.y), (self.base.position.x, self.base.position.y)) + turn


if __name__ == "__main__":
    rclpy.init()
    try:
        rclpy.spin(Nav2Server(), executor=MultiThreadedExecutor(4))
    except (KeyboardInterrupt, ExternalShutdownException):
        pass
