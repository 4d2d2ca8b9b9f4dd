"""Outcomes of a mobile base's goals, with a navigator that arrives immediately."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from si_embodied.geometry import Pose
from si_embodied.ros_nodes.motion.navigation_client import NavigationClient
from si_embodied.ros_nodes.node.settings import NodeSettings
from si_embodied.skills import ExploreFrontier, Goal, GoHome, NavigateTo, Rotate
from si_embodied.types import Code, Outcome

HERE = Pose.identity()
STILL = SimpleNamespace(poll=lambda: None, cancel=lambda: None, level=lambda: False)


class Stop:
    """Counts the stops."""

    applied = 0

    def apply(self) -> None:
        self.applied += 1

    def release(self) -> None:
        self.applied = 0


class Arrives:
    """A navigator that arrives immediately."""

    def __init__(self) -> None:
        self.poses: list[Pose] = []

    def go(self, T_map_base: Pose) -> None:
        self.poses.append(T_map_base)

    def poll(self) -> Outcome | None:
        return Outcome(Code.OK)

    def cancel(self) -> None:
        """It has arrived already."""


@pytest.mark.parametrize("code", [Code.OK, Code.NO_STANDOFF])
def test_an_arrival_ends_as_the_goal_says_and_the_next_goal_as_its_own(code: Code) -> None:
    navigator = Arrives()
    client = NavigationClient(NodeSettings(), navigator, stop=Stop(), tilt=STILL, next_pose=lambda: None)
    client.start(NavigateTo(Pose.planar(1.0, 0.0, 0.0), np.array([4.0, 0.0, 0.5]), on_arrival=code), HERE)
    assert client.poll() == Outcome(code)
    client.start(Rotate(1.0), HERE)
    assert client.poll() == Outcome(Code.OK)
    assert len(navigator.poses) == 2


def test_a_goal_of_an_arm_fails_and_stops_the_base() -> None:
    navigator, stop = Arrives(), Stop()
    client = NavigationClient(NodeSettings(), navigator, stop=stop, tilt=STILL, next_pose=lambda: None)
    client.start(GoHome(), HERE)
    assert client.poll() == Outcome(Code.SKILL_FAILED, "a mobile base cannot execute GoHome")
    assert not navigator.poses
    assert stop.applied == 1


class Tilts:
    """A camera that has to be levelled, and is when the test says so."""

    def __init__(self) -> None:
        self.outcome: Outcome | None = None

    def level(self) -> bool:
        return True

    def poll(self) -> Outcome | None:
        return self.outcome

    def cancel(self) -> None:
        """Nothing is under way in this test."""


@pytest.mark.parametrize("code", [Code.OK, Code.BLOCKED])
@pytest.mark.parametrize("goal", [ExploreFrontier(), NavigateTo(Pose.planar(1.0, 0.0, 0.0), np.zeros(3))])
def test_the_base_drives_once_the_camera_is_level_or_does_not_move(goal: Goal, code: Code) -> None:
    navigator, tilt = Arrives(), Tilts()
    client = NavigationClient(NodeSettings(), navigator, stop=Stop(), tilt=tilt, next_pose=lambda: HERE)
    client.start(goal, HERE)
    assert client.poll() is None
    assert not navigator.poses
    tilt.outcome = Outcome(code)
    assert client.poll() is None
    tilt.outcome = None
    assert len(navigator.poses) == 1
    assert client.poll() == Outcome(Code.OK)


@pytest.mark.parametrize(("angle", "parts"), [(1.5, 1), (-3.1, 1), (6.2831853, 7), (-4.0, 4)])
def test_a_turn_of_more_than_half_a_circle_goes_out_in_parts(angle: float, parts: int) -> None:
    """Of at most a look_step_rad of 1 rad each: the pose after a full turn is where the base stands already."""
    navigator = Arrives()
    client = NavigationClient(NodeSettings(), navigator, stop=Stop(), tilt=STILL, next_pose=lambda: None)
    client.start(Rotate(angle), Pose.planar(1.0, 2.0, 0.5))
    outcomes = [client.poll() for _ in range(parts)]
    assert outcomes == [None] * (parts - 1) + [Outcome(Code.OK)]
    yaws = [0.5, *(pose.yaw for pose in navigator.poses)]
    assert np.diff(np.unwrap(yaws)) == pytest.approx([angle / parts] * parts)
    assert all(pose.translation[:2] == pytest.approx([1.0, 2.0]) for pose in navigator.poses)
