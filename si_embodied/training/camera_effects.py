"""Images in training that look as if real cameras had taken them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from si_embodied.sensor_noise.colour import CameraEffects

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray


def drawn_camera(rng: np.random.Generator) -> CameraEffects:
    """Exposure within half a stop, gamma 0.8 to 1.25, colour casts of a few percent, and mild defects."""
    gains = 2.0 ** rng.uniform(-0.5, 0.5) * (1.0 + rng.normal(0.0, 0.05, 3))
    gamma = 2.0 ** rng.uniform(-0.32, 0.32)
    levels = 255.0 * np.clip(gains[:, None] * (np.arange(256) / 255.0) ** gamma, 0.0, 1.0)
    blur_px = float(rng.uniform(0.3, 1.0)) if rng.random() < 0.5 else 0.0
    jpeg_quality = int(rng.integers(40, 96)) if rng.random() < 0.5 else None
    return CameraEffects(np.rint(levels).astype(np.uint8), blur_px, float(rng.uniform(0.0, 6.0)), jpeg_quality)


def like_cameras(
    pictures: Sequence[NDArray[np.uint8]], rng: np.random.Generator, share: float
) -> Sequence[NDArray[np.uint8]]:  # fmt: skip
    """Images (H, W, 3) of one camera; in a `share` of the calls, with the effects of a drawn one."""
    if rng.random() >= share:
        return pictures
    camera = drawn_camera(rng)
    return [camera.apply(pixels, rng) for pixels in pictures]
