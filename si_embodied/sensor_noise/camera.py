"""One camera with noise, in one episode."""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING

from si_embodied.geometry import Pose
from si_embodied.sensor_noise.colour import Light
from si_embodied.sensor_noise.depth import measured
from si_embodied.sensor_noise.motion import Velocity, warped
from si_embodied.sensor_noise.profiles import ColourNoise, DepthNoise

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from si_embodied.sensor_noise.profiles import NoiseProfile, PoseNoise
    from si_embodied.types import CameraFrame


class NoisyCamera:
    """Turns the frames of an ideal camera into those of a real one.

    What stays the same in an episode (the error of the calibration, the bias of depth, which surfaces mirror) is drawn
    at its start; exposure and white balance change slowly; everything else is drawn for each image.
    """

    def __init__(self, rng: np.random.Generator, salt: int = 0) -> None:
        """Start an episode, in which `rng` draws everything; `salt` decides which surfaces of the world mirror."""
        self._rng, self._light = rng, Light()
        self._before: tuple[float, Pose] | None = None  # stamp and true pose of the last frame
        self._bias, self._misplaced = float(rng.normal()), rng.normal(size=6)
        self._salt = salt

    def take(self, frame: CameraFrame, noise: NoiseProfile, *, moves: bool = True) -> CameraFrame:
        """The frame as this camera delivers it.

        Args:
            frame: of an ideal camera, with its true pose.
            noise: may differ from call to call.
            moves: whether the camera moves while it takes the image, as fast as since the last one.
        """
        period_s = math.inf if self._before is None else frame.stamp_s - self._before[0]
        velocity = None
        if moves and self._before is not None and period_s > 0:
            velocity = Velocity.between(self._before[1], frame.T_map_camera, period_s)
        self._before = frame.stamp_s, frame.T_map_camera
        depth_m = frame.depth_m
        if depth_m is not None and noise.depth != DepthNoise():
            bias, salt, rng = self._bias, self._salt, self._rng
            depth_m = measured(depth_m, frame.intrinsics, frame.T_map_camera, noise.depth, bias, salt, rng)
        rgb = self._colour(frame, noise.colour, velocity, max(period_s, 0.0))
        pose = frame.T_map_camera @ self._misplacement(noise.pose)
        return dataclasses.replace(frame, rgb=rgb, depth_m=depth_m, T_map_camera=pose)

    def _colour(
        self, frame: CameraFrame, noise: ColourNoise, velocity: Velocity | None, period_s: float
    ) -> NDArray[np.uint8]:
        if noise == ColourNoise():
            return frame.rgb
        effects = self._light.effects(noise, period_s, self._rng)
        return effects.apply(warped(frame, noise, velocity), self._rng)

    def _misplacement(self, noise: PoseNoise) -> Pose:
        """Where the camera is believed to be, as seen from where it is; the calibration's error."""
        if not (noise.calibration_m or noise.calibration_rad):
            return Pose.identity()
        roll, pitch, yaw = noise.calibration_rad * self._misplaced[3:]
        return Pose.from_rpy(roll, pitch, yaw, noise.calibration_m * self._misplaced[:3])


def noisy_cameras(count: int, rng: np.random.Generator) -> list[NoisyCamera]:
    """The cameras of one robot in one episode, to which the same surfaces mirror."""
    salt = int(rng.integers(2**62))
    return [NoisyCamera(rng, salt) for _ in range(count)]
