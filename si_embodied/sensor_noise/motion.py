"""Where the pixels of a real image come from: motion blur, rolling shutter and lens distortion."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from si_embodied.geometry import Intrinsics, Pose
    from si_embodied.sensor_noise.profiles import ColourNoise
    from si_embodied.types import CameraFrame

_MOST_SAMPLES = 8
_NO_RETURN_M = 100.0  # so far away that only turning moves it


@dataclass(frozen=True, slots=True, eq=False)
class Velocity:
    """How a camera moves, in its optical frame."""

    linear_m_s: NDArray[np.float64]  # (3,)
    angular_rad_s: NDArray[np.float64]  # (3,)

    @classmethod
    def between(cls, before: Pose, now: Pose, period_s: float) -> Velocity:
        """The constant velocity of a camera that moved from one `T_map_camera` to the next."""
        T_now_before = now.inverse() @ before
        turn = T_now_before.rotation.T
        axis = np.array([turn[2, 1] - turn[1, 2], turn[0, 2] - turn[2, 0], turn[1, 0] - turn[0, 1]]) / 2
        sine, cosine = float(np.linalg.norm(axis)), (float(np.trace(turn)) - 1) / 2
        angle = math.atan2(sine, cosine) / sine if sine > 1e-9 else 1.0
        return cls(-T_now_before.translation / period_s, angle * axis / period_s)

    def flow(self, frame: CameraFrame) -> NDArray[np.float64]:
        """(2, H, W), how fast each pixel's surface moves to the right and down, pixels per second."""
        k = frame.intrinsics
        z = np.full((k.height, k.width), _NO_RETURN_M) if frame.depth_m is None else frame.depth_m.astype(np.float64)
        z = np.where(z > 0, z, _NO_RETURN_M)
        v, u = np.indices(z.shape)
        x, y = (u - k.cx) / k.fx, (v - k.cy) / k.fy  # over z
        (vx, vy, vz), (wx, wy, wz) = self.linear_m_s, self.angular_rad_s
        # A point that stands moves by -(velocity + angular velocity x point) in the camera's frame.
        x_rate, y_rate, z_rate = -(vx / z + wy - wz * y), -(vy / z + wz * x - wx), -(vz / z + wx * y - wy * x)
        return np.stack([k.fx * (x_rate - x * z_rate), k.fy * (y_rate - y * z_rate)])


def warped(frame: CameraFrame, noise: ColourNoise, velocity: Velocity | None) -> NDArray[np.uint8]:
    """The frame's colours (H, W, 3) as a moving camera with a lens sees them; None for a camera that stands.

    The image's stamp is that of the middle row at the middle of its exposure. Depth is not changed: the infrared
    cameras have a global shutter, so that colour and depth disagree by what colour moves here.
    """
    k = frame.intrinsics
    v, u = np.indices((k.height, k.width), dtype=np.float64)
    sources = undistorted(k, u, v, noise.distortion) if noise.distortion else (u, v)
    if velocity is None or not (noise.exposure_s or noise.readout_s):
        return frame.rgb if sources[0] is u else _rounded(_sampled(frame.rgb, *sources))
    flow = velocity.flow(frame)
    late_s = noise.readout_s * (v / max(k.height - 1, 1) - 0.5)
    samples = int(np.clip(math.ceil(float(np.abs(flow).max()) * noise.exposure_s) + 1, 1, _MOST_SAMPLES))
    seen = np.zeros(frame.rgb.shape)
    for offset in (np.arange(samples) + 0.5) / samples - 0.5:
        moved = flow * (late_s + offset * noise.exposure_s)
        seen += _sampled(frame.rgb, sources[0] - moved[0], sources[1] - moved[1])
    return _rounded(seen / samples)


def undistorted(
    k: Intrinsics, u: NDArray[np.float64], v: NDArray[np.float64], distortion: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The pixels of a pinhole camera that lie at pixels (u, v) of one with distortion.

    A point at radius r lies at r * (1 + distortion * (r / R)^2), with R that of the corner: the first term of the
    Brown-Conrady model (D. C. Brown, "Close-range camera calibration", 1971), inverted to first order.
    """
    x, y = u - (k.width - 1) / 2, v - (k.height - 1) / 2
    corner = ((k.width - 1) / 2) ** 2 + ((k.height - 1) / 2) ** 2
    inward = distortion * (x**2 + y**2) / corner
    return u - inward * x, v - inward * y


def _rounded(pixels: NDArray[np.float64]) -> NDArray[np.uint8]:
    rounded: NDArray[np.uint8] = np.clip(np.rint(pixels), 0, 255).astype(np.uint8)
    return rounded


def _sampled(image: NDArray[np.uint8], u: NDArray[np.float64], v: NDArray[np.float64]) -> NDArray[np.float64]:
    """The image (H, W, 3) at fractional pixels, bilinear; the border repeats."""
    height, width = image.shape[:2]
    u, v = np.clip(u, 0, width - 1), np.clip(v, 0, height - 1)
    left, top = np.minimum(u.astype(np.intp), max(width - 2, 0)), np.minimum(v.astype(np.intp), max(height - 2, 0))
    right, below = np.minimum(left + 1, width - 1), np.minimum(top + 1, height - 1)
    a, b = (u - left)[..., None], (v - top)[..., None]
    upper = (1 - a) * image[top, left] + a * image[top, right]
    lower = (1 - a) * image[below, left] + a * image[below, right]
    found: NDArray[np.float64] = (1 - b) * upper + b * lower
    return found
