"""Transforms, projection and depth, checked by hand and against scipy."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from si_embodied.errors import ConfigError
from si_embodied.geometry import (
    Intrinsics,
    Pose,
    deproject,
    deproject_image,
    depth_at,
    project,
    quantile,
    wrap_angle,
)

angles = st.floats(-math.pi, math.pi)
metres = st.floats(-10, 10)


@given(st.lists(st.floats(-10, 10, width=32), min_size=1, max_size=25), st.floats(0, 1))
def test_a_quantile_is_that_of_numpy(values: list[float], share: float) -> None:
    ordered = np.sort(np.array(values))
    assert quantile(ordered, share) == pytest.approx(np.quantile(ordered, share), abs=1e-9)


@given(angles, angles, angles)
def test_rpy_and_quaternion_agree_with_scipy(roll: float, pitch: float, yaw: float) -> None:
    pose = Pose.from_rpy(roll, pitch, yaw)
    expected = Rotation.from_euler("xyz", [roll, pitch, yaw])
    np.testing.assert_allclose(pose.rotation, expected.as_matrix(), atol=1e-9)
    np.testing.assert_allclose(Rotation.from_quat(pose.quaternion()).as_matrix(), expected.as_matrix(), atol=1e-7)
    np.testing.assert_allclose(Pose.from_quaternion(expected.as_quat()).rotation, expected.as_matrix(), atol=1e-9)


@pytest.mark.parametrize("rpy", [(0.3, -0.4, 1.2), (0.0, math.pi / 2 - 1e-6, 0.0)])
def test_roll_pitch_and_yaw_are_those_of_from_rpy(rpy: tuple[float, float, float]) -> None:
    assert Pose.from_rpy(*rpy).roll_pitch_yaw() == pytest.approx(rpy, abs=1e-12)


def test_quaternion_survives_a_half_turn() -> None:
    pose = Pose.from_rpy(math.pi, 0.0, 0.0)
    np.testing.assert_allclose(np.abs(pose.quaternion()), [1, 0, 0, 0], atol=1e-9)


@pytest.mark.parametrize("xyzw", [(1e200, 0, 0, 0), (0, 0, 0, 1e-10), (math.inf, 0, 0, 0), (0, 0, 0, math.nan)])
def test_a_quaternion_whose_length_cannot_be_computed_is_rejected(xyzw: tuple[float, ...]) -> None:
    """The square of 1e200 is infinite; dividing by it would give no rotation at all."""
    with pytest.raises(ConfigError, match="four finite numbers"):
        Pose.from_quaternion(xyzw)


def test_composition_matches_the_frame_names() -> None:
    # The camera is 1 m ahead of a base that stands at (2, 0) and looks left: the camera is at (2, 1).
    T_map_base = Pose.planar(2.0, 0.0, math.pi / 2)
    T_base_camera = Pose.planar(1.0, 0.0, 0.0)
    np.testing.assert_allclose((T_map_base @ T_base_camera).translation, [2, 1, 0], atol=1e-12)


def test_inverse_undoes_the_transform() -> None:
    pose = Pose.from_rpy(0.3, -0.2, 2.0, (1, 2, 3))
    np.testing.assert_allclose((pose @ pose.inverse()).matrix(), np.eye(4), atol=1e-12)


@pytest.mark.parametrize("bad", [np.zeros((3, 3)), np.diag([1.0, 1.0, -1.0]), np.full((3, 3), np.nan)])
def test_an_invalid_rotation_is_rejected(bad: np.ndarray) -> None:
    with pytest.raises(ConfigError):
        Pose(bad, np.zeros(3))


def test_a_point_right_and_below_the_axis_projects_right_and_below_the_centre() -> None:
    # f = 100 px, 1 m right and 0.5 m down at 2 m: 50 px right, 25 px down of (49.5, 49.5).
    camera = Intrinsics(100, 100, 100.0, 100.0, 49.5, 49.5)
    np.testing.assert_allclose(project(camera, [1.0, 0.5, 2.0]), [99.5, 74.5])


@given(st.floats(0, 639), st.floats(0, 479), st.floats(0.05, 20))
def test_projection_undoes_deprojection(u: float, v: float, depth: float) -> None:
    camera = Intrinsics.from_vertical_fov(640, 480, math.radians(60))
    np.testing.assert_allclose(project(camera, deproject(camera, (u, v), depth)), (u, v), atol=1e-6)


def test_a_point_behind_the_camera_has_no_pixel() -> None:
    camera = Intrinsics(100, 100, 100.0, 100.0, 49.5, 49.5)
    assert np.isnan(project(camera, [0.0, 0.0, -1.0])).all()


def test_field_of_view_gives_the_focal_length() -> None:
    # 90 degrees: half the height at one focal length.
    assert Intrinsics.from_vertical_fov(200, 100, math.pi / 2).fy == pytest.approx(50.0)


def test_scaled_intrinsics_see_the_same_direction() -> None:
    camera = Intrinsics.from_vertical_fov(640, 480, 1.0)
    half = camera.scaled(320, 240)
    corner = deproject(camera, (-0.5, -0.5), 1.0)  # the outer corner of the top-left pixel
    np.testing.assert_allclose(project(half, corner), (-0.5, -0.5), atol=1e-9)


def test_a_pixel_without_return_becomes_nan_in_the_point_image() -> None:
    camera = Intrinsics(3, 2, 10.0, 10.0, 1.0, 0.5)
    depth = np.array([[1, 0, 2], [1, 1, 1]], dtype=np.float32)
    points = deproject_image(camera, depth)
    assert points.shape == (2, 3, 3)
    assert np.isnan(points[0, 1]).all()
    np.testing.assert_allclose(points[0, 2], [0.2, -0.1, 2.0])


def test_depth_at_is_the_median_of_the_valid_returns() -> None:
    depth = np.full((9, 9), 2.0, dtype=np.float32)
    depth[4, 5] = 2.1
    depth[3, 3:6] = 0.0
    depth[5, 5] = np.nan
    measured = depth_at(depth, 4, 4, radius_px=1)
    assert measured.depth_m == 2.0
    assert measured.valid_ratio == pytest.approx(5 / 9)
    assert measured.surface_ratio == 1.0


def test_depth_at_an_edge_is_that_of_the_pixels_own_side() -> None:
    depth = np.full((9, 9), 3.0, dtype=np.float32)
    depth[:, 5:] = 1.0  # two of the five columns about column 4
    measured = depth_at(depth, 4, 4)
    assert measured.depth_m == 3.0
    assert measured.surface_ratio == pytest.approx(3 / 5)
    assert measured.spread_m == pytest.approx(2.0)


def test_a_slanted_floor_is_one_surface() -> None:
    rows = np.linspace(4.0, 4.6, 9, dtype=np.float32)
    assert depth_at(np.repeat(rows[:, None], 9, axis=1), 4, 4).surface_ratio == 1.0


@pytest.mark.parametrize("value", [0.0, math.nan, math.inf, -1.0])
def test_invalid_depths_count_as_no_return(value: float) -> None:
    measured = depth_at(np.full((5, 5), value, dtype=np.float32), 2, 2)
    assert measured.valid_ratio == 0.0
    assert math.isnan(measured.depth_m)


def test_depth_outside_the_image_is_no_depth() -> None:
    assert depth_at(np.ones((5, 5), dtype=np.float32), 5, 0).valid_ratio == 0.0


@given(st.floats(-100, 100))
def test_wrapping_keeps_the_direction(angle: float) -> None:
    wrapped = wrap_angle(angle)
    assert -math.pi < wrapped <= math.pi
    assert math.cos(wrapped) == pytest.approx(math.cos(angle), abs=1e-9)


def test_a_crop_keeps_the_camera_geometry() -> None:
    """Its points are those of the whole image at the same pixels."""
    camera, depth = Intrinsics(40, 30, 50.0, 60.0, 21.0, 13.0), np.full((30, 40), 2.0, dtype=np.float32)
    part = deproject_image(camera.cropped(5, 7, 10, 8), depth[7:15, 5:15])
    np.testing.assert_allclose(part, deproject_image(camera, depth)[7:15, 5:15])


@pytest.mark.parametrize("step", [2, 3, 7])
def test_every_nth_pixel_has_the_point_that_it_has_in_the_whole_image(step: int) -> None:
    depth = np.random.default_rng(step).uniform(-1.0, 30.0, (33, 50)).astype(np.float32)
    camera = Intrinsics(50, 33, 40.3, 41.7, 24.1, 16.9)
    whole = deproject_image(camera, depth)
    np.testing.assert_array_equal(deproject_image(camera, depth, step=step), whole[::step, ::step])
    v, u = np.argwhere(np.isfinite(whole[..., 2])).T
    np.testing.assert_array_equal(deproject(camera, np.stack([u, v], axis=-1), depth[v, u]), whole[v, u])
