"""Latency and failed sensors of the simulated robots, and the noise that their parameters add up to."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from si_embodied import CameraFrame, Observation
from si_embodied.errors import ConfigError, UnknownNameError
from si_embodied.ros_nodes.simulator.imperfections import DelayLine, failed
from si_embodied.ros_nodes.simulator.settings import SimulatorSettings
from si_embodied.sensor_noise.camera import NoisyCamera
from si_embodied.sensor_noise.profiles import PROFILES

IDEAL = SimulatorSettings()


@pytest.fixture
def frame(wall_ahead: Observation) -> CameraFrame:
    return wall_ahead.frames[0]  # a wall at 3 m


def seen(frame: CameraFrame, **settings: float) -> CameraFrame:
    """The frame as a robot with these settings takes it."""
    return NoisyCamera(np.random.default_rng(3)).take(frame, dataclasses.replace(IDEAL, **settings).noise())


def test_an_ideal_camera_changes_nothing(frame: CameraFrame) -> None:
    same = failed(seen(frame), IDEAL)
    assert same.stamp_s == frame.stamp_s
    assert np.array_equal(same.rgb, frame.rgb)
    assert np.array_equal(same.depth_m, frame.depth_m)


def test_depth_noise_grows_with_the_distance_squared(frame: CameraFrame) -> None:
    assert np.std(seen(frame, depth_noise=0.002).depth_m - 3.0) == pytest.approx(0.002 * 9, rel=0.05)


def test_no_return_stays_no_return(frame: CameraFrame) -> None:
    blind = dataclasses.replace(frame, depth_m=np.zeros_like(frame.depth_m))
    assert not seen(blind, depth_noise=0.1).depth_m.any()


def test_dropout_removes_its_share_of_pixels(frame: CameraFrame) -> None:
    assert np.mean(seen(frame, depth_dropout_ratio=0.3).depth_m == 0) == pytest.approx(0.3, abs=0.02)


def test_a_dead_depth_camera_and_a_clock_of_its_own(frame: CameraFrame) -> None:
    dead = failed(frame, dataclasses.replace(IDEAL, publish_depth=False, clock_offset_s=0.5))
    assert dead.depth_m is None
    assert dead.stamp_s == frame.stamp_s + 0.5


def test_a_parameter_replaces_the_profiles_value_and_leaves_the_others() -> None:
    settings = SimulatorSettings(noise_profile="realsense", rgb_noise=9.0, image_latency_s=0.4)
    ours, theirs = settings.noise(), PROFILES["realsense"]
    assert (ours.colour.grey_levels, ours.transfer.delay_s) == (9.0, 0.4)
    assert (ours.depth, ours.pose) == (theirs.depth, theirs.pose)
    assert ours.colour.exposure_stops == theirs.colour.exposure_stops
    assert IDEAL.noise() == PROFILES["none"]


def test_a_profile_can_be_a_file(tmp_path: Path) -> None:
    file = tmp_path / "cellar.yaml"
    file.write_text("profile: zed\ncolour: {grey_levels: 12}\n")
    assert SimulatorSettings(noise_profile=str(file)).noise().colour.grey_levels == 12.0


def test_a_delay_line_releases_each_item_when_it_is_due() -> None:
    line: DelayLine[str] = DelayLine()
    line.put(1.0, "first")
    line.put(2.0, "second")
    assert line.take(0.9) == []
    assert line.take(1.0) == ["first"]
    assert line.take(5.0) == ["second"]


@pytest.mark.parametrize("wrong", [{"real_time_factor": 0.0}, {"image_latency_s": -1.0}, {"depth_dropout_ratio": 1.5}])
def test_numbers_out_of_range_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        SimulatorSettings(**wrong)


def test_an_unknown_world_is_named() -> None:
    with pytest.raises(UnknownNameError, match="Did you mean 'tabletop'"):
        SimulatorSettings(world="tabletops")


def test_an_unknown_profile_is_named() -> None:
    with pytest.raises(UnknownNameError, match="Did you mean 'realsense'"):
        SimulatorSettings(noise_profile="realsens")
