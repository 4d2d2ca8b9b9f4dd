"""Habitat's frames against ours, by points whose coordinates in both are derived by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from si_embodied.envs.habitat.frames import (
    agent_rotation,
    base_pose,
    camera_in_habitat,
    camera_pose,
    to_base,
    to_habitat,
    to_map,
    xyzw,
)
from si_embodied.geometry import Pose


def test_up_is_y_in_habitat_and_left_is_minus_z() -> None:
    np.testing.assert_allclose(to_habitat([1.0, 2.0, 3.0]), [1.0, 3.0, -2.0])
    np.testing.assert_allclose(to_map(to_habitat([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])), [[1, 2, 3], [4, 5, 6]])


def test_the_agent_without_rotation_looks_along_minus_z_which_is_map_y() -> None:
    pose = base_pose([1.0, 0.0, -2.0], [0.0, 0.0, 0.0, 1.0])
    assert pose.yaw == pytest.approx(math.pi / 2)
    np.testing.assert_allclose(pose.translation, [1.0, 2.0, 0.0])
    np.testing.assert_allclose(pose.rotation[:, 2], [0.0, 0.0, 1.0])


@pytest.mark.parametrize("yaw", [-3.0, -math.pi / 2, 0.0, 0.4, 2.5])
def test_an_agent_faces_the_heading_that_it_is_given(yaw: float) -> None:
    assert base_pose([0.0, 0.0, 0.0], agent_rotation(yaw)).yaw == pytest.approx(yaw)


def test_a_camera_without_rotation_sees_map_y_ahead_and_up_at_the_top() -> None:
    pose = camera_pose([0.0, 1.5, 0.0], [0.0, 0.0, 0.0, 1.0])
    np.testing.assert_allclose(pose.apply([0.0, 0.0, 2.0]), [0.0, 2.0, 1.5], atol=1e-12)  # ahead
    np.testing.assert_allclose(pose.apply([0.0, -1.0, 0.0]), [0.0, 0.0, 2.5], atol=1e-12)  # up in the image
    np.testing.assert_allclose(pose.apply([1.0, 0.0, 0.0]), [1.0, 0.0, 1.5], atol=1e-12)  # right in the image


def test_a_camera_pose_survives_both_ways() -> None:
    pose = Pose.from_rpy(0.3, -0.8, 1.1, (1.0, -2.0, 0.7))
    back = camera_pose(*camera_in_habitat(pose))
    np.testing.assert_allclose(back.matrix(), pose.matrix(), atol=1e-9)


def test_what_is_before_an_agent_is_along_the_bases_x() -> None:
    np.testing.assert_allclose(to_base([0.0, 1.1, -2.0]), [2.0, 0.0, 1.1])
    np.testing.assert_allclose(to_base([-1.0, 0.0, 0.0]), [0.0, 1.0, 0.0])


def test_a_quaternion_of_habitats_is_written_w_first() -> None:
    quaternion = pytest.importorskip("quaternion")
    np.testing.assert_allclose(xyzw(quaternion.quaternion(0.1, 0.2, 0.3, 0.4)), [0.2, 0.3, 0.4, 0.1])
