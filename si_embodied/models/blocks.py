"""Blocks: runs of a prompt's tokens that attend to one another in both directions and share one rotary position.

Most families have none: each token attends to itself and to those before it. Where a family has them (`Family.blocks`),
a prompt's blocks are described by `ends` (T,): for each token, the last token of its block, which is also the last one
that it attends to. A token outside the blocks is a block of its own. Attention mask, positions, the chunks of a prefill
and the reusable prefix all follow from it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Ends = NDArray[np.int64]  # (T,)


def image_blocks(is_image: NDArray[np.bool_]) -> Ends:
    """The ends of a prompt in which each image is a block with the token before it and the token after it.

    Args:
        is_image: (T,), where an image's features are. No two images are adjacent, and none is first or last.
    """
    ends = np.arange(len(is_image))
    edges = np.flatnonzero(np.diff(is_image, prepend=False, append=False))
    for first, after in zip(edges[::2], edges[1::2], strict=True):
        ends[first - 1 : after + 1] = after
    return ends


def extended(ends: Ends, length: int) -> Ends:
    """The ends of a prompt and what follows it, `length` tokens in all: its continuation has no blocks."""
    return np.concatenate([ends, np.arange(len(ends), length)])


def block_positions(ends: Ends) -> NDArray[np.int64]:
    """Rotary positions (T,): one per block."""
    positions: NDArray[np.int64] = np.cumsum(np.diff(ends, prepend=ends[0]) != 0)
    return positions


def whole_blocks(length: int, ends: Ends | None) -> int:
    """How many of the first `length` tokens are in blocks that lie within them; all of them without blocks."""
    return length if ends is None else int(np.count_nonzero(ends[:length] < length))


def has_block(ends: Ends, start: int, stop: int) -> bool:
    """Whether any of the tokens `start` to `stop` attends to a later one."""
    return bool((ends[start:stop] > np.arange(start, stop)).any())


def attention(ends: Ends, start: int, stop: int) -> NDArray[np.bool_]:
    """Which tokens each of the tokens `start` to `stop` attends to: (stop - start, stop)."""
    allowed: NDArray[np.bool_] = np.arange(stop) <= ends[start:stop, None]
    return allowed
