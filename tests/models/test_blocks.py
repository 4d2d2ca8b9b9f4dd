"""Blocks of tokens, by hand: text, an image of two patches with its markers, text, an image of one patch."""

from __future__ import annotations

import numpy as np
import pytest

from si_embodied.models import runner as running
from si_embodied.models.blocks import attention, block_positions, extended, has_block, image_blocks, whole_blocks
from si_embodied.models.runner import prefill_chunks

#         0  1  2  3  4  5  6  7  8  9
_IMAGE = [0, 0, 1, 1, 0, 0, 0, 1, 0, 0]  # the blocks are 1..4 and 6..8
_ENDS = np.array([0, 4, 4, 4, 4, 5, 8, 8, 8, 9])


def test_a_block_is_an_image_with_its_markers() -> None:
    assert image_blocks(np.array(_IMAGE, dtype=np.bool_)).tolist() == _ENDS.tolist()


def test_a_prompt_without_images_has_a_block_per_token() -> None:
    assert image_blocks(np.zeros(3, dtype=np.bool_)).tolist() == [0, 1, 2]


def test_adjacent_blocks_stay_apart() -> None:
    """Two images with nothing between them: marker, patch, marker, marker, patch, marker."""
    assert image_blocks(np.array([0, 1, 0, 0, 1, 0], dtype=np.bool_)).tolist() == [2, 2, 2, 5, 5, 5]


def test_a_block_has_one_position() -> None:
    assert block_positions(extended(_ENDS, 12)).tolist() == [0, 1, 1, 1, 1, 2, 3, 3, 3, 4, 5, 6]


def test_attention_is_causal_between_blocks_and_full_within() -> None:
    allowed = attention(_ENDS, 0, 10)
    for row in range(10):
        for column in range(10):
            same = (1 <= row <= 4 and 1 <= column <= 4) or (6 <= row <= 8 and 6 <= column <= 8)
            assert allowed[row, column] == (column <= row or same)
    assert (attention(_ENDS, 5, 9) == allowed[5:9, :9]).all()


def test_only_blocks_of_several_tokens_need_a_mask() -> None:
    assert [has_block(_ENDS, start, stop) for start, stop in ((0, 1), (0, 5), (5, 6), (5, 9), (9, 10))] == [
        False,
        True,
        False,
        True,
        False,
    ]


def test_a_prefix_has_whole_blocks() -> None:
    """Within a block, the prefix ends where the block begins."""
    assert [whole_blocks(length, _ENDS) for length in range(11)] == [0, 1, 1, 1, 1, 5, 6, 6, 6, 9, 10]
    assert whole_blocks(3, None) == 3


@pytest.mark.parametrize("size", range(1, 9))
def test_chunks_end_where_blocks_end(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(running, "PREFILL_CHUNK", size)
    chunks = list(prefill_chunks(0, 12, 3, extended(_ENDS, 12)))
    assert [start for start, _ in chunks[1:]] == [stop for _, stop in chunks[:-1]]
    assert (chunks[0][0], chunks[-1][1]) == (0, 12)
    assert {stop for _, stop in chunks} <= {1, 5, 6, 9, 10, 11, 12}
    assert chunks[-1][0] <= 9
