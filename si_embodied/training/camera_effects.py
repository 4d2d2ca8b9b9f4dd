"""What real cameras do to an image: exposure, white balance, blur, sensor noise and compression."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from si_embodied.errors import extra

with extra("sim"):
    from PIL import Image, ImageFilter

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, eq=False)
class CameraEffects:
    """The effects of one camera in one light."""

    levels: NDArray[np.uint8]  # (3, 256), what each channel's values become
    blur_px: float  # radius; 0 for none
    noise: float  # standard deviation, of 255
    jpeg_quality: int | None  # None for no compression

    @classmethod
    def draw(cls, rng: np.random.Generator) -> CameraEffects:
        """Exposure within half a stop, gamma 0.8 to 1.25, colour casts of a few percent, and mild defects."""
        gains = 2.0 ** rng.uniform(-0.5, 0.5) * (1.0 + rng.normal(0.0, 0.05, 3))
        gamma = 2.0 ** rng.uniform(-0.32, 0.32)
        levels = 255.0 * np.clip(gains[:, None] * (np.arange(256) / 255.0) ** gamma, 0.0, 1.0)
        blur_px = float(rng.uniform(0.3, 1.0)) if rng.random() < 0.5 else 0.0
        jpeg_quality = int(rng.integers(40, 96)) if rng.random() < 0.5 else None
        return cls(np.rint(levels).astype(np.uint8), blur_px, float(rng.uniform(0.0, 6.0)), jpeg_quality)

    def apply(self, pixels: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
        """The image (H, W, 3) as this camera would deliver it; `rng` draws the noise."""
        seen = np.stack([self.levels[channel][pixels[..., channel]] for channel in range(3)], axis=-1)
        image = Image.fromarray(seen)
        if self.blur_px:
            image = image.filter(ImageFilter.GaussianBlur(self.blur_px))
        noise = rng.normal(0.0, self.noise, pixels.shape)
        noisy: NDArray[np.uint8] = np.clip(np.asarray(image) + noise, 0, 255).astype(np.uint8)
        if self.jpeg_quality is None:
            return noisy
        buffer = io.BytesIO()
        Image.fromarray(noisy).save(buffer, "JPEG", quality=self.jpeg_quality)
        return np.asarray(Image.open(buffer))


def like_cameras(
    pictures: Sequence[NDArray[np.uint8]], rng: np.random.Generator, share: float
) -> Sequence[NDArray[np.uint8]]:  # fmt: skip
    """Images (H, W, 3) of one camera; in a `share` of the calls, with the effects of a drawn one."""
    if rng.random() >= share:
        return pictures
    camera = CameraEffects.draw(rng)
    return [camera.apply(pixels, rng) for pixels in pictures]
