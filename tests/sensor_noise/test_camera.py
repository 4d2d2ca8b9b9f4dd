"""Colour images of a moving camera with a lens, and what a camera keeps during an episode."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest

from si_embodied import CameraFrame, Intrinsics, Pose
from si_embodied.sensor_noise.camera import NoisyCamera, noisy_cameras
from si_embodied.sensor_noise.motion import Velocity, warped
from si_embodied.sensor_noise.profiles import ColourNoise, DepthNoise, NoiseProfile, PoseNoise

K = Intrinsics(101, 101, 100.0, 100.0, 50.0, 50.0)
OPTICAL = Pose(np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]]), np.zeros(3))  # looks along x


def view(rgb: np.ndarray | None = None, *, stamp_s: float = 0.0, pose: Pose = OPTICAL) -> CameraFrame:
    """A wall at 2 m, grey unless other colours are given."""
    colours = np.full((101, 101, 3), 100, np.uint8) if rgb is None else rgb
    return CameraFrame("head", stamp_s, colours, np.full((101, 101), 2.0, np.float32), K, pose)


def stripe(column: int, width: int = 1) -> np.ndarray:
    """Black with a white vertical stripe."""
    rgb = np.zeros((101, 101, 3), np.uint8)
    rgb[:, column : column + width] = 255
    return rgb


def centre(row: np.ndarray) -> float:
    """The centre of a row's light, pixels."""
    return float((row * np.arange(len(row))).sum() / row.sum())


# --- motion and lens ------------------------------------------------------------------------------------------------


def test_flow_is_that_of_geometry() -> None:
    """To the right at 0.1 m/s before a wall at 2 m: 100 px * 0.1 / 2 to the left. Turning left by 0.2 rad/s: 20 px."""
    sideways = Velocity.between(OPTICAL, Pose(OPTICAL.rotation, np.array([0.0, -0.05, 0.0])), 0.5).flow(view())
    assert np.allclose(sideways[0], -5.0)
    assert np.allclose(sideways[1], 0.0)
    turning = Velocity.between(OPTICAL, Pose.planar(0.0, 0.0, 0.1) @ OPTICAL, 0.5).flow(view())
    assert turning[0, 50, 50] == pytest.approx(20.0)
    forward = Velocity.between(OPTICAL, Pose(OPTICAL.rotation, np.array([0.2, 0.0, 0.0])), 1.0).flow(view())
    assert forward[:, 60, 50] == pytest.approx([0.0, 10 * 0.2 / 2])  # away from the centre


def test_a_rolling_shutter_slants_what_moves() -> None:
    """20 px/s over a readout of 0.1 s: from the first row to the last, a stripe leans by 2 pixels."""
    velocity = Velocity.between(OPTICAL, Pose.planar(0.0, 0.0, 0.1) @ OPTICAL, 0.5)
    seen = warped(view(stripe(50)), ColourNoise(readout_s=0.1), velocity)[..., 0].astype(float)
    assert centre(seen[100]) - centre(seen[0]) == pytest.approx(2.0, abs=0.05)
    assert centre(seen[50]) == pytest.approx(50.0, abs=0.01)


def test_motion_blurs_over_the_path_of_the_exposure() -> None:
    """20 px/s for 0.2 s is 4 pixels; light is kept."""
    velocity = Velocity.between(OPTICAL, Pose.planar(0.0, 0.0, 0.1) @ OPTICAL, 0.5)
    seen = warped(view(stripe(50)), ColourNoise(exposure_s=0.2), velocity)[50, :, 0].astype(float)
    lit = np.flatnonzero(seen > 5)
    assert lit[-1] - lit[0] + 1 in (4, 5, 6)
    assert seen.sum() == pytest.approx(255, rel=0.05)
    assert centre(seen) == pytest.approx(50.0, abs=0.1)


def test_a_camera_that_stands_is_sharp() -> None:
    frame = view(stripe(50))
    assert warped(frame, ColourNoise(exposure_s=0.2, readout_s=0.1), None) is frame.rgb


@pytest.mark.parametrize("distortion", [0.02, -0.02])
def test_distortion_moves_corners_by_the_stated_pixels_and_the_centre_not_at_all(distortion: float) -> None:
    """A dot at (85, 85) has half of the corner's squared radius (35^2 / 50^2): it moves by 0.02 * 0.49 * 35 pixels."""
    rgb = np.zeros((101, 101, 3), np.uint8)
    rgb[84:87, 84:87] = rgb[49:52, 49:52] = 255
    seen = warped(view(rgb), ColourNoise(distortion=distortion), None)[..., 0].astype(float)
    moved = centre(seen[70:].sum(axis=0)) - 85
    assert moved == pytest.approx(distortion * 0.49 * 35, abs=0.05)
    assert centre(seen[45:56].sum(axis=0)) == pytest.approx(50.0, abs=0.01)


