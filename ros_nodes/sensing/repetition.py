"""Notices a frozen camera: one whose images stay byte for byte the same, with new stamps, while it moves. Pure.

The judgement may be wrong where images have no noise: a simulated wall that looks the same from everywhere. The refusal
then forbids the very motion that would change the image. So in a simulation, a camera that has stood for `DOUBT_S` is
judged again from there on. A real camera has noise: it stays refused until an image differs.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
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
_LOOP = 4
"""Images of the longest loop that is noticed: a driver may hand out the same few buffers in turn."""
_LATEST_S = 10.0
"""Images may arrive out of order, this much later than others."""
_PERIOD_S = 0.09
"""Between two images that are compared, so that it costs a camera of 30 Hz no more than one of 10 Hz."""
DOUBT_S = 30.0
"""How long a camera counts as frozen while it stands: twice the time in which refusals end a task (5 of 3 s each)."""
_STANDS_M = 0.05
"""A camera stands if it moves less than this, or half of `travel_m`: odometry drifts a little."""


@dataclass(frozen=True, slots=True)
class Placed:
    """A pose in a frame that moves smoothly."""

    fixed_frame: str
    pose: Pose


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
    """One stream of images. Equal is an image that came before, so that a loop of a few images counts as frozen too."""

    def __init__(self, *, travel_m: float, standing_s: float, simulated: bool = False) -> None:
        """Watch a stream.

        Args:
            travel_m: how far a camera moves with equal images until it counts as frozen, a radian counting as a metre;
                0: never.
            standing_s: how long a camera that stands still sends equal images until it counts as frozen; 0: never.
            simulated: the camera has no noise, unless `standing_s` says otherwise.
        """
        self._limit_m, self._limit_s = travel_m, standing_s
        self._noiseless = simulated and not standing_s
        self.clear()

    def clear(self) -> None:
        """Start anew with the next image."""
        self._samples: deque[NDArray[np.uint8]] = deque(maxlen=_LOOP)
        self._restart(0.0)

    def _restart(self, stamp_s: float) -> None:
        self._since_s = self._newest_s = stamp_s
        self._repeats = 0
        self._varied = False
        self._start: Placed | None = None  # where the equal images began
        self._stands: Placed | None = None  # where the camera was when it last moved
        self._moved_s = stamp_s
        self._travel_m = self._turn_rad = 0.0  # farthest from the start

    def due(self, stamp_s: float) -> bool:
        """Whether an image is to be compared: not one that was overtaken, which shows where the camera was before."""
        return not self._samples or not -_LATEST_S <= stamp_s - self._newest_s < _PERIOD_S

    def add(self, part: NDArray[np.uint8], stamp_s: float, pose_at: Callable[[float], Placed | None]) -> bool:
        """Take the sample of an image.

        Args:
            part: the image's sample.
            stamp_s: the image's stamp.
            pose_at: where the camera was at a stamp, None if that is not known. Poses in different frames are not
                compared: travel counts anew from the first pose in another frame.

        Returns:
            Whether a frozen camera has stood for so long that it is judged anew.
        """
        if stamp_s < self._newest_s:  # by more than an image can be late: its stamps begin anew
            self.clear()
        if not any(np.array_equal(part, sample) for sample in self._samples):
            self._samples.append(part)
            self._restart(stamp_s)
            return False
        earlier_s, self._newest_s = self._newest_s, stamp_s
        self._repeats += 1
        if self._repeats == 1:
            self._varied = varied(part)
        if self._varied and self._repeats >= _SETTLED:
            placed = pose_at(earlier_s)  # of the image before: the transforms of the newest may come after it
            return placed is not None and self._move(placed, earlier_s)
        return False

    def _move(self, placed: Placed, stamp_s: float) -> bool:
        """Measure the travel; whether the judgement that the camera is frozen is dropped, because it stands."""
        if self._start is None or self._stands is None or self._start.fixed_frame != placed.fixed_frame:
            self._start = self._stands = placed
            self._moved_s, self._travel_m, self._turn_rad = stamp_s, 0.0, 0.0
        travel_m, turn_rad = _between(self._start.pose, placed.pose)
        if travel_m + turn_rad > self._travel_m + self._turn_rad:
            self._travel_m, self._turn_rad = travel_m, turn_rad
        if sum(_between(self._stands.pose, placed.pose)) > min(_STANDS_M, self._limit_m / 2):
            self._stands, self._moved_s = placed, stamp_s
        if not self._noiseless or not self._travelled or stamp_s - self._moved_s < DOUBT_S:
            return False
        self._restart(self._newest_s)
        return True

    @property
    def _travelled(self) -> bool:
        return 0 < self._limit_m < self._travel_m + self._turn_rad

    @property
    def problem(self) -> str | None:
        """Why the stream counts as frozen, None if it does not."""
        if self._repeats < _LEAST_IMAGES or not self._varied:
            return None
        lasts_s = self._newest_s - self._since_s
        repeated = f"has repeated the same image for {lasts_s:.1f} s"
        if self._travelled:
            turned = math.degrees(self._turn_rad)
            return f"{repeated} while the camera moved by {self._travel_m:.2f} m and {turned:.0f} degrees"
        if 0 < self._limit_s < lasts_s:
            return f"{repeated}, longer than frozen_s, {self._limit_s} s"
        return None


def _between(a: Pose, b: Pose) -> tuple[float, float]:
    """Metres and radians between two poses."""
    cosine = (float(np.trace(a.rotation.T @ b.rotation)) - 1) / 2
    return float(np.linalg.norm(b.translation - a.translation)), math.acos(max(-1.0, min(1.0, cosine)))
