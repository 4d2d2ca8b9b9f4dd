"""InternVL's tiling, compared with an independent implementation of the paper's rule on 10,000 sizes.

InternVL 1.5 (arXiv 2404.16821, section 3.1): of all grids within the tile budget, take the one with the nearest aspect
ratio, resize the image to it, cut it into tiles, and add the whole image as a thumbnail if there is more than one tile.
Of equally near grids, the released code takes a larger one only if the image has more than half of its pixels.
"""

from __future__ import annotations

from itertools import islice
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

pytest.importorskip("transformers")

from PIL import Image
from transformers.models.got_ocr2.image_processing_pil_got_ocr2 import get_optimal_tiled_canvas

from si_embodied.models.image_budget import TILES
from si_embodied.models.loading import load_checkpoint
from si_embodied.models.original import original_image_processor
from si_embodied.types import Prompt

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from numpy.typing import NDArray

MEAN, STD = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])  # ImageNet's


def _grid(width: int, height: int, side: int, budget: int) -> tuple[int, int]:
    """Columns and rows; floating-point rounding decides which grids are equally near, as in the released code."""
    best, nearest = (1, 1), None
    grids = [(c, r) for c in range(1, budget + 1) for r in range(1, budget + 1) if c * r <= budget]
    for columns, rows in sorted(grids, key=lambda grid: grid[0] * grid[1]):
        distance = abs(width / height - columns / rows)
        bigger_is_filled = 2 * width * height > side * side * columns * rows
        if nearest is None or distance < nearest or (distance == nearest and bigger_is_filled):
            best, nearest = (columns, rows), distance
    return best


def _tiles(image: NDArray[np.uint8], side: int, budget: int) -> NDArray[np.float64]:
    """(N, 3, side, side), normalised."""
    picture = Image.fromarray(image)
    columns, rows = _grid(*picture.size, side, budget)
    whole = np.asarray(picture.resize((columns * side, rows * side), Image.Resampling.BICUBIC))
    tiles = [whole[r * side : (r + 1) * side, c * side : (c + 1) * side] for r in range(rows) for c in range(columns)]
    if len(tiles) > 1:
        tiles.append(np.asarray(picture.resize((side, side), Image.Resampling.BICUBIC)))
    return ((np.stack(tiles) / 255 - MEAN) / STD).transpose(0, 3, 1, 2)


def _sizes(count: int, longest: int) -> Iterator[tuple[int, int]]:
    """Widths and heights: common camera sizes and their halves, multiples of tiles, and random ones."""
    rng = np.random.default_rng(4)
    common = [(640, 480), (1280, 720), (448, 448), (500, 500), (896, 448), (1344, 896), (224, 224), (1920, 1080)]
    fixed = [size for width, height in common for size in ((width, height), (height, width), (width // 2, height // 2))]
    for _ in range(200):  # ratios in which grids tie
        scale, columns, rows = (int(value) for value in rng.integers(1, [longest // 12, 7, 7]))
        fixed.append((scale * columns, scale * rows))
    fixed = [(width, height) for width, height in fixed if max(width, height) <= longest]
    drawn = rng.integers(8, longest + 1, (count - len(fixed), 2))
    yield from fixed
    yield from ((int(width), int(height)) for width, height in drawn)


def _processor(side: int) -> Any:
    """The image processor of a converted checkpoint with tiles of `side` pixels."""
    return original_image_processor(SimpleNamespace(vision_config=SimpleNamespace(image_size=(side, side))))


def _check_pixels(processor: Any, sizes: Iterable[tuple[int, int]], budget: int) -> None:
    """The same tiles in the same order; neighbouring levels of 256 differ by 0.017."""
    rng, side = np.random.default_rng(1), processor.size["height"]
    for width, height in sizes:
        image = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
        ours = processor(
            [image], crop_to_patches=True, min_patches=1, max_patches=budget, input_data_format="channels_last",
            return_tensors="np",
        )["pixel_values"]  # fmt: skip
        np.testing.assert_allclose(ours, _tiles(image, side, budget), rtol=0, atol=1e-5, err_msg=f"{width}x{height}")


@pytest.mark.parametrize("budget", [1, 2, 6, 12])
def test_grids_of_10_000_sizes(budget: int) -> None:
    """Tiles of 448 px; 1, 2 and 6 are our tile budgets, 12 is the checkpoints' own."""
    for width, height in _sizes(10_000, 3000):
        assert get_optimal_tiled_canvas((height, width), (448, 448), 1, budget) == _grid(width, height, 448, budget)


def test_pixels_of_camera_sizes() -> None:
    """With released tiles, and our budget for one image."""
    _check_pixels(_processor(448), [(640, 480), (448, 448), (31, 97)], 6)


def test_pixels_of_many_sizes() -> None:
    """With small tiles, for speed."""
    _check_pixels(_processor(28), islice(_sizes(10_000, 200), 0, None, 50), 6)


@pytest.mark.slow
@pytest.mark.timeout(1800)  # six minutes on two busy cores
def test_pixels_of_10_000_sizes() -> None:
    """The full set."""
    _check_pixels(_processor(56), _sizes(10_000, 400), 6)


def test_the_family_tiles_a_prompt_by_the_rule(original_internvl: Path) -> None:
    """Three images in a prompt: tiles in order, and tokens in proportion to the tiles."""
    family = load_checkpoint(original_internvl, device="cpu").family
    rng = np.random.default_rng(2)
    images = [rng.integers(0, 256, (*size, 3), dtype=np.uint8) for size in ((56, 56), (60, 130), (200, 90))]
    inputs = family.encode(Prompt("test/v1", "", tuple(images), {"type": "boolean"}))
    expected = [_tiles(image, 56, TILES.share(3)) for image in images]
    np.testing.assert_allclose(inputs.pixels["pixel_values"], np.concatenate(expected), rtol=0, atol=1e-5)
    assert int(inputs.is_image.sum()) == 4 * sum(len(tiles) for tiles in expected)
