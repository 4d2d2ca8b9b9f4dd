"""An arm driver that uses MoveIt. Needs moveit_msgs and control_msgs, which come with MoveIt."""

from __future__ import annotations

import math
import time
from typing import Any

from control_msgs.action import GripperCommand
from geometry_msgs.msg import Pose as PoseMessage
from moveit_msgs.action import MoveGroup
from moveit_msgs.msg import BoundingVolume, Constraints, MoveItErrorCodes, OrientationConstraint, PositionConstraint
from rclpy.action import ActionClient
from sensor_msgs.msg import JointState
from shape_msgs.msg import SolidPrimitive

from si_embodied.geometry import Pose
from si_embodied.ros_nodes.motion.openings import current_opening
from si_embodied.ros_nodes.motion.unanswered import UnansweredGoals
from si_embodied.ros_nodes.node.settings import ArmSettings
from si_embodied.ros_nodes.sensing import bridge

_WITHIN_M, _WITHIN_RAD = 0.002, 0.02
_ATTEMPTS, _PLANNING_S = 5, 5.0
_ANSWER_S = 5.0
"""How long a server may take to accept a goal; it accepts before it plans."""


class MoveItArm:
    """Sends each motion as a pose to MoveGroup (`move_action`) and a GripperCommand, both at once."""

    def __init__(self, node: Any, settings: ArmSettings, map_frame: str) -> None:
        """Create the action clients on `node`; poses are in `map_frame`."""
        self._node, self._settings, self._map_frame = node, settings, map_frame
        self._arm = ActionClient(node, MoveGroup, "move_action")
        self._gripper = ActionClient(node, GripperCommand, settings.gripper_action)
        self._number = 0  # of the current motion; replies to others are ignored
        self._handles: list[Any] = []  # of its accepted goals
        self._under_way = 0  # how many of its goals have not ended
        self._unanswered = UnansweredGoals(_ANSWER_S)
        self._ended = False
        self._joints: dict[str, tuple[float, float]] = {}  # position, and when it came
        self._subscription = node.create_subscription(JointState, "joint_states", self._on_joints, 10)

    def move(self, T_map_tool: Pose, opening_m: float) -> None:
        """See `ArmDriver`; if a server is not running the motion never ends, and the caller's timeout applies."""
        self._cancel()
        self._under_way = 2
        grip = GripperCommand.Goal()
        grip.command.position = opening_m * self._settings.gripper_scale_ratio
        grip.command.max_effort = self._settings.gripper_effort_n
        self._send(self._gripper, grip)
        self._send(self._arm, self._pose_goal(T_map_tool))

    @property
    def settled(self) -> bool:
        """Whether no goal can be accepted any more."""
        return self._unanswered.settled

    def cancel(self) -> None:
        """Cancel the motion; goals accepted only later are cancelled then. Controllers hold the arm where it stops."""
        self._cancel()

    def take_end(self) -> bool:
        """See `ArmDriver`."""
        ended, self._ended = self._ended, False
        return ended

    def opening_m(self) -> float | None:
        """The sum of the gripper's joint positions, which is the gap between two parallel fingers."""
        known = [self._joints.get(name, (math.nan, -math.inf)) for name in self._settings.gripper_joints]
        oldest_s = min(came_s for _, came_s in known)
        return current_opening(sum(position for position, _ in known), time.monotonic() - oldest_s)

    def close(self) -> None:
        """Cancel the motion, and release the clients and the subscription."""
        self._cancel()
        for client in (self._arm, self._gripper):
            client.destroy()
        self._node.destroy_subscription(self._subscription)

    def _pose_goal(self, T_map_tool: Pose) -> MoveGroup.Goal:
        """A goal for the tool frame, planned from the arm's current state."""
        place, turn = PositionConstraint(weight=1.0), OrientationConstraint(weight=1.0)
        for constraint in (place, turn):
            constraint.header.frame_id, constraint.link_name = self._map_frame, self._settings.tool_frame
        goal, settings = MoveGroup.Goal(), self._settings
        region = BoundingVolume(primitives=[SolidPrimitive(type=SolidPrimitive.SPHERE, dimensions=[_WITHIN_M])])
        region.primitive_poses = [_pose_message(T_map_tool)]
        place.constraint_region, turn.orientation = region, _pose_message(T_map_tool).orientation
        turn.absolute_x_axis_tolerance = turn.absolute_y_axis_tolerance = turn.absolute_z_axis_tolerance = _WITHIN_RAD
        request = goal.request
        request.goal_constraints = [Constraints(position_constraints=[place], orientation_constraints=[turn])]
        request.group_name, request.pipeline_id, request.planner_id = (
            settings.group,
            settings.pipeline,
            settings.planner,
        )
        request.num_planning_attempts, request.allowed_planning_time = _ATTEMPTS, _PLANNING_S
        request.max_velocity_scaling_factor = request.max_acceleration_scaling_factor = settings.speed_ratio
        request.start_state.is_diff = True  # relative to the current state: start there
        goal.planning_options.planning_scene_diff.is_diff = True
        goal.planning_options.planning_scene_diff.robot_state.is_diff = True
        return goal

    def _send(self, client: ActionClient, goal: Any) -> None:
        if not client.server_is_ready():
            self._node.get_logger().error("MoveIt or the gripper's controller is not running; its goal was not sent")
            return
        number = self._number
        ticket = self._unanswered.sent(client)
        sent = client.send_goal_async(goal)
        sent.add_done_callback(lambda future: self._on_response(number, ticket, future.result()))

    def _cancel(self) -> None:
        self._number += 1
        self._unanswered.drop()
        self._under_way, self._ended = 0, False
        for handle in self._handles:
            handle.cancel_goal_async()
        self._handles.clear()

    def _on_response(self, number: int, ticket: int, handle: Any) -> None:
        self._unanswered.answered(ticket)
        if number != self._number:
            if handle.accepted:
                handle.cancel_goal_async()
        elif handle.accepted:
            self._handles.append(handle)
            handle.get_result_async().add_done_callback(lambda future: self._on_result(number, handle, future.result()))
        else:
            self._node.get_logger().error("MoveIt or the gripper's controller rejected a goal")
            self._one_ended()

    def _on_result(self, number: int, handle: Any, answer: Any) -> None:
        if number != self._number:
            return
        self._handles.remove(handle)
        error = getattr(answer.result, "error_code", None)
        if error is not None and error.val != MoveItErrorCodes.SUCCESS:
            self._node.get_logger().error(f"MoveIt error {error.val}: {getattr(error, 'message', '')}".rstrip(": "))
        self._one_ended()

    def _one_ended(self) -> None:
        self._under_way -= 1
        self._ended = self._under_way == 0

    def _on_joints(self, message: JointState) -> None:
        now_s = time.monotonic()
        for name, position in zip(message.name, message.position, strict=False):
            if name in self._settings.gripper_joints:
                self._joints[name] = (float(position), now_s)


def _pose_message(pose: Pose) -> PoseMessage:
    message = PoseMessage()
    bridge.set_pose(message, pose)
    return message
