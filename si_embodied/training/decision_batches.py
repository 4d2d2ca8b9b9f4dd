"""Decisions as training sequences: whole prompts with several images, and the teacher's answer."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

from si_embodied.errors import extra
from si_embodied.training.batches import (
    EARLY_WEIGHT,
    SKILL_WEIGHT,
    answer_weights,
    closing_tokens,
    opening_tokens,
    special,
)
from si_embodied.training.forward import encode_images
from si_embodied.training.pictures import CELL_PX, Picture
from si_embodied.training.rows import Packed, Row, pad
from si_embodied.training.vocabulary import POINT_PIECES, make_tokenizer

with extra("models"):
    import torch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray
    from torch import Tensor

    from si_embodied.training.decisions import Content, Taught


@dataclass(frozen=True, slots=True, eq=False)
class DecisionBatch:
    """The decisions of one training step."""

    images: tuple[Tensor, ...]  # (n, H, W, 3) uint8, one for each size
    order: Tensor  # (N,), which of the encoded image tokens stands at each of the rows' N places
    packed: Packed


def decision_row(decision: Taught) -> Row:
    """A prompt and its answer, tokenized as in the planner's backend."""
    row = Row()
    row.write(opening_tokens(decision.system))
    for part in _joined(decision.content):
        if isinstance(part, str):
            row.write(_tokens(part))
            continue
        rows, columns = part.height // CELL_PX, part.width // CELL_PX
        row.write([special("<|vision_start|>")])
        row.show(rows, columns, np.arange(rows * columns))
        row.write([special("<|vision_end|>")])
    said = _tokens(decision.answer)
    # As with single images, the end of the instruction, which prompts put last, is where the answer is learned soonest.
    row.early.append((len(row.tokens) - 1, _gist(said), EARLY_WEIGHT))
    row.write(closing_tokens())
    several = sum(isinstance(part, Picture) for part in decision.content) > 1
    row.write(said, _decision_weights(said, several_views=several))
    return row


def decision_batches(
    decisions: Sequence[Taught],
    change: Callable[[Sequence[NDArray[np.uint8]]], Sequence[NDArray[np.uint8]]],
    *,
    each: int = 4,
) -> tuple[DecisionBatch, ...]:
    """`each` decisions a batch, those of similar length together: a batch is padded to its longest."""
    ordered = sorted(decisions, key=_length)
    return tuple(decision_batch(ordered[at : at + each], change) for at in range(0, len(ordered), each))


def _length(decision: Taught) -> int:
    """A prompt's length, near enough: its cells, and a token for about four letters."""
    return sum(
        len(part) // 4 if isinstance(part, str) else part.height * part.width // CELL_PX**2 for part in decision.content
    )


def decision_batch(
    decisions: Sequence[Taught],
    change: Callable[[Sequence[NDArray[np.uint8]]], Sequence[NDArray[np.uint8]]] = lambda pictures: pictures,
) -> DecisionBatch:
    """Pack decisions; `change` may alter the pictures of each decision, as a camera would."""
    sizes: dict[tuple[int, int], list[NDArray[np.uint8]]] = {}
    places: list[tuple[tuple[int, int], int]] = []  # of each picture shown: its size, and its number among these
    for decision in decisions:
        pictures = [part.pixels() for part in decision.content if isinstance(part, Picture)]
        for pixels in change(pictures):
            height, width, _ = pixels.shape
            same = sizes.setdefault((height, width), [])
            places.append(((height, width), len(same)))
            same.append(pixels)
    cells = {size: size[0] * size[1] // CELL_PX**2 for size in sizes}
    counts = [len(sizes[size]) * cells[size] for size in sizes]
    first = dict(zip(sizes, np.cumsum([0, *counts[:-1]]), strict=True))
    order = [first[size] + number * cells[size] + np.arange(cells[size]) for size, number in places]
    return DecisionBatch(
        tuple(torch.from_numpy(np.stack(same)) for same in sizes.values()),
        torch.from_numpy(np.concatenate(order)),
        pad([decision_row(decision) for decision in decisions]),
    )


def image_tokens(model: Any, batch: DecisionBatch) -> Tensor:
    """The image tokens (N, width) of a batch, in the order in which its rows show them."""
    encoded = [encode_images(model, images).flatten(0, 1) for images in batch.images]
    return torch.cat(encoded)[batch.order]


def _joined(content: Content) -> Iterator[str | Picture]:
    """The content with neighbouring texts as one, because that is how they are tokenized."""
    text = ""
    for part in content:
        if isinstance(part, str):
            text += part
            continue
        if text:
            yield text
        yield part
        text = ""
    if text:
        yield text


def _tokens(text: str) -> list[int]:
    return [int(token) for token in make_tokenizer().encode(text, add_special_tokens=False)]


def _gist(said: list[int]) -> int:
    """The token that tells most of an answer: the x of its first point; without a point, its skill or its end."""
    points = (said[index + 1] for index, token in enumerate(said) if token in _view_tokens())
    return next(points, said[1])


def _decision_weights(said: list[int], *, several_views: bool) -> list[float]:
    """`answer_weights`, where it is also decided whether anything is left to do, and which view to point into."""
    weights = answer_weights(said, only_points=False)
    weights[0] = SKILL_WEIGHT
    if several_views:
        pairs = zip(said, weights, strict=True)
        weights = [SKILL_WEIGHT if token in _view_tokens() else weight for token, weight in pairs]
    return weights


@cache
def _view_tokens() -> frozenset[int]:
    return frozenset(_tokens(piece)[0] for piece in POINT_PIECES)
