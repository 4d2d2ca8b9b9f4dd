"""Notices a frozen camera: one whose images stay byte for byte the same, with new stamps, while it moves. Pure."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from si_embodied.geometry import Pose

_ROWS = 16
"""Rows compared of each image, evenly spaced: 30 kB of 640 x 480 RGB. Noise, or motion, changes every row."""
_MOST_BYTES = 32_768
"""Compared of a compressed image, evenly spaced."""
_LEAST_IMAGES = 5
"""Compared images that equal the one before: half a second of them."""
_SETTLED = 3
"""Compared images before poses count: the stamps of a camera, or of transforms, may be a little late when it stops."""
_PERIOD_S = 0.09
"""Between two images that are compared, so that it costs a camera of 30 Hz no more than one of 10 Hz."""


def sample(message: Any) -> NDArray[np.uint8]:
    """A part of an image's bytes that stands for all of it: (rows, pixels, bytes), (n,) if compressed.

    Takes a `sensor_msgs/Image` or `CompressedImage`. Empty if the bytes do not fit the image's size.
    """
    data = np.frombuffer(message.data, dtype=np.uint8)
    if not hasattr(message, "step"):
        return data[:: max(1, data.size // _MOST_BYTES)].copy()
    height, width, step = message.height, message.width, message.step
    if height < 1 or width < 1 or step < width or data.size < step * height:
        return np.empty(0, np.uint8)
    size = step // width
    rows = data[: step * height].reshape(height, step)[:: max(1, height // _ROWS), : width * size]
    return rows.reshape(len(rows), width, size).copy()


def varied(part: NDArray[np.uint8]) -> bool:
    """Whether an image shows anything: of a uniform one, or without any return, motion changes nothing."""
    if part.ndim < 3:
        return part.size > 0  # compressed
    return bool((part != part[0, 0]).any())


class RepetitionWatch:
    """One stream of images."""

    def __init__(self, *, travel_m: float, standing_s: float) -> None:
        """Watch a stream.

        Args:
            travel_m: how far a camera moves with equal images until it counts as frozen, a radian counting as a metre;
                0: never.
            standing_s: how long a camera that stands still sends equal images until it counts as frozen; 0: never.
        """
        self._limit_m, self._limit_s = travel_m, standing_s
        self.clear()

    def clear(self) -> None:
        """Start anew with the next image."""
        self._sample: NDArray[np.uint8] | None = None
        self._restart(0.0)

    def _restart(self, stamp_s: float) -> None:
        self._since_s = self._newest_s = stamp_s
        self._repeats = 0
        self._varied = False
        self._start: Pose | None = None  # where the equal images began
        self._travel_m = self._turn_rad = 0.0  # farthest from the start

    def due(self, stamp_s: float) -> bool:
        """Whether an image is to be compared."""
        return self._sample is None or not 0 <= stamp_s - self._newest_s < _PERIOD_S

    def add(self, part: NDArray[np.uint8], stamp_s: float, pose_at: Callable[[float], Pose | None]) -> None:
        """Take the sample of an image; `pose_at` is where the camera was at a stamp, None if that is not known."""
        if self._sample is None or not np.array_equal(part, self._sample):
            self._sample = part
            self._restart(stamp_s)
            return
        earlier_s, self._newest_s = self._newest_s, stamp_s
        self._repeats += 1
        if self._repeats == 1:
            self._varied = varied(part)
        if self._varied and self._repeats >= _SETTLED:
            self._move(pose_at(earlier_s))  # of the image before: the transforms of the newest may come after it

    def _move(self, pose: Pose | None) -> None:
        if pose is None:
            return
        self._start = self._start or pose
        travel_m, turn_rad = _between(self._start, pose)
        if travel_m + turn_rad > self._travel_m + self._turn_rad:
            self._travel_m, self._turn_rad = travel_m, turn_rad

    @property
    def problem(self) -> str | None:
        """Why the stream counts as frozen, None if it does not."""
        if self._repeats < _LEAST_IMAGES or not self._varied:
            return None
        lasts_s = self._newest_s - self._since_s
        repeated = f"has repeated the same image for {lasts_s:.1f} s"
        if 0 < self._limit_m < self._travel_m + self._turn_rad:
            turned = math.degrees(self._turn_rad)
            return f"{repeated} while the camera moved by {self._travel_m:.2f} m and {turned:.0f} degrees"
        if 0 < self._limit_s < lasts_s:
            return f"{repeated}, longer than frozen_s, {self._limit_s} s"
        return None


def _between(a: Pose, b: Pose) -> tuple[float, float]:
    """Metres and radians between two poses."""
    cosine = (float(np.trace(a.rotation.T @ b.rotation)) - 1) / 2
    return float(np.linalg.norm(b.translation - a.translation)), math.acos(max(-1.0, min(1.0, cosine)))
