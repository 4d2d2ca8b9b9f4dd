"""Odometry that drifts, a localisation that corrects it, and poses that come late."""

from __future__ import annotations

import math

import numpy as np
import pytest

from si_embodied import Pose
from si_embodied.sensor_noise.localisation import NoisyLocalisation
from si_embodied.sensor_noise.profiles import PoseNoise
from si_embodied.sensor_noise.wander import WANDER_S, Wander


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(3)


def test_a_perfect_localisation_gives_the_true_pose(rng: np.random.Generator) -> None:
    localisation = NoisyLocalisation()
    localisation.put(Pose.planar(1.0, 2.0, 0.5))
    for step in range(20):
        true = Pose.planar(1.0 + 0.1 * step, 2.0, 0.5 + 0.05 * step)
        localisation.update(true, 0.05, PoseNoise(), rng)
        assert np.allclose(localisation.T_map_base.matrix(), true.matrix())


def test_odometry_does_not_notice_being_carried() -> None:
    localisation = NoisyLocalisation()
    localisation.put(Pose.planar(3.0, 0.0, 0.0))
    assert np.allclose(localisation.T_odom_base.matrix(), np.eye(4))
    assert np.allclose(localisation.T_map_base.translation, (3.0, 0.0, 0.0))


def test_drift_grows_with_the_distance_and_localisation_corrects_it() -> None:
    """Over 4 m of independent errors of 5% per metre the standard deviation is 0.05 * sqrt(4) m."""
    noise = PoseNoise(odometry_drift_ratio=0.05)
    errors = []
    for seed in range(200):
        localisation, rng = NoisyLocalisation(), np.random.default_rng(seed)
        for step in range(1, 41):
            localisation.update(Pose.planar(0.1 * step, 0.0, 0.0), 0.05, noise, rng)
        assert np.allclose(localisation.T_map_base.translation, (4.0, 0.0, 0.0))
        errors.append(localisation.T_odom_base.yaw)
    assert np.std(errors) == pytest.approx(0.05 * math.sqrt(4.0), rel=0.2)


def test_the_drift_shows_until_the_next_correction() -> None:
    noise = PoseNoise(odometry_drift_ratio=0.05, correction_s=1.0)
    localisation, rng = NoisyLocalisation(), np.random.default_rng(0)
    localisation.put(Pose.identity())
    wrong_m = []
    for step in range(1, 9):
        true = Pose.planar(0.25 * step, 0.0, 0.0)
        localisation.update(true, 0.25, noise, rng)
        wrong_m.append(float(np.linalg.norm(localisation.T_map_base.translation - true.translation)))
    assert [wrong > 1e-6 for wrong in wrong_m] == [True, True, True, False] * 2


def test_localisation_noise_has_the_configured_spread(rng: np.random.Generator) -> None:
    localisation, still = NoisyLocalisation(), Pose.identity()
    x = []
    for _ in range(2000):  # steps of 20 s are nearly independent
        localisation.update(still, 20.0, PoseNoise(localisation_m=0.03), rng)
        x.append(localisation.T_map_base.translation[0])
    assert np.std(x) == pytest.approx(0.03, rel=0.1)


def test_a_late_pose_is_where_the_robot_was(rng: np.random.Generator) -> None:
    """At 0.4 m/s and 0.5 rad/s, a delay of 0.25 s is 0.1 m and 0.125 rad, also between two known poses."""
    localisation = NoisyLocalisation()
    localisation.put(Pose.identity())
    for step in range(1, 4):
        localisation.update(Pose.planar(0.4 * step, 0.0, 0.0), 1.0, PoseNoise(delay_s=0.25), rng)
        assert localisation.T_map_base.translation[0] == pytest.approx(0.4 * step - 0.1)
    localisation.put(Pose.identity())
    localisation.update(Pose.planar(0.0, 0.0, 0.5), 1.0, PoseNoise(delay_s=0.25), rng)
    assert localisation.T_map_base.yaw == pytest.approx(0.375)


def test_a_wandering_value_forgets_within_its_time_constant(rng: np.random.Generator) -> None:
    """The correlation over a time constant is 1 / e; over an infinite time it is zero."""
    pairs, fresh = [], []
    for _ in range(4000):
        wander = Wander(1)
        before = float(wander.step(1.0, math.inf, rng)[0])
        pairs.append((before, float(wander.step(1.0, WANDER_S, rng)[0])))
        fresh.append((before, float(wander.step(1.0, math.inf, rng)[0])))
    assert np.corrcoef(np.array(pairs).T)[0, 1] == pytest.approx(1 / math.e, abs=0.04)
    assert np.corrcoef(np.array(fresh).T)[0, 1] == pytest.approx(0.0, abs=0.04)
