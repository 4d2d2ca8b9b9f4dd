"""Rotary positions of a prompt's tokens, in numpy for every runtime: what transformers computes with torch."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from si_embodied.models.blocks import block_positions, extended
from si_embodied.models.prefix import image_spans

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from si_embodied.models.inputs import ModelInputs
    from si_embodied.models.prefix import ImageSpan

    Grid = NDArray[np.int64]  # (3,): frames (1 for an image), patch rows, patch columns


def prompt_positions(inputs: ModelInputs, length: int, merge: int) -> NDArray[np.int64]:
    """Positions of the first `length` tokens of a prompt and its continuation.

    Args:
        inputs: the prompt.
        length: of prompt and continuation, tokens.
        merge: Qwen-VL's patches per side of a token; for other families of no effect.

    Returns:
        (3, length) of Qwen-VL, in time, row and column, if the prompt has images; otherwise (1, length).
    """
    if (grids := inputs.grids) is not None:
        return rotary_positions(length, image_spans(inputs), list(grids), merge)
    ends = inputs.block_ends
    text = np.arange(length) if ends is None else block_positions(extended(ends, length))
    return text[None]


def rotary_positions(
    length: int, spans: Sequence[ImageSpan], grids: Sequence[Grid], merge: int
) -> NDArray[np.int64]:  # fmt: skip
    """Qwen-VL's positions in time, row and column: (3, length).

    Text increments all three. Within an image, time is constant and rows and columns count from the image's start; the
    text after it continues from the larger of the two (Qwen2-VL, arXiv 2409.12191, section 2.1).
    """
    positions = np.empty((3, length), dtype=np.int64)
    start = token = 0
    for span, grid in zip(spans, grids, strict=True):
        text = span.start - token
        positions[:, token : span.start] = start + np.arange(text)
        start += text
        rows, columns = (int(size) // merge for size in grid[1:])
        positions[:, span.start : span.stop] = start + np.stack(
            [np.zeros(rows * columns, dtype=np.int64), *np.indices((rows, columns)).reshape(2, -1)]
        )
        start += max(rows, columns)
        token = span.stop
    positions[:, token:] = start + np.arange(length - token)
    return positions
