"""Transforms at a time, and images paired with the depth of the same instant."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from si_embodied.errors import TransformError
from si_embodied.geometry import Pose
from si_embodied.ros_nodes.sensing.synchronisation import StampSynchroniser
from si_embodied.ros_nodes.sensing.transform_buffer import TransformBuffer


@pytest.fixture
def buffer() -> TransformBuffer:
    """A base that drives 1 m along x and turns by 90 degrees between 10 and 11 s, with a camera 1 m above it."""
    tree = TransformBuffer()
    tree.add("map", "base_link", 10.0, Pose.identity())
    tree.add("map", "base_link", 11.0, Pose.planar(1.0, 0.0, math.pi / 2))
    tree.add("base_link", "camera", 0.0, Pose(np.eye(3), np.array([0.0, 0.0, 1.0])), static=True)
    return tree


def test_poses_are_interpolated_between_two_stamps(buffer: TransformBuffer) -> None:
    pose = buffer.lookup("map", "camera", 10.5)
    np.testing.assert_allclose(pose.translation, [0.5, 0.0, 1.0], atol=1e-12)
    assert pose.yaw == pytest.approx(math.pi / 4)


@pytest.mark.parametrize(("stamp_s", "words"), [(9.9, "only from 10.000"), (11.1, "0.100 s later")])
def test_nothing_is_extrapolated(buffer: TransformBuffer, stamp_s: float, words: str) -> None:
    with pytest.raises(TransformError, match=words):
        buffer.lookup("map", "camera", stamp_s)


def test_swapping_the_frames_gives_the_inverse(buffer: TransformBuffer) -> None:
    there, back = buffer.lookup("map", "camera", 10.3), buffer.lookup("camera", "map", 10.3)
    np.testing.assert_allclose((there @ back).matrix(), np.eye(4), atol=1e-12)


def test_frames_that_are_not_connected_are_named(buffer: TransformBuffer) -> None:
    with pytest.raises(TransformError, match="'gripper'"):
        buffer.lookup("map", "gripper", 10.0)


def test_a_loop_of_frames_is_reported(buffer: TransformBuffer) -> None:
    buffer.add("camera", "map", 10.0, Pose.identity())
    with pytest.raises(TransformError, match="loop"):
        buffer.lookup("map", "camera", 10.0)


def test_the_latest_pose_is_at_the_newest_time_known_for_all_frames(buffer: TransformBuffer) -> None:
    buffer.add("base_link", "arm", 10.5, Pose.identity())
    pose = buffer.latest("map", "arm")
    assert pose is not None
    assert pose.translation[0] == pytest.approx(0.5)


def test_a_clock_that_jumps_back_starts_a_new_history(buffer: TransformBuffer) -> None:
    buffer.add("map", "base_link", 0.5, Pose.planar(7.0, 0.0, 0.0))
    assert buffer.lookup("map", "base_link", 0.5).translation[0] == 7.0


def test_messages_out_of_order_are_sorted() -> None:
    tree = TransformBuffer()
    for stamp_s in (2.0, 1.0, 3.0):
        tree.add("map", "base_link", stamp_s, Pose.planar(stamp_s, 0.0, 0.0))
    assert tree.lookup("map", "base_link", 1.5).translation[0] == pytest.approx(1.5)


def test_frames_seen_once_are_dropped_and_those_of_the_robot_are_not(buffer: TransformBuffer) -> None:
    """Tags, people and detections have a frame each; 1,000 of 100 a second are younger than the 10 s that are kept."""
    for number in range(100_000):
        stamp_s = 12.0 + 0.01 * number
        buffer.add("map", f"tag_{number}", stamp_s, Pose.identity())
        if number % 10 == 0:
            buffer.add("map", "base_link", stamp_s, Pose.planar(1.0, 0.0, 0.0))
    assert len(buffer._frames) < 3000
    assert buffer.lookup("map", "camera", stamp_s - 5.0).translation[0] == pytest.approx(1.0)
    assert buffer.latest("map", "tag_99999") is not None
    with pytest.raises(TransformError, match="'tag_0'"):
        buffer.lookup("map", "tag_0", 12.0)


def test_frames_are_connected_through_a_gap() -> None:
    tree = TransformBuffer(most_gap_s=0.3)
    tree.add("map", "odom", 1.0, Pose.identity())
    tree.add("odom", "base_link", 1.0, Pose.identity())
    tree.add("odom", "base_link", 3.0, Pose.identity())
    with pytest.raises(TransformError, match="not known for 2.00 s"):
        tree.lookup("odom", "base_link", 2.0)
    assert tree.connected("odom", "base_link")
    assert tree.connected("map", "base_link")
    assert not tree.connected("map", "gripper")


# --- images with their depth ----------------------------------------------------------------------------------------


def message(stamp_s: float) -> Any:
    stamp = SimpleNamespace(sec=int(stamp_s), nanosec=round((stamp_s % 1) * 1e9))
    return SimpleNamespace(header=SimpleNamespace(stamp=stamp))


def test_an_image_is_joined_with_the_depth_of_its_instant_in_any_order_of_arrival() -> None:
    synchroniser = StampSynchroniser(slop_s=0.02)
    synchroniser.add_depth(message(1.01))
    synchroniser.add_image(message(1.0))
    synchroniser.add_image(message(2.0))
    (pair,) = synchroniser.pairs()  # the depth for 2.0 may still arrive
    assert pair.stamp_s == 1.0
    assert pair.depth is not None
    synchroniser.add_depth(message(2.0))
    assert [pair.stamp_s for pair in synchroniser.pairs()] == [2.0, 1.0]


def test_a_camera_whose_depth_never_arrives_is_used_without_depth() -> None:
    synchroniser = StampSynchroniser(slop_s=0.02)
    synchroniser.add_image(message(1.0))
    synchroniser.add_depth(message(1.5))
    (pair,) = synchroniser.pairs()
    assert pair.depth is None


def test_images_from_before_a_time_are_left_out() -> None:
    synchroniser = StampSynchroniser(slop_s=0.02)
    synchroniser.add_image(message(1.0))
    assert synchroniser.pairs(after_s=1.0) == []


def test_a_static_transform_that_is_seen_to_move_is_static_no_more() -> None:
    tree = TransformBuffer()
    tree.add("map", "odom", 0.0, Pose.identity(), static=True)
    tree.add("map", "odom", 5.0, Pose.planar(1.0, 0.0, 0.0))
    tree.add("map", "odom", 0.0, Pose.identity(), static=True)  # as a latching publisher repeats it
    assert tree.lookup("map", "odom", 5.0).translation[0] == 1.0
    with pytest.raises(TransformError, match="known only until"):
        tree.lookup("map", "odom", 6.0)
