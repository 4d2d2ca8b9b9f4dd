"""Rotary positions in numpy, compared with transformers' own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

import torch

from si_embodied.models.loading import load_checkpoint
from si_embodied.models.positions import prompt_positions, rotary_positions
from si_embodied.models.prefix import ImageSpan
from si_embodied.types import Prompt

_SCHEMA = {"type": "text", "pattern": "[ab]", "maxLength": 1}
_SIZES = [(), ((120, 160),), ((56, 56), (230, 64), (90, 400))]  # height and width of each image


def test_text_after_an_image_continues_from_its_longer_side() -> None:
    """Three text tokens, an image of 1 x 2 tokens, one text token; computed by hand."""
    positions = rotary_positions(6, [ImageSpan(3, 5, b"")], [np.array([1, 2, 4])], 2)
    assert positions.tolist() == [[0, 1, 2, 3, 3, 5], [0, 1, 2, 3, 3, 5], [0, 1, 2, 3, 4, 5]]


@pytest.mark.parametrize("sizes", _SIZES, ids=len)
@pytest.mark.parametrize("family", ["qwen3_vl", "qwen2_5_vl"])
def test_a_prompt_has_the_positions_that_transformers_gives_it(
    checkpoints: dict[str, Path], family: str, sizes: tuple[tuple[int, int], ...]
) -> None:
    loaded = load_checkpoint(checkpoints[family], device="cpu")
    content: list[str | np.ndarray] = ["first"]
    for height, width in sizes:
        content += [np.zeros((height, width, 3), np.uint8), "then"]
    inputs = loaded.family.encode(Prompt("test", "look", tuple(content), _SCHEMA))
    ids = np.append(inputs.input_ids, [5, 6, 7])
    kinds = torch.from_numpy(np.append(inputs.is_image, [0, 0, 0]).astype(np.int32))[None]
    grids = None if inputs.grids is None else torch.from_numpy(inputs.grids)
    theirs, _ = loaded.model.model.get_rope_index(
        torch.from_numpy(ids)[None], mm_token_type_ids=kinds, image_grid_thw=grids
    )
    ours = prompt_positions(inputs, len(ids), loaded.model.config.vision_config.spatial_merge_size)
    np.testing.assert_array_equal(np.broadcast_to(ours, (3, len(ids))), theirs[:, 0].numpy())
