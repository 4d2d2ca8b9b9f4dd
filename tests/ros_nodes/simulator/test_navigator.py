"""The simulator's own navigator, on a base that follows commands exactly."""

from __future__ import annotations

import dataclasses
import math

import pytest

from si_embodied import Observation, Pose
from si_embodied.embodiment import MobileBase
from si_embodied.ros_nodes.simulator.navigator import Navigator
from si_embodied.types import Code, Outcome

pytest.importorskip("scipy", reason="the navigator's map needs the extra sim")


@pytest.fixture
def driven(base: MobileBase) -> MobileBase:
    return dataclasses.replace(base, action_mode="continuous", control_period_s=0.25)


@pytest.fixture
def navigator(driven: MobileBase, wall_ahead: Observation) -> Navigator:
    """A navigator that has seen the floor in front of a wall at x = 3 m."""
    navigator = Navigator(driven)
    navigator.look(wall_ahead)
    return navigator


def drive(navigator: Navigator, pose: Pose, period_s: float, steps: int = 200) -> tuple[Pose, Outcome]:
    """Drive until the goal ends: the final pose and the outcome."""
    for _ in range(steps):
        step = navigator.step(pose)
        assert step is not None
        if isinstance(step, Outcome):
            return pose, step
        pose = pose @ Pose.planar(step[0] * period_s, 0.0, step[1] * period_s)
    raise AssertionError(f"still driving after {steps} steps")


def test_it_drives_to_a_pose_and_takes_its_heading(navigator: Navigator, driven: MobileBase) -> None:
    goal = Pose.planar(1.5, 0.3, math.pi / 2)
    navigator.go(goal)
    there, outcome = drive(navigator, Pose.identity(), driven.control_period_s)
    assert outcome.code is Code.OK
    assert math.hypot(*(there.translation - goal.translation)[:2]) < 0.1
    assert there.yaw == pytest.approx(goal.yaw, abs=0.05)


def test_a_base_that_does_not_move_is_blocked(navigator: Navigator) -> None:
    navigator.go(Pose.planar(1.5, 0.0, 0.0))
    outcomes = [step for _ in range(100) if isinstance(step := navigator.step(Pose.identity()), Outcome)]
    assert outcomes[0].code in (Code.BLOCKED, Code.UNREACHABLE)
    assert len(outcomes) == 1, "the outcome is returned once"


def test_without_a_goal_there_is_no_command(navigator: Navigator) -> None:
    assert navigator.step(Pose.identity()) is None
    navigator.go(Pose.planar(1.0, 0.0, 0.0))
    navigator.cancel()
    assert not navigator.busy
    assert navigator.step(Pose.identity()) is None


def test_it_waits_for_the_first_observation(driven: MobileBase) -> None:
    navigator = Navigator(driven)
    navigator.go(Pose.planar(1.0, 0.0, 0.0))
    assert navigator.step(Pose.identity()) is None
    assert navigator.busy
