"""`si-embodied ros check`: the pilot's checklist on a robot whose geometry is known, and the supervised first goal."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from geometry_msgs.msg import PoseStamped, Twist
from rclpy.qos import DurabilityPolicy, QoSProfile
from std_msgs.msg import Bool, String

from si_embodied.ros_nodes.checks import first_goal
from si_embodied.ros_nodes.checks.pilot import Pilot

ROBOT = [str(Path(__file__).parent / "wall_robot.py")]
PLANNER, WATCHDOG = ["-m", "si_embodied.ros_nodes.planner_node"], ["-m", "si_embodied.ros_nodes.watchdog_node"]
CHECK = [sys.executable, "-m", "si_embodied.cli.main", "ros", "check", "--json", "--seconds", "4"]
GOTO = json.dumps({"subgoals": [{"skill": "goto", "object": "wall", "view": 1, "point": [500, 500]}], "done": False})
DONE = json.dumps({"subgoals": [], "done": True})
SETTINGS = {
    "backend": "scripted", "script": f"{GOTO}\n{DONE}", "autostart": True, "navigation.navigator": "topic",
    "planner.guard.max_observation_age_s": 20.0, "observation_timeout_s": 20.0,  # a busy machine is no fault here
}  # fmt: skip
LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
STARTS_S, CHECKS_S = 240.0, 300.0
pytestmark = pytest.mark.timeout(700)


class Robot:
    """The robot before the wall with planner and watchdog, and what it was told to do."""

    def __init__(self, ros: Any, *, watchdog: bool = True, planner: bool = True, **robot: Any) -> None:
        self.ros = ros
        self.goals, self.velocities = ros.listen(PoseStamped, "goal_pose"), ros.listen(Twist, "cmd_vel")
        self.named = ros.listen(String, "active_planner", LATCHED)
        ros.start(ROBOT, robot)
        if watchdog:
            ros.start(WATCHDOG)
        if planner:
            ros.start(PLANNER, SETTINGS)
        if watchdog and planner:
            ros.wait(lambda: self.named and self.named[-1].data not in ("", "nobody"), STARTS_S, "an active planner")
            self.velocities.clear()

    def check(self, *arguments: str, answer: str = "", press: bool = False) -> tuple[int, dict[str, Any], str]:
        """Run the check; its exit code, the findings of its reports by name, and what it printed.

        With `press`, the stop is pressed when the check asks for it, and then released.
        """
        log = self.ros.folder / "check.txt"
        with log.open("w") as output:
            process = subprocess.Popen(
                [*CHECK, *arguments], env={**self.ros.environment, "PYTHONUNBUFFERED": "1"}, stdin=subprocess.PIPE,
                stdout=output, stderr=subprocess.STDOUT, text=True,
            )  # fmt: skip
        assert process.stdin is not None
        process.stdin.write(answer)
        process.stdin.close()
        button, released = self.ros.node.create_publisher(Bool, "emergency_stop", 1), not press

        def ended() -> bool:
            nonlocal released
            if not released and "press the emergency stop" in log.read_text():
                button.publish(Bool(data=True))
            if not released and "now release it" in log.read_text():
                self.ros.release()
                released = True
            return process.poll() is not None

        try:
            self.ros.wait(ended, CHECKS_S, "the end of the check")
        except AssertionError as late:
            raise AssertionError(f"{late}; it printed:\n{log.read_text()}") from None
        finally:
            process.kill()
        printed = log.read_text()
        reports = [json.loads(line) for line in printed.splitlines() if line.startswith('{"verdict"')]
        assert reports, printed
        findings = {each["what"]: each for report in reports for each in report["findings"]}
        return int(process.wait()), findings, printed


def test_a_good_robot_passes_and_nothing_moves_it(ros: Any) -> None:
    """The camera is 1 m above the floor, looks ahead and sees wall and floor: all by construction."""
    robot = Robot(ros)
    code, found, printed = robot.check("--press-stop", "20", press=True)
    assert {
        each["what"]: each["verdict"] for each in found.values() if each["verdict"] not in ("fine", "note")
    } == {}, printed
    assert code == 0
    mount = "at (0.00, 0.00, 1.00) m in the base's frame, looks +0° up and +0° left, rolled by 0°"
    assert mount in found["head: mount"]["says"]
    assert found["head: floor"]["verdict"] == "fine"
    assert found["watchdog"]["verdict"] == "fine"
    assert "heard while you pressed it" in found["emergency stop"]["says"]
    assert not robot.goals


def test_a_robot_without_watchdog_and_depth_fails_by_name(ros: Any) -> None:
    robot = Robot(ros, watchdog=False, planner=False, depth=False)
    code, found, _ = robot.check()
    assert code == 1
    assert found["watchdog"]["verdict"] == found["planner"]["verdict"] == found["emergency stop"]["verdict"] == "off"
    assert found["images on head/depth"]["verdict"] == "off"
    assert found["head: depth"]["verdict"] == "note"
    for each in found.values():
        assert each["verdict"] in ("fine", "note") or each["fix"]
    assert not robot.goals
    assert not robot.velocities, "the check publishes nothing"


def test_a_clock_that_is_ahead_is_told_with_the_planner_s_own_words(ros: Any) -> None:
    _, found, _ = Robot(ros, watchdog=False, planner=False, stamp_offset_s=0.6).check()
    assert "STALE_OBSERVATION" in found["sensors, transforms and registration"]["says"]
    assert "ahead of the clock" in found["images on head/image_raw"]["says"]


def test_a_stop_that_nobody_presses_is_unknown_and_allows_no_first_goal(ros: Any) -> None:
    robot = Robot(ros)
    code, found, _ = robot.check("--first-goal", "go to the wall", answer="go\n")
    assert found["emergency stop"]["verdict"] == "unknown"
    assert code == 1
    assert found["first goal"]["says"] == "not sent"
    assert not robot.goals


@pytest.mark.parametrize("answer", ["go\n", "\n"])
def test_the_first_goal_is_sent_only_when_the_pilot_says_go(ros: Any, answer: str) -> None:
    robot = Robot(ros)
    arguments = ("--press-stop", "30", "--first-goal", "go to the wall")
    code, found, printed = robot.check(*arguments, answer=answer, press=True)
    if answer == "go\n":
        assert code == 0, printed
        assert robot.goals
        assert found["first goal"]["verdict"] == "fine"
    else:
        assert code == 1
        assert "you did not type go" in found["first goal"]["says"]
        assert not robot.goals


def test_a_planner_that_does_not_answer_the_first_goal_is_stopped(ros: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """It could still accept the task when the check is over and nobody watches."""
    ros.start([str(Path(__file__).parent / "mute_planner.py")])
    told = ros.listen(Bool, "told_to_stop")
    monkeypatch.setenv("ROS_DOMAIN_ID", ros.environment["ROS_DOMAIN_ID"])
    monkeypatch.setattr(first_goal, "_ACCEPTS_S", 5.0)
    pilot = Pilot([], print)
    try:
        names = lambda: [name for name, _ in pilot.node.get_service_names_and_types()]  # noqa: E731
        assert pilot.wait(STARTS_S, lambda: "/plan_task/_action/send_goal" in names())
        found = first_goal.first_goal(pilot, "go to the wall", 10.0, print)
    finally:
        pilot.close()
    assert (found.verdict, found.says) == ("off", "the planner did not answer")
    assert found.fix.startswith("the emergency stop is set")
    ros.wait(lambda: told, 10.0, "the stop")
    assert told[-1].data


def test_the_doctor_measures_the_rate_of_a_camera(ros: Any) -> None:
    ros.start(ROBOT)
    command = [sys.executable, "-m", "si_embodied.cli.main", "doctor", "--deploy", "--json"]
    topics = ["--topic", "/head/image_raw", "--topic", "/nothing/here"]
    done = subprocess.run([*command, *topics], env=ros.environment, capture_output=True, text=True, timeout=CHECKS_S)
    found = {each["what"]: each for each in json.loads(done.stdout)["findings"]}
    assert "Hz" in found["images on /head/image_raw"]["says"], done.stderr
    assert "none within 5 s" in found["images on /nothing/here"]["says"]
    assert done.returncode == 1
