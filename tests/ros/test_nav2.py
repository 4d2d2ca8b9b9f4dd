"""The planner node with Nav2's action; planner, Nav2 and robot each run in their own process."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
from action_msgs.msg import GoalStatus
from geometry_msgs.msg import Twist
from nav_msgs.msg import Odometry
from std_msgs.msg import String

pytest.importorskip("nav2_msgs", reason="it comes with Nav2, not from PyPI")

from si_embodied.types import Code

HERE = Path(__file__).parent
PLANNER = ["-m", "si_embodied.ros_nodes.planner_node"]
WALL_M, STANDOFF_M, ANSWERS_S, STOPS_S = 3.0, 0.6, 30.0, 0.1
GOTO = json.dumps({"subgoals": [{"skill": "goto", "object": "wall", "view": 1, "point": [500, 500]}], "done": False})
DONE = json.dumps({"subgoals": [], "done": True})


def started(ros: Any, *answers: str, speed: float = 1.5, reachable: bool = True) -> list[String]:
    """Start robot, Nav2 and planner. Returns the outcomes of Nav2's goals."""
    ends: list[String] = ros.listen(String, "ends")
    ros.start([str(HERE / "wall_robot.py")], {"speed": speed})
    ros.start([str(HERE / "nav2_server.py")], {"reachable": reachable})
    script = {"backend": "scripted", "script": "\n".join(answers), "autostart": True}
    ros.start(PLANNER, {**script, "navigation.navigator": "nav2", "navigation.server_timeout_s": 15.0})
    return ends


def test_a_task_is_driven_by_nav2(ros: Any) -> None:
    ends, odometry = started(ros, GOTO, DONE), ros.listen(Odometry, "odom")
    answer = ros.end(ros.task())
    assert (answer.status, answer.result.code) == (GoalStatus.STATUS_SUCCEEDED, int(Code.OK))
    assert answer.result.subgoals == 1
    assert [each.data for each in ends] == ["succeeded"]
    assert odometry[-1].pose.pose.position.x == pytest.approx(WALL_M - STANDOFF_M, abs=0.15)


def test_a_cancelled_task_is_cancelled_at_nav2_within_100_ms(ros: Any) -> None:
    ends, odometry = started(ros, GOTO, speed=0.3), ros.listen(Odometry, "odom")
    velocities = ros.listen(Twist, "cmd_vel")
    handle = ros.task()
    ros.wait(lambda: odometry and odometry[-1].pose.pose.position.x > 0.1, ANSWERS_S, "the robot on its way")
    velocities.clear()
    stopped_s = time.monotonic()
    handle.cancel_goal_async()
    ros.wait(lambda: ends and velocities, ANSWERS_S, "Nav2's cancellation and zero velocity")
    assert time.monotonic() - stopped_s < 2 * STOPS_S, "100 ms, plus as much for Nav2's response"
    assert ends[0].data == "canceled"
    assert velocities[0] == Twist()
    assert ros.end(handle).result.code == int(Code.CANCELED)


def test_a_goal_that_nav2_cannot_reach_counts_as_a_failure_and_is_replanned(ros: Any) -> None:
    started(ros, GOTO, DONE, reachable=False)
    result = ros.end(ros.task()).result
    assert (result.code, result.subgoals, result.failures) == (int(Code.OK), 0, 1)
