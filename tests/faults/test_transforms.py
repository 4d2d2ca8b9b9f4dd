"""Transforms that are not rigid, from another time, or from a robot with its own namespace."""

from __future__ import annotations

import math
from typing import Any

import pytest

pytest.importorskip("rclpy", reason="sensors are subscribed to through rclpy")

from fake_sensors import Robot, transform
from tf2_msgs.msg import TFMessage

from si_embodied.geometry import Pose
from si_embodied.types import Code, Observation, Refusal


def bad(robot: Robot, **changes: float) -> TFMessage:
    message = transform("map", "base_link", Pose.planar(7.0, 0.0, 0.0), robot.node.now_s)
    for name, value in changes.items():
        place: Any = message.transform.rotation if name in ("qx", "qw") else message.transform.translation
        setattr(place, name.lstrip("q"), value)
    return TFMessage(transforms=[message])


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"x": math.nan}, "finite translation"),
        ({"x": math.inf}, "finite translation"),
        ({"y": 1e300}, "finite translation"),
        ({"qx": math.nan}, "unit quaternion"),
        ({"qx": 1e200}, "unit quaternion"),
        ({"qw": 0.0}, "unit quaternion"),
        ({"qw": 2.0}, "unit quaternion"),
        ({"qw": 0.9}, "unit quaternion"),
    ],
)
def test_a_transform_that_is_not_rigid_is_dropped_counted_and_named(changes: dict[str, float], words: str) -> None:
    robot = Robot()
    robot.step()
    robot.node.send("/tf", bad(robot, **changes))
    assert robot.sensors.rejected == {"transform of base_link": 1}
    assert words in robot.sensors.last_rejection
    seen = robot.sensors.observe()
    assert isinstance(seen, Observation)
    assert seen.T_map_base.translation[0] == 0.0


def test_a_quaternion_within_the_rounding_that_tf2_accepts_is_accepted() -> None:
    robot = Robot()
    robot.node.send("/tf", bad(robot, qw=0.996))  # 0.996² = 0.992, within 0.01 of 1
    assert robot.sensors.rejected == {}


@pytest.mark.parametrize(("ahead_s", "taken"), [(1.0, True), (5.0, False), (1e9, False), (-5.0, True), (-500.0, False)])
def test_stamps_from_another_time_are_dropped(ahead_s: float, taken: bool) -> None:
    """AMCL stamps a second ahead on purpose; five seconds are a clock that is wrong."""
    robot = Robot()
    robot.send_transforms(robot.node.now_s + ahead_s)
    assert robot.sensors.rejected == ({} if taken else {"transform of base_link": 1})
    assert (robot.sensors.base_now() is not None) is taken


def test_one_old_transform_does_not_erase_the_history() -> None:
    robot = Robot()
    robot.step()
    robot.send_transforms(1.0)
    assert isinstance(robot.sensors.observe(), Observation)


@pytest.mark.promise(code="NO_TRANSFORM", recovers="with the next image after the gap")
def test_what_happened_in_a_gap_of_the_transforms_is_not_guessed() -> None:
    robot = Robot()
    robot.step()
    robot.x = 2.0
    for _ in range(20):  # a second without transforms
        robot.node.now_s += 0.05
        robot.send_images()
    robot.node.now_s += 0.05
    robot.send_transforms()
    seen = robot.sensors.observe()
    assert isinstance(seen, Refusal)
    assert seen.code is Code.NO_TRANSFORM
    robot.step()
    assert isinstance(robot.sensors.observe(), Observation)


def test_a_transform_that_would_close_a_loop_is_dropped() -> None:
    robot = Robot()
    robot.step()
    loop = transform("optical", "map", Pose.identity(), robot.node.now_s)
    robot.node.send("/tf", TFMessage(transforms=[loop]))
    assert "loop of frames" in robot.sensors.last_rejection
    assert isinstance(robot.sensors.observe(), Observation)


@pytest.mark.parametrize(("parent", "child"), [("", "base_link"), ("map", ""), ("map", "/map")])
def test_frames_without_a_name_are_dropped(parent: str, child: str) -> None:
    robot = Robot()
    robot.node.send("/tf", TFMessage(transforms=[transform(parent, child, Pose.identity(), robot.node.now_s)]))
    assert "between two named frames" in robot.sensors.last_rejection


def test_a_good_transform_beside_a_bad_one_is_kept() -> None:
    robot = Robot()
    message = bad(robot, x=math.nan)
    message.transforms = [*message.transforms, transform("map", "other", Pose.identity(), robot.node.now_s)]
    robot.node.send("/tf", message)
    assert robot.sensors.transforms.latest("map", "other") is not None


def test_without_transforms_nothing_is_planned() -> None:
    robot = Robot()
    robot.node.now_s += 1.0
    robot.send_images()
    seen = robot.sensors.observe()
    assert isinstance(seen, Refusal)
    assert seen.code is Code.NO_TRANSFORM
    assert "'head'" in seen.message
