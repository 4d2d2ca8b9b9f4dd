"""Estimates of a base's pose, as odometry and a localisation that corrects it make them."""

from __future__ import annotations

import math
from collections import deque
from typing import TYPE_CHECKING

import numpy as np

from si_embodied.geometry import Pose
from si_embodied.sensor_noise.wander import Wander

if TYPE_CHECKING:
    from si_embodied.sensor_noise.profiles import PoseNoise

_YAW_RAD_PER_M = 0.2
"""Yaw error per metre of position error: 0.6 degrees for 5 cm."""


class NoisyLocalisation:
    """Estimates of a base's pose, `T_map_odom` and `T_odom_base`, simulated from its true pose."""

    def __init__(self) -> None:
        """Start at the map's origin, without error."""
        self._true = Pose.identity()
        self._error = Wander(3)  # x, y in metres and yaw in radians
        self._now_s = self._uncorrected_s = 0.0
        self._track: deque[tuple[float, Pose]] = deque([(0.0, Pose.identity())])  # true poses, oldest first
        self.T_odom_base = Pose.identity()
        self.T_map_odom = Pose.identity()  # the correction of the odometry's drift, with the localisation's own error

    @property
    def T_map_base(self) -> Pose:  # noqa: N802  (a transform, as the field writes it)
        """The estimated pose."""
        return self.T_map_odom @ self.T_odom_base

    def put(self, T_map_base: Pose) -> None:
        """Teleport the base, which its odometry does not notice."""
        self._true = T_map_base
        self._track = deque([(self._now_s, T_map_base)])
        self._correct()

    def update(self, T_map_base: Pose, period_s: float, noise: PoseNoise, rng: np.random.Generator) -> None:
        """Advance by a period in which the base drove to a pose."""
        known = self._delayed(T_map_base, period_s, noise.delay_s)
        step = self._true.inverse() @ known
        x, y, yaw = float(step.translation[0]), float(step.translation[1]), step.yaw
        if noise.odometry_drift_ratio > 0:
            # Variances of independent steps add up, so drift depends on the distance driven, not on the step size.
            spread = noise.odometry_drift_ratio * math.sqrt(math.hypot(x, y))
            x, yaw = x + rng.normal(0.0, spread), yaw + rng.normal(0.0, spread)
        self.T_odom_base = self.T_odom_base @ Pose.planar(x, y, yaw)
        self._true = known
        self._error.step(noise.localisation_m * np.array([1.0, 1.0, _YAW_RAD_PER_M]), period_s, rng)
        self._uncorrected_s += period_s
        if self._uncorrected_s >= noise.correction_s - 1e-9:
            self._correct()

    def _correct(self) -> None:
        self._uncorrected_s = 0.0
        self.T_map_odom = self._true @ Pose.planar(*self._error.value) @ self.T_odom_base.inverse()

    def _delayed(self, T_map_base: Pose, period_s: float, delay_s: float) -> Pose:
        """Where the base was `delay_s` ago, between two known poses."""
        self._now_s += period_s
        self._track.append((self._now_s, T_map_base))
        then_s = self._now_s - delay_s
        while len(self._track) > 2 and self._track[1][0] <= then_s:
            self._track.popleft()
        (before_s, before), (after_s, after) = self._track[0], self._track[1]
        if then_s >= after_s or after_s == before_s:
            return after
        share = max(0.0, (then_s - before_s) / (after_s - before_s))
        step = before.inverse() @ after
        return before @ Pose.planar(share * step.translation[0], share * step.translation[1], share * step.yaw)
