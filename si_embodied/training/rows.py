"""Training sequences of texts and images, with Qwen3-VL's rotary positions, padded into a batch."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from si_embodied.errors import extra

with extra("models"):
    import torch

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray
    from torch import Tensor


@dataclass(frozen=True, slots=True, eq=False)
class Packed:
    """A batch of sequences. Questions about one image may follow it and do not attend to each other."""

    tokens: Tensor  # (B, L) ids; arbitrary where `is_image`
    is_image: Tensor  # (B, L) bool, where an image token replaces the token's embedding
    segments: Tensor  # (B, L): 0 is seen by all that follows, 1.. are questions, -1 is padding
    positions: Tensor  # (3, B, L) rotary positions: time, row, column
    targets: Tensor  # (B, L) the next token
    weights: Tensor  # (B, L) its weight in the loss


@dataclass(slots=True)
class Row:
    """One sequence under construction."""

    tokens: list[int] = field(default_factory=list)
    weights: list[float] = field(default_factory=list)  # of each token as a target; 0 if the model need not predict it
    segments: list[int] = field(default_factory=list)
    is_image: list[bool] = field(default_factory=list)
    positions: list[NDArray[np.int64]] = field(default_factory=list)  # (3, n) each
    early: list[tuple[int, int, float]] = field(default_factory=list)  # index of a token, what it predicts, the weight
    next_position: int = 0

    def write(self, tokens: Sequence[int], weights: Sequence[float] | None = None, *, segment: int = 0) -> None:
        """Append a text; `weights` default to 0."""
        count = len(tokens)
        self.positions.append(np.tile(np.arange(self.next_position, self.next_position + count), (3, 1)))
        self.next_position += count
        self._append(tokens, [0.0] * count if weights is None else weights, segment, image=False)

    def show(self, rows: int, columns: int, cells: NDArray[np.int64]) -> None:
        """Append the tokens of some `cells` (K,) of an image of `rows` x `columns` cells; raster order."""
        start = self.next_position
        self.positions.append(np.stack([np.zeros_like(cells), cells // columns, cells % columns]) + start)
        self.next_position += max(rows, columns)  # past the image's largest position
        self._append([0] * len(cells), [0.0] * len(cells), 0, image=True)

    def _append(self, tokens: Sequence[int], weights: Sequence[float], segment: int, *, image: bool) -> None:
        self.tokens += tokens
        self.weights += weights
        self.segments += [segment] * len(tokens)
        self.is_image += [image] * len(tokens)


def pad(rows: Sequence[Row]) -> Packed:
    """The rows as one batch, padded at their ends."""
    shape = (len(rows), max(len(row.tokens) for row in rows))
    tokens, targets, segments = np.zeros(shape, np.int64), np.zeros(shape, np.int64), np.full(shape, -1, np.int64)
    is_image, weights = np.zeros(shape, bool), np.zeros(shape, np.float32)
    positions = np.zeros((3, *shape), np.int64)
    for index, row in enumerate(rows):
        end = len(row.tokens)
        tokens[index, :end], segments[index, :end], is_image[index, :end] = row.tokens, row.segments, row.is_image
        positions[:, index, :end] = np.concatenate(row.positions, axis=1)
        targets[index, : end - 1], weights[index, : end - 1] = row.tokens[1:], row.weights[1:]
        for at, token, weight in row.early:
            targets[index, at], weights[index, at] = token, weight
    return Packed(*map(torch.from_numpy, (tokens, is_image, segments, positions, targets, weights)))
