"""The end of an arm's goal, also where its driver reports none."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="the drivers' messages")

from si_embodied.embodiment import TableArm
from si_embodied.geometry import Pose
from si_embodied.ros_nodes.motion.arm_client import MOTION_TIMEOUT_S, STUCK_S, UNKNOWN_S, ArmClient
from si_embodied.skills import Goal, GoHome, Grasp, Release
from si_embodied.types import Code


class LostMotions:
    """A driver that loses every motion, on a robot of which `x_m` says where the tool is."""

    def __init__(self) -> None:
        self.now_s, self.x_m, self.sent, self.cancels = 100.0, 0.5, 0, 0
        self.settled, self.ended, self.posed, self.obeys = True, False, True, False
        self.asked = Pose.identity()  # by the last motion

    def move(self, T_map_tool: Pose, opening_m: float) -> None:
        self.sent, self.asked = self.sent + 1, T_map_tool

    def cancel(self) -> None:
        self.cancels += 1

    def take_end(self) -> bool:
        ended, self.ended = self.ended, False
        return ended

    def opening_m(self) -> float:
        return 0.05

    def close(self) -> None:
        pass

    def tool(self) -> Pose | None:
        if not self.posed:
            return None
        return self.asked if self.obeys else Pose.from_rpy(np.pi, 0.0, 0.0, (self.x_m, 0.2, 0.4))


def started(arm: TableArm, goal: Goal | None = None) -> tuple[ArmClient, LostMotions]:
    driver = LostMotions()
    stop: Any = SimpleNamespace(release=lambda: None, apply=lambda: None)
    client = ArmClient(arm, driver, stop=stop, clock=lambda: driver.now_s, tool_now=driver.tool)
    client.start(goal or GoHome(), Pose.identity())
    return client, driver


def test_a_goal_that_fails_without_a_motion_ends_at_once(arm: TableArm) -> None:
    client, driver = started(arm, Release(np.array([0.5, 0.0, 0.4])))
    outcome = client.poll()
    assert driver.sent == 0
    assert outcome is not None
    assert outcome.code is Code.SKILL_FAILED
    assert "holds nothing" in outcome.message
    assert client.poll() is None, "an outcome is returned once"


def test_an_arm_that_does_not_move_is_blocked(arm: TableArm) -> None:
    client, driver = started(arm)
    assert driver.sent == 1
    assert client.poll() is None
    driver.now_s += STUCK_S - 0.1
    assert client.poll() is None
    driver.now_s += 0.2
    outcome = client.poll()
    assert outcome is not None
    assert outcome.code is Code.BLOCKED
    assert "has not moved for 10 s" in outcome.message
    assert driver.cancels == 1
    assert client.poll() is None, "an outcome is returned once"


def test_an_arm_that_moves_slowly_has_its_time(arm: TableArm) -> None:
    client, driver = started(arm)
    for _ in range(int(MOTION_TIMEOUT_S / 5)):
        driver.now_s, driver.x_m = driver.now_s + 5.0, driver.x_m + 0.01
        assert client.poll() is None
    driver.now_s, driver.x_m = driver.now_s + 1.0, driver.x_m + 0.01
    outcome = client.poll()
    assert outcome is not None
    assert outcome.code is Code.TIMED_OUT


def test_no_goal_starts_without_a_pose(arm: TableArm) -> None:
    """Waiting for one would start an older plan."""
    client, driver = started(arm)
    driver.posed = False
    client.start(GoHome(), Pose.identity())
    outcome = client.poll()
    assert outcome is not None
    assert outcome.code is Code.NO_TRANSFORM
    driver.posed = True
    assert client.poll() is None
    assert driver.sent == 1, "the first goal's motion"


def test_between_two_motions_an_arm_waits_for_its_pose(arm: TableArm) -> None:
    client, driver = started(arm, Grasp(Pose.from_rpy(np.pi, 0.0, 0.0, (0.5, 0.2, 0.4)), 0.05, 0.05))
    driver.posed, driver.ended, driver.obeys = False, True, True
    assert client.poll() is None
    driver.now_s += UNKNOWN_S - 0.1
    assert client.poll() is None
    assert driver.sent == 1, "nothing moves on an old pose"
    driver.posed = True
    assert client.poll() is None
    assert driver.sent == 2


def test_an_arm_that_has_moved_waits_for_its_pose_to_judge_where_it_is(arm: TableArm) -> None:
    client, driver = started(arm)
    driver.posed, driver.ended = False, True
    assert client.poll() is None
    driver.now_s, driver.posed = driver.now_s + UNKNOWN_S - 0.1, True
    outcome = client.poll()
    assert outcome is not None
    assert "did not get home" in outcome.message, "not that its pose is unknown"


def test_an_arm_whose_pose_stays_unknown_gives_up(arm: TableArm) -> None:
    client, driver = started(arm)
    driver.posed, driver.ended = False, True
    assert client.poll() is None
    driver.now_s += UNKNOWN_S
    outcome = client.poll()
    assert outcome is not None
    assert outcome.code is Code.NO_TRANSFORM
    assert driver.cancels == 1
