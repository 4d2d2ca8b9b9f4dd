"""The watchdog stops the robot when the planner dies or hangs, keeps the emergency stop, and lets one planner act."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest
from diagnostic_msgs.msg import DiagnosticArray
from geometry_msgs.msg import PoseStamped, Twist
from lifecycle_msgs.msg import Transition
from nav_msgs.msg import Odometry
from rcl_interfaces.srv import SetParameters
from rclpy.action import ActionServer, CancelResponse
from rclpy.parameter import Parameter
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from si_embodied_msgs.action import PlanTask
from std_msgs.msg import Bool, Header, String
from std_srvs.srv import SetBool

from si_embodied.types import Code

ROBOT = [str(Path(__file__).parent / "wall_robot.py")]
PLANNER, WATCHDOG = ["-m", "si_embodied.ros_nodes.planner_node"], ["-m", "si_embodied.ros_nodes.watchdog_node"]
ANSWERS_S, STANDS_S = 30.0, 0.8
SCRIPT = json.dumps({"subgoals": [{"skill": "turn", "degrees": 170}], "done": False})
SETTINGS = {"backend": "scripted", "script": SCRIPT, "autostart": True, "planner.guard.max_repeats": 1000}
LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)


class Robot:
    """The robot before the wall, its planner and its watchdog, each in a process of its own."""

    def __init__(self, ros: Any, **settings: Any) -> None:
        self.ros = ros
        self.goals = ros.listen(PoseStamped, "goal_pose")
        self.velocities = ros.listen(Twist, "cmd_vel")
        self.beats = ros.listen(Header, "planner_heartbeat")
        self.diagnostics = ros.listen(DiagnosticArray, "/diagnostics")
        self.moves: list[tuple[float, tuple[float, float, float]]] = []
        ros.node.create_subscription(Odometry, "odom", self._on_odometry, 10)
        ros.start(ROBOT, {"speed": 0.2})
        self.watchdog = ros.start(WATCHDOG)
        self.planner = ros.start(PLANNER, {**SETTINGS, **settings})

    def _on_odometry(self, message: Odometry) -> None:
        pose = message.pose.pose
        self.moves.append((time.monotonic(), (pose.position.x, pose.position.y, pose.orientation.z)))

    def drive(self) -> Any:
        """Start a task and wait until the base turns; the task's goal handle."""
        self.wait_until_heard()
        self.goals.clear()
        handle = self.ros.task()
        self.ros.wait(lambda: self.goals, ANSWERS_S, "a goal")
        self.moves.clear()
        self.ros.wait(lambda: len({pose for _, pose in self.moves}) > 3, ANSWERS_S, "a base that moves")
        return handle

    def wait_until_heard(self) -> None:
        """Wait until the watchdog names an active planner: "/planner (0f3a) is active"."""
        self.ros.wait(lambda: "(" in self.status("watchdog"), ANSWERS_S, "a watchdog that has heard a planner")

    def spin(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            self.ros.executor.spin_once(timeout_sec=0.02)

    def still_since(self) -> float | None:
        """When the base began to stand; None if it still moves."""
        last = self.moves[-1][1]
        moving = [stamp for stamp, pose in self.moves if pose != last]
        return None if not moving or self.moves[-1][0] - moving[-1] < 0.2 else moving[-1]

    def status(self, name: str) -> str:
        """The last message of a node's diagnostics."""
        found = [s.message for array in self.diagnostics for s in array.status if s.name.startswith(f"/{name}")]
        return str(found[-1]) if found else ""

    def watchdog_of_planner(self) -> str:
        """What the planner's diagnostics say about its watchdog."""
        found = [s.values for array in self.diagnostics for s in array.status if s.name.startswith("/planner")]
        return str({pair.key: pair.value for pair in found[-1]}["watchdog"]) if found else ""

    def kill(self, *processes: Any) -> float:
        """Kill the planner, or these processes, with SIGKILL; when."""
        for process in processes or (self.planner,):
            process.kill()
            process.communicate()
            self.ros.processes.remove(process)
        return time.monotonic()


def stood_after(robot: Robot, since_s: float) -> float:
    """Seconds until the base stood."""
    robot.ros.wait(lambda: robot.moves[-1][0] > since_s + 1.0 and robot.still_since(), ANSWERS_S, "a base that stands")
    return (robot.still_since() or 0.0) - since_s


def test_a_killed_planner_is_stopped_by_the_watchdog_and_its_successor_acts(ros: Any) -> None:
    robot = Robot(ros)
    robot.drive()
    robot.goals.clear()
    assert stood_after(robot, robot.kill()) < STANDS_S
    assert not robot.goals, "a stop never sends a goal"
    ros.wait(lambda: "heartbeat of /planner was lost" in robot.status("watchdog"), ANSWERS_S, "the diagnostics")
    robot.beats.clear()
    robot.planner = ros.start(PLANNER, SETTINGS)
    ros.wait(lambda: robot.beats, ANSWERS_S, "the successor's heartbeat")
    robot.spin(1.0)  # its action has been found too
    ros.result(robot.drive().cancel_goal_async(), ANSWERS_S, "the cancellation")


def test_a_planner_that_hangs_is_stopped_and_plans_again_when_it_wakes(ros: Any) -> None:
    robot = Robot(ros)
    robot.drive()
    os.kill(robot.planner.pid, signal.SIGSTOP)
    try:
        assert stood_after(robot, time.monotonic()) < STANDS_S
        robot.goals.clear()
    finally:
        os.kill(robot.planner.pid, signal.SIGCONT)
    ros.wait(lambda: robot.goals, ANSWERS_S, "a goal after a new plan")


def test_no_goal_starts_before_the_watchdog_has_named_the_planner(ros: Any) -> None:
    robot = Robot(ros, autostart=False)
    ros.wait(lambda: robot.watchdog_of_planner() == "has not heard this planner yet", ANSWERS_S, "the watchdog, found")
    os.kill(robot.watchdog.pid, signal.SIGSTOP)
    try:
        assert ros.change(Transition.TRANSITION_CONFIGURE)
        assert ros.change(Transition.TRANSITION_ACTIVATE)
        handle = ros.task()
        assert handle.accepted
        robot.spin(4.0)
        assert not robot.goals
    finally:
        os.kill(robot.watchdog.pid, signal.SIGCONT)
    ros.wait(lambda: robot.goals, ANSWERS_S, "a goal, once the watchdog has heard the planner")
    ros.result(handle.cancel_goal_async(), ANSWERS_S, "the cancellation")


def test_a_watchdog_that_is_killed_is_replaced_while_the_planner_drives_on(ros: Any) -> None:
    robot = Robot(ros)
    robot.drive()
    robot.kill(robot.watchdog)
    robot.diagnostics.clear()
    robot.velocities.clear()
    robot.watchdog = ros.start(WATCHDOG)
    robot.wait_until_heard()
    robot.spin(3.0)
    assert not robot.velocities, "neither stops the robot"
    assert stood_after(robot, robot.kill()) < STANDS_S


def test_a_planner_that_died_with_its_watchdog_is_stopped_by_the_next_one(ros: Any) -> None:
    robot = Robot(ros)
    robot.drive()
    robot.kill(robot.watchdog, robot.planner)
    robot.velocities.clear()
    robot.watchdog = ros.start(WATCHDOG)
    ros.wait(lambda: robot.velocities, ANSWERS_S, "zero velocity of a watchdog that hears no planner")
    robot.spin(8.0)
    robot.velocities.clear()
    robot.spin(1.0)
    assert not robot.velocities, "it stops the robot once: somebody else may drive it"


def test_every_goal_of_nav2_is_cancelled_whoever_sent_it(ros: Any) -> None:
    """Actions are cancelled through a service that is the same for every type, so this one stands in for Nav2's."""
    robot, cancelled = Robot(ros), []

    def on_cancel(handle: Any) -> CancelResponse:
        cancelled.append(handle)
        return CancelResponse.REJECT

    async def execute(handle: Any) -> PlanTask.Result:
        handle.succeed()
        return PlanTask.Result()

    def accepted(handle: Any) -> None:
        """Do not execute: the goal stays under way."""

    server = ActionServer(
        ros.node, PlanTask, "navigate_to_pose", execute, handle_accepted_callback=accepted, cancel_callback=on_cancel
    )
    try:
        client = ros.action(PlanTask, "navigate_to_pose")
        robot.wait_until_heard()
        robot.spin(1.0)  # if it was late, the watchdog has stopped the robot before
        cancelled.clear()
        ros.result(client.send_goal_async(PlanTask.Goal(instruction="a goal of Nav2")), ANSWERS_S, "its acceptance")
        robot.drive()
        assert not cancelled, robot.status("watchdog")
        robot.kill()
        ros.wait(lambda: len(cancelled) > 1, ANSWERS_S, "the cancellation, repeated")
    finally:
        server.destroy()


@pytest.mark.parametrize(
    "qos",
    [QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT), QoSProfile(depth=1), LATCHED],
    ids=["best effort", "reliable", "latched"],
)
def test_an_emergency_stop_is_heard_survives_a_kill_and_is_released_on_purpose(ros: Any, qos: QoSProfile) -> None:
    button = ros.node.create_publisher(Bool, "emergency_stop", qos)
    latched = qos.durability is DurabilityPolicy.TRANSIENT_LOCAL
    if latched:
        button.publish(Bool(data=True))  # before anybody listens
    robot = Robot(ros)
    if not latched:
        handle = robot.drive()
        for _ in range(3):  # a best-effort button repeats itself
            button.publish(Bool(data=True))
            robot.spin(0.1)
        assert ros.end(handle).result.code == int(Code.EMERGENCY_STOP)
    ros.wait(lambda: robot.status("planner") == "emergency stop", ANSWERS_S, "the planner's diagnostics")
    assert not ros.task().accepted
    ros.wait(lambda: robot.status("watchdog").startswith("emergency stop"), ANSWERS_S, "the watchdog's diagnostics")
    ros.node.destroy_publisher(button)  # from now on the watchdog alone knows
    robot.kill()
    robot.planner = ros.start(PLANNER, SETTINGS)
    robot.diagnostics.clear()
    ros.wait(lambda: robot.status("planner") == "emergency stop", ANSWERS_S, "the stop, after a respawn")
    assert not ros.task().accepted
    robot.velocities.clear()
    robot.spin(1.0)
    assert len(robot.velocities) > 5, "repeated until it is released, though the base stands: others may send goals"
    ros.release()
    ros.result(robot.drive().cancel_goal_async(), ANSWERS_S, "the cancellation")
    ros.wait(lambda: "active" in robot.status("watchdog"), ANSWERS_S, "the watchdog's release")


