"""The planner node with a robot in front of a wall, each in its own process."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from action_msgs.msg import GoalStatus
from diagnostic_msgs.msg import DiagnosticArray
from geometry_msgs.msg import PoseStamped, Twist
from lifecycle_msgs.msg import State, Transition
from lifecycle_msgs.srv import GetState
from nav_msgs.msg import Odometry
from rcl_interfaces.msg import Parameter, ParameterType, ParameterValue
from rcl_interfaces.srv import DescribeParameters, SetParameters
from rclpy.action import ActionClient
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile
from si_embodied_msgs.action import PlanTask
from si_embodied_msgs.msg import Code as CodeMessage
from si_embodied_msgs.msg import Plan
from std_msgs.msg import Bool, Float64

from si_embodied.ros_nodes.node.settings import RobotSettings
from si_embodied.ros_nodes.sensing.bridge import pose_of_message, seconds
from si_embodied.types import Code

WALL_M, STANDOFF_M, ARRIVED_M = 3.0, 0.6, 0.2
Ros = Any  # of conftest.py
LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
PLANNER, ROBOT = ["-m", "si_embodied.ros_nodes.planner_node"], [str(Path(__file__).parent / "wall_robot.py")]
STARTS_S, ANSWERS_S = 60.0, 30.0


def goto(u: int = 500, v: int = 500) -> str:
    subgoal = {"skill": "goto", "object": "wall", "view": 1, "point": [u, v]}
    return json.dumps({"subgoals": [subgoal], "done": False})


DONE = json.dumps({"subgoals": [], "done": True})
THERE_AND_BACK = "\n".join([goto(), json.dumps({"subgoals": [{"skill": "turn", "degrees": 170}], "done": False})] * 50)


def scripted(*answers: str, **more: Any) -> dict[str, Any]:
    return {"backend": "scripted", "script": "\n".join(answers), "autostart": True, **more}


def started(ros: Ros, parameters: dict[str, Any], **robot: Any) -> list[Plan]:
    """Start robot and planner; the list that collects the plans."""
    plans = ros.listen(Plan, "planner/plan", LATCHED)
    ros.start(ROBOT, robot)
    ros.start(PLANNER, parameters)
    return plans


def state(ros: Ros) -> int:
    return int(ros.call(GetState, "planner/get_state", GetState.Request()).current_state.id)


def set_parameter(ros: Ros, name: str, value: float | str) -> Any:
    kind = ParameterType.PARAMETER_STRING if isinstance(value, str) else ParameterType.PARAMETER_DOUBLE
    given = ParameterValue(type=kind, **{"string_value" if isinstance(value, str) else "double_value": value})
    request = SetParameters.Request(parameters=[Parameter(name=name, value=given)])
    return ros.call(SetParameters, "planner/set_parameters", request).results[0]


def images_seen(diagnostics: DiagnosticArray) -> int:
    """The number of images the planner has received, from its diagnostics."""
    values = {each.key: each.value for status in diagnostics.status for each in status.values}
    return int(values.get("images of head", 0))


def is_zero(twist: Twist) -> bool:
    return twist == Twist()


# --- tasks ----------------------------------------------------------------------------------------------------------


def test_a_task_through_the_action_drives_up_to_the_wall_and_ends_in_success(ros: Ros) -> None:
    plans = started(ros, scripted(goto(), DONE))
    odometry = ros.listen(Odometry, "odom")
    answer = ros.end(ros.task())
    assert answer.status == GoalStatus.STATUS_SUCCEEDED
    assert (answer.result.code, answer.result.plans, answer.result.subgoals) == (int(Code.OK), 2, 1)
    assert odometry[-1].pose.pose.position.x == pytest.approx(WALL_M - STANDOFF_M, abs=ARRIVED_M + 0.05)
    assert plans[0].subgoals[0].skill == "goto"
    assert plans[0].subgoals[0].target.x == pytest.approx(WALL_M, abs=0.02)


def test_a_camera_tilts_relative_to_its_current_angle(ros: Ros) -> None:
    """The current angle comes from /tf; the camera need not start level."""
    told = ros.listen(Float64, "head/tilt")
    look = json.dumps({"subgoals": [{"skill": "look", "direction": "up"}], "done": False})
    started(ros, scripted(look, DONE, **{"robot.tilt_topic": "head/tilt"}), tilt=-0.35)
    answer = ros.end(ros.task())
    assert (answer.result.code, answer.result.subgoals) == (int(Code.OK), 1)
    assert [each.data for each in told] == pytest.approx(
        [-0.35 + RobotSettings().embodiment(("head",)).tilt_step_rad], abs=1e-6
    )


@pytest.fixture(scope="module")
def busy(shared_ros: Ros) -> Ros:
    """A robot, and a planner whose task never ends."""
    shared_ros.plans = started(shared_ros, scripted(THERE_AND_BACK))
    shared_ros.velocities = shared_ros.listen(Twist, "cmd_vel")
    return shared_ros


def under_way(ros: Ros) -> Any:
    """Start a task and wait for its first plan."""
    before = len(ros.plans)
    handle = ros.task()
    ros.wait(lambda: len(ros.plans) > before, ANSWERS_S, "a plan")
    ros.velocities.clear()
    return handle


def test_an_empty_instruction_is_rejected(busy: Ros) -> None:
    assert not busy.task("  ").accepted


def test_a_cancelled_task_stops_the_robot(busy: Ros) -> None:
    handle = under_way(busy)
    busy.result(handle.cancel_goal_async(), ANSWERS_S, "the cancellation")
    answer = busy.end(handle)
    assert (answer.status, answer.result.code) == (GoalStatus.STATUS_CANCELED, int(Code.CANCELED))
    busy.wait(lambda: busy.velocities, ANSWERS_S, "zero velocity")
    assert all(is_zero(each) for each in busy.velocities)


def test_a_newer_task_replaces_the_current_one(busy: Ros) -> None:
    first, second = under_way(busy), busy.task("go to the other wall")
    answer = busy.end(first)
    assert (answer.status, answer.result.code) == (GoalStatus.STATUS_ABORTED, int(Code.CANCELED))
    assert "newer task" in answer.result.message
    busy.wait(lambda: busy.plans[-1].instruction == "go to the other wall", ANSWERS_S, "a plan for the second task")
    busy.result(second.cancel_goal_async(), ANSWERS_S, "the cancellation")
    busy.end(second)


def test_two_clients_get_their_own_results_and_cancel_only_their_own_tasks(busy: Ros) -> None:
    first = under_way(busy)
    other = Node("other_client", context=busy.context)
    busy.executor.add_node(other)
    client = ActionClient(other, PlanTask, "plan_task")
    try:
        busy.wait(client.server_is_ready, ANSWERS_S, "the action, seen by the other client")
        goal = PlanTask.Goal(instruction="go to the other wall", timeout_s=60.0)
        second = busy.result(client.send_goal_async(goal), ANSWERS_S, "the goal's acceptance")
        assert "newer task" in busy.end(first).result.message
        late = busy.result(first.cancel_goal_async(), ANSWERS_S, "an answer to a cancellation that comes too late")
        assert not late.goals_canceling
        seen = len(busy.plans)
        busy.wait(lambda: len(busy.plans) > seen, ANSWERS_S, "a plan for the second task, which goes on")
        assert busy.plans[-1].instruction == "go to the other wall"
        busy.result(second.cancel_goal_async(), ANSWERS_S, "the cancellation")
        assert busy.end(second).status == GoalStatus.STATUS_CANCELED
    finally:
        client.destroy()
        busy.executor.remove_node(other)
        other.destroy_node()


def test_the_emergency_stop_ends_the_task_and_holds_until_it_is_released(busy: Ros) -> None:
    handle = under_way(busy)
    stop = busy.node.create_publisher(Bool, "emergency_stop", 1)
    busy.wait(stop.get_subscription_count, ANSWERS_S, "a listener on emergency_stop")
    stop.publish(Bool(data=True))
    assert busy.end(handle).result.code == int(Code.EMERGENCY_STOP)
    busy.wait(lambda: busy.velocities, ANSWERS_S, "zero velocity")
    stop.publish(Bool(data=False))  # releases nothing
    assert not busy.task().accepted
    busy.release()
    handle = busy.task()
    busy.result(handle.cancel_goal_async(), ANSWERS_S, "the cancellation")
    busy.end(handle)


def test_a_task_that_takes_too_long_times_out(busy: Ros) -> None:
    answer = busy.end(busy.task(timeout_s=1.5))
    assert (answer.status, answer.result.code) == (GoalStatus.STATUS_ABORTED, int(Code.TIMED_OUT))


def test_parameters_are_described_checked_and_some_are_live(busy: Ros) -> None:
    request = DescribeParameters.Request(names=["planner.guard.max_plan_age_s"])
    described = busy.call(DescribeParameters, "planner/describe_parameters", request).descriptors[0]
    assert "image's stamp" in described.description
    assert described.floating_point_range
    assert set_parameter(busy, "planner.guard.max_plan_age_s", 7.5).successful
    assert not set_parameter(busy, "planner.guard.max_plan_age_s", -1.0).successful
    refused = set_parameter(busy, "backend", "local")
    assert not refused.successful
    assert "configure" in refused.reason


def test_a_deactivated_node_stops_and_accepts_no_task(busy: Ros) -> None:
    handle = under_way(busy)
    assert busy.change(Transition.TRANSITION_DEACTIVATE)
    assert busy.end(handle).result.code == int(Code.CANCELED)
    busy.wait(lambda: busy.velocities, ANSWERS_S, "zero velocity")
    assert not busy.task().accepted
    assert busy.change(Transition.TRANSITION_CLEANUP)
    assert busy.change(Transition.TRANSITION_CONFIGURE)
    assert busy.change(Transition.TRANSITION_ACTIVATE)
    busy.result(under_way(busy).cancel_goal_async(), ANSWERS_S, "the cancellation")


# --- the process ----------------------------------------------------------------------------------------------------


def test_a_failed_configuration_can_be_retried(ros: Ros) -> None:
    ros.start(PLANNER, {"backend": "server"})
    assert not ros.change(Transition.TRANSITION_CONFIGURE)
    assert state(ros) == State.PRIMARY_STATE_UNCONFIGURED
    assert set_parameter(ros, "script", DONE).successful
    assert set_parameter(ros, "backend", "scripted").successful
    assert ros.change(Transition.TRANSITION_CONFIGURE)
    assert state(ros) == State.PRIMARY_STATE_INACTIVE


# --- what goes wrong ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("robot", "code"),
    [
        ({"depth": False}, Code.NO_DEPTH),
        ({"images": False}, Code.NO_IMAGE),
        ({"stamp_offset_s": 0.5}, Code.STALE_OBSERVATION),
        ({"stamp_offset_s": -2.0}, Code.STALE_OBSERVATION),
        ({"tf_for_s": 0.0}, Code.NO_TRANSFORM),
    ],
    ids=["no depth", "no image", "camera's clock ahead", "camera's clock behind", "no transforms"],
)
def test_an_unreliable_robot_is_held_still(ros: Ros, robot: dict[str, Any], code: Code) -> None:
    settings = {"most_holds": 1, "observation_timeout_s": 1.5, "planner.guard.max_observation_age_s": 1.0}
    plans = started(ros, scripted(goto(), **settings), **robot)
    odometry, diagnostics = ros.listen(Odometry, "odom"), ros.listen(DiagnosticArray, "/diagnostics")
    ros.wait(lambda: odometry, STARTS_S, "odometry")
    if code is not Code.NO_IMAGE:
        ros.wait(lambda: diagnostics and images_seen(diagnostics[-1]), STARTS_S, "the planner's first image")
    answer = ros.end(ros.task())
    assert (answer.status, answer.result.code) == (GoalStatus.STATUS_ABORTED, int(code)), answer.result.message
    ros.wait(lambda: plans, ANSWERS_S, "the plan")
    assert [plan.code for plan in plans] == [int(code)]
    odometry.clear()
    ros.wait(lambda: odometry, ANSWERS_S, "odometry")
    assert odometry[-1].pose.pose.position.x == 0.0


def test_losing_transforms_while_driving_stops_the_robot(ros: Ros) -> None:
    """The transforms stop when the robot sets off on a drive of many seconds."""
    settings = {"most_holds": 1, "observation_timeout_s": 1.5, "navigation.stuck_s": 2.0}
    plans = started(ros, scripted(goto(), **settings), tf_until_goal=1, speed=0.1)
    diagnostics = ros.listen(DiagnosticArray, "/diagnostics")
    ros.wait(lambda: diagnostics and images_seen(diagnostics[-1]), STARTS_S, "the planner's first image")
    answer = ros.end(ros.task())
    assert (answer.status, answer.result.code) == (GoalStatus.STATUS_ABORTED, int(Code.NO_TRANSFORM))
    assert "known only" in answer.result.message
    ros.wait(lambda: len(plans) == 2, ANSWERS_S, "the refusal")
    assert [plan.code for plan in plans] == [0, int(Code.NO_TRANSFORM)]
    odometry = ros.listen(Odometry, "odom")
    ros.wait(lambda: len(odometry) > 20, ANSWERS_S, "odometry")
    assert odometry[0].pose.pose == odometry[-1].pose.pose
    assert 0.0 < odometry[0].pose.pose.position.x < WALL_M - STANDOFF_M - 0.5, "it stopped long before its goal"


def test_a_goal_is_grounded_at_the_pose_of_its_image(ros: Ros) -> None:
    """The robot drifts and turns while the model thinks for a second; what it saw straight ahead stays where it was.

    Where a ray straight ahead from the image's pose meets the wall is known in closed form.
    """
    odometry = ros.listen(Odometry, "odom", 1000)
    goals = ros.listen(PoseStamped, "goal_pose")
    plans = started(ros, scripted(goto(), script_delay_s=1.0), drift=0.3, spin=0.2)
    ros.wait(lambda: len(odometry) > 5, STARTS_S, "poses from before the image")
    handle = ros.task()
    ros.wait(lambda: plans and plans[0].code == 0 and goals, ANSWERS_S, "a plan and its goal")
    plan = plans[0]
    ros.wait(lambda: seconds(odometry[-1].header.stamp) > seconds(plan.decided), ANSWERS_S, "the pose after the plan")

    def ahead_y(at: Odometry) -> float:
        """The y of the point straight ahead on the wall; pixel (32, 24) is the image's centre."""
        base = pose_of_message(at.pose.pose)
        return float(base.translation[1] + math.tan(base.yaw) * (WALL_M - base.translation[0]))

    def seen_from(stamp_s: float) -> float:
        """The same at any time; on a busy machine the robot publishes its pose less often."""
        stamps, ahead = [seconds(at.header.stamp) for at in odometry], [ahead_y(at) for at in odometry]
        return float(np.interp(stamp_s, stamps, ahead))

    assert list(plan.subgoals[0].pixel) == [32.0, 24.0]
    true_y, later_y = seen_from(seconds(plan.header.stamp)), seen_from(seconds(plan.decided))
    assert abs(later_y - true_y) > 0.5, "by then another point is straight ahead"
    target = plan.subgoals[0].target
    assert math.dist((target.x, target.y), (WALL_M, true_y)) < 0.02
    stand = pose_of_message(goals[0].pose)
    facing_y = stand.translation[1] + math.tan(stand.yaw) * (WALL_M - stand.translation[0])
    assert facing_y == pytest.approx(true_y, abs=0.02), "the goal faces the point seen in the image"
    ros.result(handle.cancel_goal_async(), ANSWERS_S, "the cancellation")


def test_the_message_codes_match_the_core() -> None:
    wire = {name: getattr(CodeMessage, name) for name in dir(CodeMessage) if name.isupper() and name != "SLOT_TYPES"}
    assert wire == {code.name: int(code) for code in Code}
