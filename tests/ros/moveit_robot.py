"""What the planner sees of an arm with MoveIt, in a process of its own: actions, joint states and the tool's frame."""

from __future__ import annotations

import time
from typing import Any

import rclpy
from control_msgs.action import GripperCommand
from geometry_msgs.msg import TransformStamped
from moveit_msgs.action import MoveGroup
from moveit_msgs.msg import MoveItErrorCodes
from rclpy.action import ActionServer, CancelResponse
from rclpy.executors import ExternalShutdownException, MultiThreadedExecutor
from rclpy.node import Node
from sensor_msgs.msg import JointState
from std_msgs.msg import String
from tf2_msgs.msg import TFMessage

from si_embodied.geometry import Pose
from si_embodied.ros_nodes.sensing import bridge

PERIOD_S, MOTION_S = 0.05, 0.5


class MoveItRobot(Node):
    def __init__(self) -> None:
        super().__init__("moveit_robot")
        self.tool, self.finger = Pose.identity(), 0.0
        self.tf = self.create_publisher(TFMessage, "/tf", 10)
        self.joints = self.create_publisher(JointState, "joint_states", 10)
        self.ends = self.create_publisher(String, "ends", 10)  # how each motion of the arm ended
        self.create_timer(PERIOD_S, self.tell)
        accept = {"cancel_callback": lambda _: CancelResponse.ACCEPT}
        self.arm = ActionServer(self, MoveGroup, "move_action", self.move, **accept)
        self.gripper = ActionServer(self, GripperCommand, "gripper_controller/gripper_cmd", self.grip, **accept)

    def move(self, handle: Any) -> MoveGroup.Result:
        request, options = handle.request.request, handle.request.planning_options
        constraint = request.goal_constraints[0]
        place, turn = constraint.position_constraints[0], constraint.orientation_constraints[0]
        if not (request.start_state.is_diff and options.planning_scene_diff.is_diff and request.group_name == "arm"):
            handle.abort()
            return MoveGroup.Result(error_code=MoveItErrorCodes(val=MoveItErrorCodes.FAILURE))
        until = time.monotonic() + MOTION_S
        while time.monotonic() < until:
            if handle.is_cancel_requested:
                handle.canceled()
                self.ends.publish(String(data="canceled"))
                return MoveGroup.Result()
            time.sleep(0.01)
        pose = place.constraint_region.primitive_poses[0]
        pose.orientation = turn.orientation
        assert place.link_name == turn.link_name == "tool"
        self.tool = bridge.pose_of_message(pose)
        handle.succeed()
        self.ends.publish(String(data="succeeded"))
        return MoveGroup.Result(error_code=MoveItErrorCodes(val=MoveItErrorCodes.SUCCESS))

    def grip(self, handle: Any) -> GripperCommand.Result:
        self.finger = handle.request.command.position / 2
        handle.succeed()
        return GripperCommand.Result(position=2 * self.finger, reached_goal=True)

    def tell(self) -> None:
        now = self.get_clock().now().to_msg()
        joints = JointState(name=["l_gripper_finger_joint", "r_gripper_finger_joint"], position=[self.finger] * 2)
        joints.header.stamp = now
        self.joints.publish(joints)
        transform = TransformStamped(child_frame_id="tool")
        transform.header.frame_id, transform.header.stamp = "map", now
        bridge.set_transform(transform.transform, self.tool)
        self.tf.publish(TFMessage(transforms=[transform]))


if __name__ == "__main__":
    rclpy.init()
    try:
        rclpy.spin(MoveItRobot(), executor=MultiThreadedExecutor(4))
    except (KeyboardInterrupt, ExternalShutdownException):
        pass