# --- one camera in one episode --------------------------------------------------------------------------------------


def takes(colour: ColourNoise, seed: int = 0) -> CameraFrame:
    return NoisyCamera(np.random.default_rng(seed)).take(view(), NoiseProfile(colour=colour))


def test_a_stop_of_exposure_doubles_the_light() -> None:
    """The light is the value to the power of 2.2; its logarithm has the standard deviation of the exposure."""
    values = [float(takes(ColourNoise(exposure_stops=0.3), seed).rgb.mean()) for seed in range(150)]
    stops = 2.2 * np.log2(np.array(values) / 100)
    assert np.std(stops) == pytest.approx(0.3, rel=0.2)
    assert np.mean(stops) == pytest.approx(0.0, abs=0.08)


def test_white_balance_tints_the_whole_image() -> None:
    seen = takes(ColourNoise(white_balance_ratio=0.1)).rgb
    assert len(np.unique(seen.reshape(-1, 3), axis=0)) == 1
    assert len(set(seen[0, 0].tolist())) > 1


def test_pixels_have_the_stated_noise() -> None:
    assert np.std(takes(ColourNoise(grey_levels=4.0)).rgb - 100.0) == pytest.approx(4.0, rel=0.05)


def test_exposure_wanders_within_an_episode() -> None:
    camera, noise = NoisyCamera(np.random.default_rng(1)), NoiseProfile(colour=ColourNoise(exposure_stops=1.0))
    means = [float(camera.take(view(stamp_s=0.5 * step), noise).rgb.mean()) for step in range(40)]
    assert np.abs(np.diff(means)).max() < np.ptp(means)
    assert np.ptp(means) > 20


def test_the_calibrations_error_is_the_same_in_all_images() -> None:
    camera = NoisyCamera(np.random.default_rng(1))
    noise = NoiseProfile(pose=PoseNoise(calibration_m=0.01, calibration_rad=0.02))
    seen = [camera.take(view(stamp_s=s, pose=Pose.planar(s, 0.0, 0.3) @ OPTICAL), noise) for s in (0.0, 1.0)]
    errors = [(Pose.planar(s, 0.0, 0.3) @ OPTICAL).inverse() @ seen[i].T_map_camera for i, s in enumerate((0.0, 1.0))]
    assert np.allclose(errors[0].matrix(), errors[1].matrix())
    assert 0 < float(np.linalg.norm(errors[0].translation)) < 0.05


def test_the_bias_of_depth_is_the_same_in_all_images_and_differs_between_episodes() -> None:
    noise = NoiseProfile(depth=DepthNoise(bias_m=0.01))
    first, other = (NoisyCamera(np.random.default_rng(seed)) for seed in (1, 2))
    depths = [camera.take(view(stamp_s=s), noise).depth_m.mean() for camera in (first, other) for s in (0.0, 1.0)]
    assert depths[0] == depths[1] != depths[2] == depths[3]


def test_the_same_surfaces_mirror_to_all_cameras_of_a_robot() -> None:
    noise = NoiseProfile(depth=DepthNoise(reflection_ratio=0.3))
    first, second = noisy_cameras(2, np.random.default_rng(0))
    other, _ = noisy_cameras(2, np.random.default_rng(1))
    holes = [camera.take(view(), noise).depth_m == 0 for camera in (first, second, other)]
    assert np.array_equal(holes[0], holes[1])
    assert not np.array_equal(holes[0], holes[2])


def test_without_noise_nothing_is_touched() -> None:
    camera, frame = NoisyCamera(np.random.default_rng(0)), view()
    seen = camera.take(frame, NoiseProfile())
    assert (seen.rgb is frame.rgb, seen.depth_m is frame.depth_m) == (True, True)
    assert np.array_equal(seen.T_map_camera.matrix(), frame.T_map_camera.matrix())
    assert seen.stamp_s == frame.stamp_s


def test_a_frame_without_depth_keeps_none() -> None:
    noise = NoiseProfile(colour=ColourNoise(readout_s=0.1), depth=DepthNoise(noise_m=0.1))
    camera = NoisyCamera(np.random.default_rng(0))
    for stamp_s in (0.0, 0.5):
        seen = camera.take(dataclasses.replace(view(stamp_s=stamp_s), depth_m=None), noise)
    assert seen.depth_m is None
    assert math.isfinite(seen.rgb.mean())
