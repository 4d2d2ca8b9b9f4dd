"""The time offset of a rendered turn."""

from __future__ import annotations

import numpy as np
import pytest
from rendered_boards import PINHOLE, panorama_frame, swing

from si_embodied.calibration.pictures import Picture
from si_embodied.calibration.rotation import Turns, camera_turns, fit_rotation
from si_embodied.calibration.time_offset import check_time_offset, measure_offset
from si_embodied.errors import DataError, TransformError
from si_embodied.geometry import Pose


def transforms(angle=swing, last_s: float = 10.0, noise_rad: float = 0.001):
    """A base's odometry at 50 Hz."""
    rng = np.random.default_rng(1)
    stamps = np.arange(0.0, last_s, 0.02)
    angles = angle(stamps) + rng.normal(0, noise_rad, len(stamps))

    def pose_at(stamp_s: float) -> Pose:
        if not 0 <= stamp_s <= stamps[-1]:
            raise TransformError(f"not known at {stamp_s}")
        return Pose.planar(0.0, 0.0, float(np.interp(stamp_s, stamps, angles)))

    return pose_at


def turns(late_s: float, angle=swing, noise_rad: float = 0.002) -> Turns:
    """What a camera sees whose stamps are late: exposed at t, stamped t + late."""
    rng, exposed = np.random.default_rng(2), np.arange(1.2, 8.6, 1 / 15)
    seen = np.zeros((len(exposed) - 1, 3))
    seen[:, 1] = -np.diff(angle(exposed))
    return Turns(exposed[:-1] + late_s, exposed[1:] + late_s, seen + rng.normal(0, noise_rad, seen.shape))


@pytest.mark.parametrize("late_s", [-0.037, 0.0, 0.0625])
def test_the_offset_is_found_to_milliseconds(late_s: float) -> None:
    found = measure_offset(turns(late_s), transforms())
    assert found.offset_s == pytest.approx(-late_s, abs=0.004)
    assert abs(found.offset_s + late_s) < 4 * found.sigma_s + 0.001
    assert found.sigma_s < 0.004


def test_a_rendered_turn_gives_the_offset() -> None:
    rng, late_s = np.random.default_rng(0), 0.05
    frames = [
        Picture(f"{t:.3f}", t + late_s, panorama_frame(PINHOLE, float(swing(t)), rng))
        for t in np.arange(1, 5.5, 1 / 12)
    ]
    found = measure_offset(camera_turns(frames, PINHOLE), transforms(last_s=7.0))
    assert found.offset_s == pytest.approx(-late_s, abs=0.005)
    assert found.factor == pytest.approx(1.0, abs=0.02)


def test_late_stamps_are_off_and_say_what_to_subtract() -> None:
    (offset,) = check_time_offset(turns(0.06), transforms()).findings
    assert offset.verdict == "off"
    assert "late" in offset.says
    assert offset.fix.startswith("subtract from the images' stamps ")
    assert float(offset.fix.split()[5]) == pytest.approx(60, abs=4)


def test_right_stamps_are_fine() -> None:
    assert check_time_offset(turns(0.0), transforms()).verdict == "fine"


def test_a_recording_without_a_turn_is_refused() -> None:
    with pytest.raises(DataError, match="no turn in the recording"):
        measure_offset(turns(0.0), transforms(lambda t: 0.0 * t, noise_rad=1e-5))


def test_a_turn_at_constant_speed_does_not_tell() -> None:
    def constant(t):
        return 0.5 * t

    assert check_time_offset(turns(0.0, constant), transforms(constant)).verdict == "unknown"


def test_other_motions_do_not_tell() -> None:
    (offset, *_) = check_time_offset(turns(0.0, lambda t: 0.3 * np.sin(7.7 * t)), transforms()).findings
    assert offset.verdict == "unknown"
    assert "--fixed" in offset.fix


def test_missing_transforms_are_named() -> None:
    with pytest.raises(DataError, match=r"no transform of the mount.*--fixed and --mount"):
        measure_offset(turns(50.0), transforms())


def test_pictures_without_texture_are_refused() -> None:
    frames = [Picture(str(t), float(t), np.full((300, 400, 3), 90, np.uint8)) for t in range(12)]
    with pytest.raises(DataError, match=r"followed between 0 of 11 pairs.*textured"):
        camera_turns(frames, PINHOLE)


def test_a_rotation_is_found_among_rays_that_contradict_it() -> None:
    rng, angle = np.random.default_rng(0), 0.05
    rays = rng.normal(size=(60, 3)) + np.array([0, 0, 4])
    rays /= np.linalg.norm(rays, axis=1, keepdims=True)
    turned = rays @ Pose.from_rpy(0.0, angle, 0.0).rotation  # R^T applied to each
    turned[:8] = rays[:8]  # something that moves with the camera
    assert fit_rotation(rays, turned)[0] == pytest.approx((0.0, angle, 0.0), abs=1e-6)
