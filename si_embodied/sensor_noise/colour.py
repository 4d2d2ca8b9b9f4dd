"""What real cameras do to a colour image: exposure, white balance, blur, sensor noise and compression."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from si_embodied.errors import extra
from si_embodied.sensor_noise.wander import Wander

with extra("sim"):
    from PIL import Image, ImageFilter

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from si_embodied.sensor_noise.profiles import ColourNoise

_GAMMA = 2.2
"""Of the pixels: their light is their value to this power (sRGB, IEC 61966-2-1, about)."""


@dataclass(frozen=True, slots=True, eq=False)
class CameraEffects:
    """The effects of one camera in one light."""

    levels: NDArray[np.uint8]  # (3, 256), what each channel's values become
    blur_px: float  # radius; 0 for none
    noise: float  # standard deviation, of 255
    jpeg_quality: int | None  # None for no compression

    def apply(self, pixels: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
        """The image (H, W, 3) as this camera would deliver it; `rng` draws the noise."""
        seen = np.stack([self.levels[channel][pixels[..., channel]] for channel in range(3)], axis=-1)
        image = Image.fromarray(seen)
        if self.blur_px:
            image = image.filter(ImageFilter.GaussianBlur(self.blur_px))
        noise = rng.normal(0.0, self.noise, pixels.shape)
        noisy: NDArray[np.uint8] = np.clip(np.rint(np.asarray(image) + noise), 0, 255).astype(np.uint8)
        if self.jpeg_quality is None:
            return noisy
        buffer = io.BytesIO()
        Image.fromarray(noisy).save(buffer, "JPEG", quality=self.jpeg_quality)
        return np.asarray(Image.open(buffer))


class Light:
    """Automatic exposure and white balance, which hunt for the right values within seconds."""

    def __init__(self) -> None:
        """Start at the right values; the first call of `effects` draws others."""
        self._exposure, self._balance = Wander(1), Wander(3)

    def effects(self, noise: ColourNoise, period_s: float, rng: np.random.Generator) -> CameraEffects:
        """The camera's effects, `period_s` after the last call."""
        stops = self._exposure.step(noise.exposure_stops, period_s, rng)
        channels = self._balance.step(noise.white_balance_ratio, period_s, rng)
        gains = 2.0**stops * np.maximum(1.0 + channels, 0.1)  # of the light
        levels = np.clip(np.arange(256) * gains[:, None] ** (1 / _GAMMA), 0.0, 255.0)
        return CameraEffects(np.rint(levels).astype(np.uint8), noise.blur_px, noise.grey_levels, None)
