"""EmbodiedBench's seven integers, checked against its specification by hand."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest

from si_embodied.arm_actions import decode_discrete, decode_pose, encode_discrete, encode_pose
from si_embodied.embodiment import TableArm
from si_embodied.errors import ConfigError
from si_embodied.geometry import Pose


@pytest.fixture
def cube_arm(arm: TableArm) -> TableArm:
    """An arm whose workspace is a cube of 1 m, as EmbodiedBench's."""
    return dataclasses.replace(arm, workspace_m=((0.0, -0.5, 0.6), (1.0, 0.5, 1.6)), action_mode="discrete")


def test_levels_are_centimetres_and_three_degrees_from_minus_180(cube_arm: TableArm) -> None:
    # 57 cm, 61 cm and 18 cm from the lowest corner; 0 -> -180, 60 -> 0, 37 -> 37 * 3 - 180 = -69 degrees; 1 = open.
    pose, opening = decode_discrete(np.array([57, 61, 18, 0, 60, 37, 1]), cube_arm)
    np.testing.assert_allclose(pose.translation, [0.57, 0.11, 0.78])
    expected = Pose.from_rpy(-math.pi, 0.0, math.radians(-69))
    np.testing.assert_allclose(pose.rotation, expected.rotation, atol=1e-12)
    assert opening == 1.0


def test_a_rounded_pose_is_at_most_half_a_step_away(cube_arm: TableArm) -> None:
    pose = Pose.from_rpy(math.pi, 0.0, math.radians(10.4), (0.234, 0.117, 0.7449))
    levels = encode_discrete(pose, 0.0, cube_arm)
    assert levels.tolist() == [23, 62, 14, 120, 60, 63, 0]  # 10.4 degrees is nearest to 9
    rounded, opening = decode_discrete(levels, cube_arm)
    assert np.abs(rounded.translation - pose.translation).max() <= 0.005
    assert abs(rounded.yaw - pose.yaw) <= math.radians(1.5)
    assert opening == 0.0


def test_every_level_survives_a_round_trip(cube_arm: TableArm) -> None:
    for yaw in range(121):
        pose, opening = decode_discrete(np.array([0, 100, 50, 120, 60, yaw, 1]), cube_arm)
        again, still_open = decode_discrete(encode_discrete(pose, opening, cube_arm), cube_arm)
        # The pose, not the integers: level 0 and level 120 are the same half turn.
        np.testing.assert_allclose(again.matrix(), pose.matrix(), atol=1e-9)
        assert still_open == opening == 1.0


@pytest.mark.parametrize("levels", [[101, 0, 0, 0, 0, 0, 0], [0, 0, 0, 121, 0, 0, 0], [-1, 0, 0, 0, 0, 0, 0]])
def test_a_level_out_of_range_is_rejected(cube_arm: TableArm, levels: list[int]) -> None:
    with pytest.raises(ConfigError, match="levels from 0"):
        decode_discrete(np.array(levels), cube_arm)


def test_a_pose_action_gives_the_pose_back() -> None:
    pose = Pose.from_rpy(math.pi, 0.0, 0.7, (0.5, -0.2, 0.8))
    back, opening = decode_pose(encode_pose(pose, 0.25))
    np.testing.assert_allclose(back.matrix(), pose.matrix(), atol=1e-6)
    assert opening == 0.25
