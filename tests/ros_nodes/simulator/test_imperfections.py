"""Noise, latency and drift of the simulated robots."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest

from si_embodied import CameraFrame, Observation, Pose
from si_embodied.errors import ConfigError, UnknownNameError
from si_embodied.ros_nodes.simulator.imperfections import DelayLine, Localisation, degraded
from si_embodied.ros_nodes.simulator.settings import SimulatorSettings

IDEAL = SimulatorSettings()


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(3)


@pytest.fixture
def frame(wall_ahead: Observation) -> CameraFrame:
    return wall_ahead.frames[0]  # a wall at 3 m


def test_an_ideal_camera_changes_nothing(frame: CameraFrame, rng: np.random.Generator) -> None:
    seen = degraded(frame, IDEAL, rng)
    assert seen.stamp_s == frame.stamp_s
    assert np.array_equal(seen.rgb, frame.rgb)
    assert np.array_equal(seen.depth_m, frame.depth_m)


def test_depth_noise_grows_with_the_distance_squared(frame: CameraFrame, rng: np.random.Generator) -> None:
    noisy = degraded(frame, dataclasses.replace(IDEAL, depth_noise=0.002), rng)
    assert np.std(noisy.depth_m - 3.0) == pytest.approx(0.002 * 9, rel=0.05)


def test_no_return_stays_no_return(frame: CameraFrame, rng: np.random.Generator) -> None:
    blind = dataclasses.replace(frame, depth_m=np.zeros_like(frame.depth_m))
    assert not degraded(blind, dataclasses.replace(IDEAL, depth_noise=0.1), rng).depth_m.any()


def test_dropout_removes_its_share_of_pixels(frame: CameraFrame, rng: np.random.Generator) -> None:
    seen = degraded(frame, dataclasses.replace(IDEAL, depth_dropout_ratio=0.3), rng)
    assert np.mean(seen.depth_m == 0) == pytest.approx(0.3, abs=0.02)


def test_a_dead_depth_camera_and_a_clock_of_its_own(frame: CameraFrame, rng: np.random.Generator) -> None:
    seen = degraded(frame, dataclasses.replace(IDEAL, publish_depth=False, clock_offset_s=0.5), rng)
    assert seen.depth_m is None
    assert seen.stamp_s == frame.stamp_s + 0.5


def test_a_delay_line_releases_each_item_when_it_is_due() -> None:
    line: DelayLine[str] = DelayLine()
    line.put(1.0, "first")
    line.put(2.0, "second")
    assert line.take(0.9) == []
    assert line.take(1.0) == ["first"]
    assert line.take(5.0) == ["second"]


def test_a_perfect_localisation_gives_the_true_pose(rng: np.random.Generator) -> None:
    localisation = Localisation()
    localisation.put(Pose.planar(1.0, 2.0, 0.5))
    for step in range(20):
        true = Pose.planar(1.0 + 0.1 * step, 2.0, 0.5 + 0.05 * step)
        localisation.update(true, 0.05, IDEAL, rng)
        T_map_base = localisation.T_map_odom @ localisation.T_odom_base
        assert np.allclose(T_map_base.matrix(), true.matrix())


def test_odometry_does_not_notice_being_carried() -> None:
    localisation = Localisation()
    localisation.put(Pose.planar(3.0, 0.0, 0.0))
    assert np.allclose(localisation.T_odom_base.matrix(), np.eye(4))
    assert np.allclose((localisation.T_map_odom @ localisation.T_odom_base).translation, (3.0, 0.0, 0.0))


def test_drift_grows_with_the_distance_and_localisation_corrects_it() -> None:
    """Over 4 m of independent errors of 5% per metre the standard deviation is 0.05 * sqrt(4) m."""
    settings = dataclasses.replace(IDEAL, odometry_drift_ratio=0.05)
    errors = []
    for seed in range(200):
        localisation, rng = Localisation(), np.random.default_rng(seed)
        for step in range(1, 41):
            localisation.update(Pose.planar(0.1 * step, 0.0, 0.0), 0.05, settings, rng)
        assert np.allclose((localisation.T_map_odom @ localisation.T_odom_base).translation, (4.0, 0.0, 0.0))
        errors.append(localisation.T_odom_base.yaw)
    assert np.std(errors) == pytest.approx(0.05 * math.sqrt(4.0), rel=0.2)


def test_localisation_noise_has_the_configured_spread(rng: np.random.Generator) -> None:
    settings, localisation, still = (
        dataclasses.replace(IDEAL, localisation_noise_m=0.03),
        Localisation(),
        Pose.identity(),
    )
    x = []
    for _ in range(2000):  # steps of 20 s are nearly independent
        localisation.update(still, 20.0, settings, rng)
        x.append((localisation.T_map_odom @ localisation.T_odom_base).translation[0])
    assert np.std(x) == pytest.approx(0.03, rel=0.1)


@pytest.mark.parametrize("wrong", [{"real_time_factor": 0.0}, {"image_latency_s": -1.0}, {"depth_dropout_ratio": 1.5}])
def test_numbers_out_of_range_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        SimulatorSettings(**wrong)


def test_an_unknown_world_is_named() -> None:
    with pytest.raises(UnknownNameError, match="Did you mean 'tabletop'"):
        SimulatorSettings(world="tabletops")
