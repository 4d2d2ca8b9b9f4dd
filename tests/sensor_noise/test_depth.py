"""Depth from triangulation, on walls and steps whose every figure follows from geometry."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from si_embodied import Intrinsics, Pose
from si_embodied.sensor_noise.depth import PATCH_M, measured, seen_by_one_eye
from si_embodied.sensor_noise.profiles import DepthNoise

K = Intrinsics(120, 80, 100.0, 100.0, 59.5, 39.5)


def wall(distance_m: float) -> NDArray[np.float32]:
    return np.full((80, 120), distance_m, np.float32)


def box_before_a_wall() -> NDArray[np.float32]:
    """A box at 1 m in columns 50 to 79, before a wall at 2 m."""
    depth = wall(2.0)
    depth[:, 50:80] = 1.0
    return depth


def take(
    depth: NDArray[np.float32], noise: DepthNoise, *, pose: Pose | None = None, bias: float = 0.0, seed: int = 1
) -> NDArray[np.float32]:  # fmt: skip
    return measured(depth, K, pose or Pose.identity(), noise, bias, 7, np.random.default_rng(seed))


@pytest.mark.parametrize("distance_m", [1.0, 3.0])
def test_noise_grows_with_the_distance_squared(distance_m: float) -> None:
    seen = take(wall(distance_m), DepthNoise(noise_m=0.0036))
    assert np.std(seen) == pytest.approx(0.0036 * distance_m**2, rel=0.05)
    assert np.mean(seen) == pytest.approx(distance_m, abs=0.001)


def test_the_bias_is_the_same_for_all_pixels() -> None:
    """A disparity off by 0.002 per metre: 1 / (1 / 2 + 0.002) = 1.992 m, 8 mm nearer."""
    seen = take(wall(2.0), DepthNoise(bias_m=0.001), bias=2.0)
    assert np.allclose(seen, 1 / 0.502, atol=1e-6)


def test_steps_are_those_of_disparity() -> None:
    """With 0.01 at 1 m, disparities are multiples of 0.01 / m: about 3 m there are 1 / 0.34, 1 / 0.33 and 1 / 0.32."""
    ramp = np.broadcast_to(np.linspace(2.93, 3.12, 120, dtype=np.float32), (80, 120))
    found = np.unique(take(ramp, DepthNoise(step_m=0.01)))
    assert np.allclose(found, [1 / 0.34, 1 / 0.33, 1 / 0.32])
    assert np.diff(found) == pytest.approx(0.01 * 3.0**2, rel=0.07)


def test_the_far_side_of_an_edge_is_hidden_from_one_eye_and_nothing_else_is() -> None:
    """100 px * 0.05 m = 5 px m, so the band is 5 * (1 / 1 - 1 / 2) = 2.5 pixels wide: columns 48 and 49, of 47.5."""
    seen = take(box_before_a_wall(), DepthNoise(baseline_m=0.05))
    holes = np.flatnonzero((seen == 0).any(axis=0))
    assert holes.tolist() == [48, 49]
    assert np.array_equal(seen[:, 50:], box_before_a_wall()[:, 50:])
    assert not seen_by_one_eye(wall(1.0), 5.0).any()


def test_edges_fray_and_surfaces_do_not() -> None:
    seen = take(box_before_a_wall(), DepthNoise(edge_px=1.0))
    changed = (seen != box_before_a_wall()).mean(axis=0)
    assert set(np.unique(seen)) == {1.0, 2.0}
    assert changed[49] > 0.1
    assert changed[50] > 0.1
    assert changed[56:74].max() == changed[86:].max() == 0.0


def test_mirrors_stay_where_they_are_and_are_seen_from_some_directions() -> None:
    """Sideways along a wall at 1 m by one pixel, which is 1 / 100 m, and by 50 pixels, which is 27 degrees."""
    noise = DepthNoise(reflection_ratio=0.3)

    def mirrors(moved_px: int) -> NDArray[np.bool_]:
        return take(wall(1.01), noise, pose=Pose.planar(moved_px * 1.01 / 100, 0.0, 0.0), seed=moved_px) == 0

    here = mirrors(0)
    assert here.mean() == pytest.approx(0.3, abs=0.1)
    assert np.mean(here[:, 1:] == mirrors(1)[:, :-1]) > 0.97
    assert np.mean(here[:, 50:] == mirrors(50)[:, :-50]) < 0.85
    changes = 2 * 0.3 * 0.7 / (PATCH_M * 100 / 1.01)  # from patch to patch, not from pixel to pixel
    assert (np.diff(here.astype(int), axis=1) != 0).mean() == pytest.approx(changes, rel=0.3)


def test_nothing_returns_from_out_of_range() -> None:
    noise = DepthNoise(min_m=0.5, max_m=4.0)
    assert [float(take(wall(z), noise).max()) for z in (0.4, 0.5, 4.0, 4.1)] == [0.0, 0.5, 4.0, 0.0]


def test_no_return_stays_no_return() -> None:
    everything = DepthNoise(0.01, 0.01, 0.01, 0.05, 1.0, 0.1, 0.1)
    assert not take(wall(0.0), everything, bias=1.0).any()