def test_an_emergency_stop_survives_a_restart_of_the_watchdog_and_then_of_the_planner(ros: Any) -> None:
    """The watchdog learns of it from its file, and from the planner if the file is lost."""
    button = ros.node.create_publisher(Bool, "emergency_stop", 1)
    robot = Robot(ros)
    robot.wait_until_heard()
    button.publish(Bool(data=True))
    ros.wait(lambda: robot.status("watchdog") == "emergency stop", ANSWERS_S, "the stop")
    ros.node.destroy_publisher(button)
    file = ros.folder / "si_embodied" / f"emergency_stop.domain_{ros.domain}"
    ros.wait(file.exists, ANSWERS_S, "the file")
    robot.kill(robot.watchdog)
    file.unlink()
    robot.diagnostics.clear()
    robot.watchdog = ros.start(WATCHDOG)
    ros.wait(lambda: "emergency stop" in robot.status("watchdog"), ANSWERS_S, "the stop, from the planner")
    ros.wait(file.exists, ANSWERS_S, "the file again, which a thread of its own writes")
    robot.kill(robot.watchdog, robot.planner)
    robot.diagnostics.clear()
    robot.watchdog = ros.start(WATCHDOG)
    ros.wait(lambda: "emergency stop" in robot.status("watchdog"), ANSWERS_S, "the stop, from the file")
    assert ros.call(SetBool, "watchdog/emergency_stop", SetBool.Request(data=False)).success
    ros.wait(lambda: not file.exists(), ANSWERS_S, "the file, deleted")


