"""BAGEL's image preprocessing: two resizes, scaling to -1..1, and patches with their places in a square grid.

Source: the BAGEL repository (ByteDance-Seed/Bagel), `data/transforms.py` and `data/data_utils.py`, Apache-2.0.
"""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from si_embodied.errors import CheckpointError, extra

with extra("models"):
    from PIL import Image

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from si_embodied.models.bagel.config import BagelConfig, Resize
    from si_embodied.models.points import Size

_FILE = "preprocessor_config.json"
_MAX_PIXELS = 14 * 14 * 9 * 1024  # after a resize


@dataclass(frozen=True, slots=True)
class BagelImageProcessor:
    """From an image to the vision tower's inputs."""

    resizes: tuple[Resize, ...]
    patch_size: int  # pixels
    grid_side: int  # the tower's table has a position for each of `grid_side` x `grid_side` patches

    @classmethod
    def from_config(cls, config: BagelConfig) -> BagelImageProcessor:
        """The processor of a checkpoint."""
        vision = config.vision_config
        resizes = tuple((int(most), int(least), int(step)) for most, least, step in config.image_resizes)
        return cls(resizes, vision.patch_size, vision.image_size // vision.patch_size)

    @classmethod
    def read(cls, directory: Path) -> BagelImageProcessor:
        """The processor that `save_pretrained` wrote.

        Raises:
            CheckpointError: the file is missing or malformed.
        """
        file = directory / _FILE
        try:
            values = json.loads(file.read_text(encoding="utf-8"))
            resizes = tuple((int(most), int(least), int(step)) for most, least, step in values["resizes"])
            return cls(resizes, int(values["patch_size"]), int(values["grid_side"]))
        except (OSError, ValueError, LookupError, TypeError) as error:
            raise CheckpointError(f"{file} cannot be read ({error}): convert or export the model again") from error

    def save_pretrained(self, directory: str | Path) -> None:
        """Write the settings into a directory."""
        values = {"image_processor_type": type(self).__name__, **asdict(self)}
        (Path(directory) / _FILE).write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")

    def __call__(
        self, image: NDArray[np.uint8], *, most_patches: int = _MAX_PIXELS
    ) -> tuple[NDArray[np.float32], NDArray[np.int64], Size]:
        """Preprocess an image (H, W, 3), with the last resize to a size of at most so many patches.

        Returns:
            The patches (n, patch² x 3) in reading order, each by row, column and channel; their places in the grid
            (n,), row x `grid_side` + column; and the resized image's width and height in pixels.

        Raises:
            ValueError: the resized image has more rows or columns of patches than the grid.
        """
        picture, size = Image.fromarray(image), self.patch_size
        for number, resize in enumerate(self.resizes, 1):
            target = resized(picture.size, resize)
            if number == len(self.resizes):
                target = reduced(target, size, most_patches)
            picture = picture.resize(target, Image.Resampling.BICUBIC)
        rows, columns = picture.height // size, picture.width // size
        if max(rows, columns) > self.grid_side:
            raise ValueError(f"{rows} x {columns} patches do not fit into a grid of {self.grid_side}")
        pixels = (np.asarray(picture, dtype=np.float32) / 255 - 0.5) / 0.5
        patches = pixels.reshape(rows, size, columns, size, 3)
        row, column = np.indices((rows, columns))
        return (
            patches.swapaxes(1, 2).reshape(rows * columns, -1),
            (row * self.grid_side + column).reshape(-1).astype(np.int64),
            picture.size,
        )


def resized(size: Size, resize: Resize) -> Size:
    """The size of an image after a resize: both sides within limits and multiples of a step, the ratio nearly kept.

    Args:
        size: width and height, pixels.
        resize: the most pixels of the longer side, the least of the shorter (the former takes precedence), and the
            step.
    """
    most, least, step = resize
    scale = max(min(most / max(size), 1.0), least / min(size))
    width, height = _scaled(size, scale, step)
    if width * height > _MAX_PIXELS:
        width, height = _scaled((width, height), _MAX_PIXELS / (width * height), step)
    if max(width, height) > most:
        width, height = _scaled((width, height), most / max(width, height), step)
    return width, height


def reduced(size: Size, patch_size: int, most_patches: int) -> Size:
    """The largest size of at most `most_patches` whole patches with nearly the same ratio; `size` if it has no more."""
    width, height = size
    if width * height <= most_patches * patch_size**2:
        return size
    scale = math.sqrt(most_patches * patch_size**2 / (width * height))
    columns, rows = (max(1, math.floor(side * scale / patch_size)) for side in size)
    return min(columns, most_patches) * patch_size, min(rows, most_patches) * patch_size


def _scaled(size: Size, scale: float, step: int) -> Size:
    """A size times `scale`, each side rounded to a multiple of `step`, and at least one."""
    width, height = (max(step, round(round(side * scale) / step) * step) for side in size)
    return width, height
