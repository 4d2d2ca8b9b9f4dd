"""Imperfections of a simulated robot: noise, latency and drift. Pure; randomness is passed in as a generator."""

from __future__ import annotations

import dataclasses
import math
from collections import deque
from typing import TYPE_CHECKING, Generic, TypeVar

import numpy as np

from si_embodied.geometry import Pose

if TYPE_CHECKING:
    from si_embodied.ros_nodes.simulator.settings import SimulatorSettings
    from si_embodied.types import CameraFrame

T = TypeVar("T")

WANDER_S = 5.0
"""Time constant of the localisation error: after this long it is largely uncorrelated."""
_YAW_RAD_PER_M = 0.2
"""Yaw error per metre of position error: 0.6 degrees for 5 cm."""


class DelayLine(Generic[T]):
    """A queue that releases each item when it is due, in the order of insertion."""

    def __init__(self) -> None:
        """Start empty."""
        self._waiting: deque[tuple[float, T]] = deque()

    def put(self, due_s: float, item: T) -> None:
        """Hold `item` until `due_s`."""
        self._waiting.append((due_s, item))

    def take(self, now_s: float) -> list[T]:
        """Remove and return the items that are due; an item never overtakes an earlier one."""
        due: list[T] = []
        while self._waiting and self._waiting[0][0] <= now_s + 1e-9:
            due.append(self._waiting.popleft()[1])
        return due

    def clear(self) -> None:
        """Drop all waiting items."""
        self._waiting.clear()


def degraded(frame: CameraFrame, settings: SimulatorSettings, rng: np.random.Generator) -> CameraFrame:
    """The frame as an imperfect camera takes it, with the offset of its clock.

    Depth noise grows with the square of the distance, as with triangulation: Khoshelham and Elberink, "Accuracy and
    resolution of Kinect depth data for indoor mapping applications", Sensors 12(2), 2012 (there 1.4 mm at 1 m).
    """
    rgb, depth = frame.rgb, frame.depth_m
    if settings.rgb_noise > 0:
        noisy = rgb + rng.normal(0.0, settings.rgb_noise, rgb.shape)
        rgb = np.clip(np.rint(noisy), 0, 255).astype(np.uint8)
    if depth is not None and settings.depth_noise > 0:
        noise = rng.normal(0.0, settings.depth_noise, depth.shape) * depth**2
        depth = np.where(depth > 0, np.maximum(depth + noise, 1e-3), 0.0).astype(np.float32)
    if depth is not None and settings.depth_dropout_ratio > 0:
        depth = np.where(rng.random(depth.shape) < settings.depth_dropout_ratio, 0.0, depth).astype(np.float32)
    if not settings.publish_depth:
        depth = None
    return dataclasses.replace(frame, rgb=rgb, depth_m=depth, stamp_s=frame.stamp_s + settings.clock_offset_s)


class Localisation:
    """Estimates of a base's pose, `T_map_odom` and `T_odom_base`, simulated from its true pose."""

    def __init__(self) -> None:
        """Start at the map's origin, without error."""
        self._true = Pose.identity()
        self._error = np.zeros(3)  # x, y in metres and yaw in radians
        self.T_odom_base = Pose.identity()

    @property
    def T_map_odom(self) -> Pose:  # noqa: N802  (a transform, as the field writes it)
        """The correction of the odometry's drift, including the localisation's own error."""
        return self._true @ Pose.planar(*self._error) @ self.T_odom_base.inverse()

    def put(self, T_map_base: Pose) -> None:
        """Teleport the base, which its odometry does not notice."""
        self._true = T_map_base

    def update(self, T_map_base: Pose, period_s: float, settings: SimulatorSettings, rng: np.random.Generator) -> None:
        """Advance by a period in which the base drove to a pose."""
        step = self._true.inverse() @ T_map_base
        x, y, yaw = float(step.translation[0]), float(step.translation[1]), step.yaw
        if settings.odometry_drift_ratio > 0:
            # Variances of independent steps add up, so drift depends on the distance driven, not on the step size.
            spread = settings.odometry_drift_ratio * math.sqrt(math.hypot(x, y))
            x, yaw = x + rng.normal(0.0, spread), yaw + rng.normal(0.0, spread)
        self.T_odom_base = self.T_odom_base @ Pose.planar(x, y, yaw)
        self._true = T_map_base
        sigma = settings.localisation_noise_m * np.array([1.0, 1.0, _YAW_RAD_PER_M])
        keep = math.exp(-period_s / WANDER_S)  # an Ornstein-Uhlenbeck process
        self._error = keep * self._error + math.sqrt(1 - keep**2) * sigma * rng.normal(size=3)
