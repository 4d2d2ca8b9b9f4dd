"""Profiles by name, and files with own values."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from si_embodied.errors import ConfigError, UnknownNameError
from si_embodied.sensor_noise.profiles import (
    PROFILES,
    ColourNoise,
    DepthNoise,
    NoiseProfile,
    PoseNoise,
    TransferNoise,
    noise_profile,
)


def test_the_profiles_by_name() -> None:
    assert [*PROFILES] == ["none", "realsense", "orbbec", "zed"]
    assert all(noise_profile(name).name == name for name in PROFILES)
    assert [name for name in PROFILES if PROFILES[name].silent] == ["none"]


def test_realsense_has_the_error_of_its_makers_formula() -> None:
    """1 m^2 * 0.08 px / (447 px * 0.05 m), and steps of 1/32 px; noise and bias together are within 2% at 2 m."""
    depth = PROFILES["realsense"].depth
    assert depth.noise_m == pytest.approx(0.08 / (447 * 0.05), rel=0.02)
    assert depth.step_m == pytest.approx(1 / 32 / (447 * 0.05), rel=0.02)
    assert 4 * (depth.noise_m**2 + depth.bias_m**2) ** 0.5 < 0.02 * 2


def test_an_unknown_profile_lists_the_known() -> None:
    with pytest.raises(UnknownNameError, match="Did you mean 'realsense'.*none, orbbec, realsense, zed"):
        noise_profile("realsens")


def test_a_file_changes_a_profile(tmp_path: Path) -> None:
    file = tmp_path / "cellar.yaml"
    file.write_text("profile: realsense\ndepth: {noise_m: 0.01}\n")
    found, base = noise_profile(str(file)), PROFILES["realsense"]
    assert found == dataclasses.replace(base, name="cellar", depth=dataclasses.replace(base.depth, noise_m=0.01))
    file.write_text("colour: {blur_px: 2}\n")
    assert noise_profile(str(file)) == NoiseProfile("cellar", ColourNoise(blur_px=2.0))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("profile: kinect", "unknown noise profile 'kinect'"),
        ("profile: [realsense]", "unknown noise profile"),
        ("name: none", "remove 'name'"),
        ("depth: {noize_m: 1.0}", "Did you mean 'noise_m'"),
        ("colour: 3", "group of settings"),
        ("pose: {delay_s: -1.0}", "delay_s to be at least 0"),
        ("colour: {blur_px: 1.0e+308}", "blur_px from 0 to 100"),
        ("transfer: {delay_s: 50000}", "delay_s from 0 to 60"),
        ("pose: {calibration_rad: 90}", "calibration_rad from 0 to 3.14"),
    ],
)
def test_a_wrong_file_says_what_is_wrong(text: str, words: str, tmp_path: Path) -> None:
    file = tmp_path / "own.yaml"
    file.write_text(text)
    with pytest.raises((ConfigError, UnknownNameError), match=words):
        noise_profile(str(file))


def test_a_missing_file_is_named() -> None:
    with pytest.raises(ConfigError, match=r"/no/such\.yaml"):
        noise_profile("/no/such.yaml")


def test_numbers_out_of_range_are_refused() -> None:
    for make, name in (
        (lambda: ColourNoise(exposure_stops=-1.0), "exposure_stops"),
        (lambda: ColourNoise(distortion=0.2), "distortion"),
        (lambda: DepthNoise(dropout_ratio=1.5), "dropout_ratio"),
        (lambda: DepthNoise(min_m=2.0, max_m=1.0), "min_m"),
        (lambda: TransferNoise(dropped_ratio=1.0), "dropped_ratio"),
        (lambda: PoseNoise(localisation_m=float("nan")), "localisation_m"),
    ):
        with pytest.raises(ConfigError, match=name):
            make()
