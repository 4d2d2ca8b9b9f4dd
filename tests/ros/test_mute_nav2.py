"""Nav2 that is found but never answers a goal. The planner gives it up in time, and another planner may act."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from diagnostic_msgs.msg import DiagnosticArray
from lifecycle_msgs.msg import Transition
from nav2_planner import NavigateToPose
from rclpy.action import ActionServer
from rclpy.node import Node
from std_msgs.msg import Header

from si_embodied.types import Code

HERE = Path(__file__).parent
ANSWERS_S = 30.0
SCRIPT = json.dumps({"subgoals": [{"skill": "turn", "degrees": 90}], "done": False})
SETTINGS = {"backend": "scripted", "script": SCRIPT, "autostart": True, "navigation.navigator": "nav2"}


@pytest.fixture
def mute(ros: Any) -> Iterator[None]:
    """An action server that is never spun."""
    node = Node("mute_nav2", context=ros.context)
    server = ActionServer(node, NavigateToPose, "navigate_to_pose", lambda _: None)
    yield
    server.destroy()
    node.destroy_node()


class Deactivated:
    """A planner that was deactivated after a task that Nav2 never answered, and its watchdog."""

    def __init__(self, ros: Any, server_timeout_s: float) -> None:
        self.ros = ros
        self.beats: list[tuple[float, str]] = []  # when each came, and the state in it
        self.diagnostics = ros.listen(DiagnosticArray, "/diagnostics")
        ros.node.create_subscription(Header, "planner_heartbeat", self._on_beat, 10)
        ros.start([str(HERE / "wall_robot.py")])
        ros.start(["-m", "si_embodied.ros_nodes.watchdog_node"])
        ros.start([str(HERE / "nav2_planner.py")], {**SETTINGS, "navigation.server_timeout_s": server_timeout_s})
        ros.wait(lambda: "is active" in self.words, ANSWERS_S, "a watchdog that hears the planner")
        assert ros.end(ros.task(timeout_s=4.0)).result.code == int(Code.TIMED_OUT)
        assert ros.change(Transition.TRANSITION_DEACTIVATE)

    def _on_beat(self, beat: Header) -> None:
        self.beats.append((time.monotonic(), beat.frame_id.split()[2]))

    @property
    def words(self) -> str:
        """What the watchdog said last."""
        found = [each.message for array in self.diagnostics for each in array.status if "watchdog" in each.name]
        return found[-1] if found else ""

    def last_beat(self) -> str:
        """The state in the last heartbeat before 3 s of silence."""
        self.ros.wait(lambda: time.monotonic() - self.beats[-1][0] > 3.0, ANSWERS_S, "a silent planner")
        return self.beats[-1][1]


def test_a_mute_nav2_is_given_up_after_its_time(ros: Any, mute: None) -> None:
    robot = Deactivated(ros, server_timeout_s=1.0)
    assert robot.last_beat() == "inactive", "the planner says that it has stopped the robot"
    ros.wait(lambda: robot.words == "no planner is active", 4.0, "a watchdog that waits for the next planner")


def test_a_planner_that_never_settles_falls_silent_and_the_watchdog_stops_the_robot(ros: Any, mute: None) -> None:
    """As if Nav2 might still answer: until 10.5 s after the deactivation."""
    robot = Deactivated(ros, server_timeout_s=1000.0)
    assert robot.last_beat() == "acting"
    ros.wait(lambda: "was lost: the robot was stopped" in robot.words, 4.0, "a watchdog that has stopped the robot")
