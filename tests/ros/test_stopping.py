"""However a task is stopped, its goal is canceled and zero velocity is published within 100 ms."""

from __future__ import annotations

import json
import math
import signal
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from geometry_msgs.msg import PoseStamped, Twist
from lifecycle_msgs.msg import Transition
from nav_msgs.msg import Odometry
from std_msgs.msg import Bool, Empty
from std_srvs.srv import SetBool

from si_embodied.types import Code

PLANNER, ROBOT = ["-m", "si_embodied.ros_nodes.planner_node"], [str(Path(__file__).parent / "wall_robot.py")]
ANSWERS_S, STOPS_S = 30.0, 0.1
TURN = json.dumps({"subgoals": [{"skill": "turn", "degrees": 170}], "done": False})


@dataclass
class Driving:
    """A robot that turns until it is stopped, and the times at which commands were sent."""

    ros: Any
    planner: Any
    goals: list[tuple[float, PoseStamped]] = field(default_factory=list)  # with time.monotonic() of the arrival
    cancels: list[tuple[float, Empty]] = field(default_factory=list)
    velocities: list[tuple[float, Twist]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.odometry = self.ros.listen(Odometry, "odom")
        self._listen(PoseStamped, "goal_pose", self.goals)
        self._listen(Empty, "navigation/cancel", self.cancels)
        self._listen(Twist, "cmd_vel", self.velocities)

    def _listen(self, kind: Any, topic: str, heard: list[Any]) -> None:
        self.ros.node.create_subscription(kind, topic, lambda message: heard.append((time.monotonic(), message)), 10)

    def under_way(self, timeout_s: float = 60.0) -> Any:
        """Start a task and wait until its first goal is being executed; the task's goal handle."""
        self.goals.clear()
        handle = self.ros.task(timeout_s=timeout_s)
        self.ros.wait(lambda: self.goals, ANSWERS_S, "a goal")
        self.goals.clear()
        self.cancels.clear()
        self.velocities.clear()
        return handle

    def delays(self, stopped_s: float) -> tuple[float, float]:
        """Seconds from the stop to the goal's cancellation, and to zero velocity."""
        self.ros.wait(lambda: self.cancels and self.velocities, ANSWERS_S, "the goal's cancellation and zero velocity")
        assert all(velocity == Twist() for _, velocity in self.velocities)
        assert not self.goals, "a stop never sends a goal"
        return self.cancels[0][0] - stopped_s, self.velocities[0][0] - stopped_s

    def assert_still(self) -> None:
        """Check that the robot stands still and gets no new goal."""
        self.odometry.clear()
        self.ros.wait(lambda: len(self.odometry) > 8, ANSWERS_S, "odometry")
        first, last = self.odometry[1].pose.pose, self.odometry[-1].pose.pose
        assert math.dist((first.position.x, first.orientation.z), (last.position.x, last.orientation.z)) < 1e-6


def started(ros: Any, **more: Any) -> Driving:
    """Robot and planner, each in its own process."""
    ros.start(ROBOT, {"speed": 0.3})
    script = {"backend": "scripted", "script": TURN, "autostart": True, "planner.guard.max_repeats": 1000}
    return Driving(ros, ros.start(PLANNER, {**script, **more}))


@pytest.fixture(scope="module")
def driving(shared_ros: Any) -> Iterator[Driving]:
    return started(shared_ros)


def emergency_stop(driving: Driving, handle: Any) -> None:
    driving.ros.stop_topic.publish(Bool(data=True))


def emergency_service(driving: Driving, handle: Any) -> None:
    driving.ros.stop_service.call_async(SetBool.Request(data=True))


def cancel(driving: Driving, handle: Any) -> None:
    handle.cancel_goal_async()


@pytest.mark.parametrize(
    ("stop", "code"),
    [(cancel, Code.CANCELED), (emergency_stop, Code.EMERGENCY_STOP), (emergency_service, Code.EMERGENCY_STOP)],
    ids=["cancel", "emergency stop by topic", "emergency stop by service"],
)
def test_a_stop_request_stops_the_robot(driving: Driving, stop: Callable[[Driving, Any], None], code: Code) -> None:
    ros, seen = driving.ros, []
    ros.stop_topic = ros.node.create_publisher(Bool, "emergency_stop", 1)
    ros.stop_service = ros.node.create_client(SetBool, "planner/emergency_stop")
    for _ in range(3):
        handle = driving.under_way()
        ros.wait(ros.stop_topic.get_subscription_count, ANSWERS_S, "a listener on emergency_stop")
        ros.wait(ros.stop_service.service_is_ready, ANSWERS_S, "the service")
        stopped_s = time.monotonic()
        stop(driving, handle)
        seen.append(max(driving.delays(stopped_s)))
        assert ros.end(handle).result.code == int(code)
        driving.assert_still()
        ros.release()
    assert statistics.median(seen) < STOPS_S


def test_a_timeout_stops_the_robot(driving: Driving) -> None:
    seen = []
    for _ in range(3):
        handle, accepted_s = driving.under_way(timeout_s=1.5), time.monotonic()
        seen.append(max(driving.delays(accepted_s + 1.5)))  # the task began before its first goal was heard
        assert driving.ros.end(handle).result.code == int(Code.TIMED_OUT)
        driving.assert_still()
    assert statistics.median(seen) < STOPS_S


def test_the_next_tasks_goal_comes_after_the_last_message_of_the_stop(driving: Driving) -> None:
    for _ in range(3):
        driving.under_way()
        sent_s = time.monotonic()
        handle = driving.ros.task()  # ends the other one
        driving.ros.wait(lambda: driving.goals, ANSWERS_S, "the next task's goal")
        quiet_s = driving.goals[0][0] - max(driving.velocities[-1][0], driving.cancels[-1][0])
        assert quiet_s > 0.1, "0.2 s, but a busy machine hears late"
        assert driving.goals[0][0] - sent_s < 2.0
        driving.ros.result(handle.cancel_goal_async(), ANSWERS_S, "the cancellation")


def test_deactivation_stops_the_robot(driving: Driving) -> None:
    seen = []
    for _ in range(3):
        handle = driving.under_way()
        stopped_s = time.monotonic()
        assert driving.ros.change(Transition.TRANSITION_DEACTIVATE)
        seen.append(max(driving.delays(stopped_s)))
        assert driving.ros.end(handle).result.code == int(Code.CANCELED)
        driving.assert_still()
        assert driving.ros.change(Transition.TRANSITION_ACTIVATE)
    assert statistics.median(seen) < STOPS_S


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_stops_the_robot_and_exits_cleanly(ros: Any, number: int) -> None:
    driving = started(ros)
    handle = driving.under_way()
    future = handle.get_result_async()
    stopped_s = time.monotonic()
    driving.planner.send_signal(number)
    assert max(driving.delays(stopped_s)) < STOPS_S
    assert ros.result(future, ANSWERS_S, "the task's end").result.code == int(Code.CANCELED)
    driving.assert_still()
    ros.wait(lambda: driving.planner.poll() == 0, ANSWERS_S, "a clean end of the planner")


def test_an_interrupt_during_planning_exits_quickly_and_cleanly(ros: Any) -> None:
    """The node does not wait for the answer, which takes a minute."""
    driving = started(ros, script_delay_s=60.0)
    ros.task()
    stopped_s = time.monotonic()
    driving.planner.send_signal(signal.SIGINT)
    ros.wait(lambda: driving.velocities, ANSWERS_S, "zero velocity")
    ros.wait(lambda: driving.planner.poll() == 0, ANSWERS_S, "a clean end of the planner")
    assert time.monotonic() - stopped_s < 5.0


def test_shutdown_stops_the_robot_and_reports_the_task(ros: Any) -> None:
    driving = started(ros)
    handle = driving.under_way()
    future = handle.get_result_async()
    stopped_s = time.monotonic()
    assert ros.change(Transition.TRANSITION_ACTIVE_SHUTDOWN)
    assert max(driving.delays(stopped_s)) < 2 * STOPS_S, "the service had to be found first"
    assert ros.result(future, ANSWERS_S, "the task's end").result.code == int(Code.CANCELED)
    driving.assert_still()
