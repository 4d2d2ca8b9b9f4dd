"""Images as the small model sees them: resized to whole cells, and compressed in memory."""

from __future__ import annotations

import math
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from si_embodied.errors import extra

with extra("sim"):
    from PIL import Image

if TYPE_CHECKING:
    from numpy.typing import NDArray

CELL_PX = 20
"""Side of a cell, the square of merged patches that becomes one token of the language model."""
IMAGE_PX = 220  # side of a square view at full size
SMALL_IMAGE_PX = 120  # the same of an earlier view, which prompts show at half size


@dataclass(frozen=True, slots=True)
class Picture:
    """An image at the model's resolution, compressed: a tenth of its pixels' size, and unpacked in 0.2 ms."""

    packed: bytes
    height: int
    width: int

    @classmethod
    def of(cls, pixels: NDArray[np.uint8]) -> Picture:
        """Compress an image (H, W, 3)."""
        return cls(zlib.compress(np.ascontiguousarray(pixels).tobytes(), 6), *pixels.shape[:2])

    def pixels(self) -> NDArray[np.uint8]:
        """The image (H, W, 3), read-only."""
        return np.frombuffer(zlib.decompress(self.packed), np.uint8).reshape(self.height, self.width, 3)


def fitted(rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Resize an image (H, W, 3) as the checkpoint's image processor does."""
    height, width = fitted_size(*rgb.shape[:2])
    return np.asarray(Image.fromarray(rgb).resize((width, height), Image.Resampling.BICUBIC))


def fitted_size(height: int, width: int) -> tuple[int, int]:
    """The size to which the image processor resizes an image: whole cells, with an area between the two sizes above.

    As `smart_resize` of Qwen2-VL's image processor in transformers.
    """
    rows, columns = round(height / CELL_PX), round(width / CELL_PX)
    cells = rows * columns
    most, least = (IMAGE_PX // CELL_PX) ** 2, (SMALL_IMAGE_PX // CELL_PX) ** 2
    if cells > most:
        scale = math.sqrt(height * width / IMAGE_PX**2)
        rows, columns = (max(1, math.floor(side / scale / CELL_PX)) for side in (height, width))
    elif cells < least:
        scale = math.sqrt(SMALL_IMAGE_PX**2 / (height * width))
        rows, columns = (math.ceil(side * scale / CELL_PX) for side in (height, width))
    return rows * CELL_PX, columns * CELL_PX
