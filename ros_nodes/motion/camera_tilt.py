"""Tilts the head camera: commands go out on a topic, the transforms show the result."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from std_msgs.msg import Float64

from si_embodied.geometry import Pose
from si_embodied.ros_nodes.node.settings import RobotSettings
from si_embodied.types import Code, Outcome

_TOLERANCE_RAD = 0.03
_TIMEOUT_S = 3.0
"""Time for the head to reach the commanded tilt."""


class CameraTilt:
    """One tilt at a time. Used from the executor's thread alone; nothing here blocks."""

    def __init__(
        self,
        node: Any,
        settings: RobotSettings,
        *,
        clock: Callable[[], float],
        camera_now: Callable[[], Pose | None],
    ) -> None:
        """Publish on `robot.tilt_topic`, if it is set.

        Args:
            node: a node.
            settings: the robot's settings.
            clock: the ROS clock in seconds.
            camera_now: the newest `T_base_camera` of the head camera's optical frame.
        """
        self._node, self._settings, self._clock, self._camera_now = node, settings, clock, camera_now
        self._publisher = node.create_publisher(Float64, settings.tilt_topic, 1) if settings.tilt_topic else None
        self._wanted_rad: float | None = None
        self._level_rad: float | None = None  # tilt before this node first moved the camera
        self._until_s = 0.0
        self._outcome: Outcome | None = None

    def start(self, angle_rad: float) -> None:
        """Tilt by an angle relative to the current tilt, up positive, clamped to the range."""
        self._outcome = self._wanted_rad = None
        now_rad = self._tilt_rad()
        if self._publisher is None:
            self._outcome = Outcome(Code.SKILL_FAILED, "the camera is fixed; set robot.tilt_topic where it tilts")
        elif now_rad is None:
            self._outcome = Outcome(Code.SKILL_FAILED, "the head camera's tilt is not known: no transform to it on /tf")
        else:
            self._level_rad = now_rad if self._level_rad is None else self._level_rad
            self._command(now_rad + angle_rad)

    def level(self) -> bool:
        """Tilt back to where the camera was before the first `start`; returns whether it has to move for that."""
        self._outcome = self._wanted_rad = None
        now_rad = self._tilt_rad()
        if self._level_rad is None or now_rad is None or abs(now_rad - self._level_rad) <= _TOLERANCE_RAD:
            return False
        self._command(self._level_rad)
        return True

    def poll(self) -> Outcome | None:
        """The outcome, returned once; None while the head moves or if nothing was started."""
        if self._wanted_rad is not None:
            self._outcome = self._check(self._wanted_rad)
        outcome, self._outcome = self._outcome, None
        if outcome is not None:
            self._wanted_rad = None
        return outcome

    def cancel(self) -> None:
        """Drop the tilt under way. `MotionStop` tells the head to stop, on its tilt topic with `/cancel`."""
        self._outcome = self._wanted_rad = None

    def close(self) -> None:
        """Destroy the publisher."""
        if self._publisher is not None:
            self._node.destroy_publisher(self._publisher)

    def _command(self, tilt_rad: float) -> None:
        assert self._publisher is not None  # without one, no tilt was ever started
        self._wanted_rad = float(np.clip(tilt_rad, self._settings.lowest_tilt_rad, self._settings.highest_tilt_rad))
        self._until_s = self._clock() + _TIMEOUT_S
        self._publisher.publish(Float64(data=self._wanted_rad))

    def _check(self, wanted_rad: float) -> Outcome | None:
        now_rad = self._tilt_rad()
        if now_rad is not None and abs(now_rad - wanted_rad) <= _TOLERANCE_RAD:
            return Outcome(Code.OK)
        if self._clock() < self._until_s:
            return None
        actual = "not known" if now_rad is None else f"{now_rad:.2f} rad"
        return Outcome(Code.BLOCKED, f"the camera's tilt is {actual}, commanded {wanted_rad:.2f} rad")

    def _tilt_rad(self) -> float | None:
        """Angle of the camera's optical axis above the horizon."""
        T_base_camera = self._camera_now()
        if T_base_camera is None:
            return None
        return math.asin(float(np.clip(T_base_camera.rotation[2, 2], -1.0, 1.0)))