def test_a_watchdog_with_unusable_parameters_comes_up_and_refuses_changes(ros: Any) -> None:
    unusable = {"heartbeat_timeout_s": float("nan"), "watchdog_actions": [], "robot": {"tilt_topic": "head tilt"}}
    watchdog = ros.start(WATCHDOG, unusable)
    request = SetParameters.Request(parameters=[Parameter("heartbeat_timeout_s", value=1.0).to_parameter_msg()])
    (answer,) = ros.call(SetParameters, "watchdog/set_parameters", request).results
    assert not answer.successful
    assert "read when the watchdog starts" in answer.reason
    output = ros.stop(watchdog)
    assert all(f"refused a parameter: {name}" in output for name in ("heartbeat_t", "watchdog_a", "robot.tilt_topic"))


@pytest.mark.parametrize("name", ["planner", "other"])
def test_of_two_planners_the_first_acts_and_both_are_reported(ros: Any, name: str) -> None:
    robot = Robot(ros)
    ros.wait(lambda: robot.beats, ANSWERS_S, "the first planner's heartbeat")
    first = robot.beats[-1].frame_id.split()[0]
    chosen = ros.listen(String, "active_planner", LATCHED)
    ros.wait(lambda: chosen and chosen[-1].data == first, ANSWERS_S, "the watchdog's choice")
    second = ros.start([*PLANNER, "--ros-args", "-r", f"__node:={name}", "-r", "plan_task:=other_task"], SETTINGS)
    ros.wait(lambda: len({beat.frame_id.split()[0] for beat in robot.beats}) == 2, ANSWERS_S, "both heartbeats")
    ros.wait(lambda: "2 planners" in robot.status("watchdog"), ANSWERS_S, "the report")
    assert chosen[-1].data == first
    client = ros.action(PlanTask, "other_task")
    goal = PlanTask.Goal(instruction="go to the wall", timeout_s=60.0)
    robot.spin(0.5)
    assert not ros.result(client.send_goal_async(goal), ANSWERS_S, "the second planner's answer").accepted
    ros.result(robot.drive().cancel_goal_async(), ANSWERS_S, "the first planner still acts")
    robot.kill()
    ros.wait(lambda: chosen[-1].data not in (first, "nobody"), ANSWERS_S, "the second planner's turn")
    assert second.poll() is None


@pytest.mark.parametrize(
    "report",
    ['{"goal_stamp_ns": Infinity, "code": 0}', "[" * 200_000, f'{{"goal_stamp_ns": {"9" * 5000}, "code": 0}}', "[]"],
    ids=["Infinity", "deep", "big", "a list"],
)
def test_a_malformed_outcome_is_refused_and_named_and_the_node_plans_again(ros: Any, report: str) -> None:
    robot = Robot(ros)
    robot.drive()
    outcomes = ros.node.create_publisher(String, "navigation/outcome", 10)
    ros.wait(outcomes.get_subscription_count, ANSWERS_S, "a listener")
    robot.goals.clear()
    robot.velocities.clear()
    outcomes.publish(String(data=report))
    ros.wait(lambda: robot.velocities, ANSWERS_S, "zero velocity")
    ros.wait(lambda: robot.goals, ANSWERS_S, "a new plan's goal")
    assert robot.planner.poll() is None
    values = lambda: {v.key: v.value for array in robot.diagnostics for s in array.status for v in s.values}  # noqa: E731
    ros.wait(lambda: values().get("refused from navigation/outcome") == "1", ANSWERS_S, "the count in the diagnostics")
    assert "goal's outcome" in values()["last refusal"]
