"""Training examples as tensors: prompts and answers tokenized as in the planner's backend, packed by image."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from string import Template
from typing import TYPE_CHECKING

import numpy as np

from si_embodied.errors import extra
from si_embodied.prompts import load_prompt
from si_embodied.training.architecture import GRID
from si_embodied.training.examples import NO_LABEL, Labelled
from si_embodied.training.forward import CELLS, Packed
from si_embodied.training.questions import Question, QuestionCounts, questions
from si_embodied.training.vocabulary import NUMBERS, POINT_PIECE, make_tokenizer

with extra("models"):
    import torch

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

PROMPTS = ("manip/nano", "nav/nano")
"""By world: 0 is the tabletop, 1 the apartment."""
APARTMENT = 1
EXPLORE = "explore"
"""The skill for a target that is not in view. In training it is also the answer to a fragment that has no point."""
_COORDINATE, _SKILL, _DONE, _NAME, _PIECE = 1.0, 2.0, 0.5, 0.5, 0.1
"""Weights in the loss of an answer's tokens: coordinates, skills, `done`, object names, and the rest of the JSON."""


@dataclass(frozen=True, slots=True)
class Answered:
    """One question and its answer as tokens, with the weight of each token in the loss."""

    tokens: list[int]
    weights: list[float]  # 0 where the model has nothing to predict
    early: tuple[int, int] | None = None  # index of an instruction token, and the token it must predict


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """The examples of one training step."""

    images: Tensor  # (B, H, W, 3) uint8
    cells: Tensor  # (B, K) the cells that the model sees, ascending
    labels: Tensor  # (B, K, 4), as in `Labelled.labels`
    packed: Packed | None  # None trains the cells alone, without questions
    targets: Tensor  # (B, L) the next token
    weights: Tensor  # (B, L) its weight in the loss


@cache
def _special(token: str) -> int:
    return int(make_tokenizer().convert_tokens_to_ids(token))


@cache
def _text(text: str) -> tuple[int, ...]:
    return tuple(make_tokenizer().encode(text, add_special_tokens=False))


@cache
def head_tokens(world: int) -> tuple[int, ...]:
    """The tokens before the image."""
    start, end = _special("<|im_start|>"), _special("<|im_end|>")
    system = load_prompt(PROMPTS[world]).system
    return (
        start, *_text(f"system\n{system}"), end, *_text("\n"), start, *_text("user\n"), _special("<|vision_start|>")
    )  # fmt: skip


def answered(question: Question, world: int) -> Answered:
    """A question and its answer as tokens."""
    start, end = _special("<|im_start|>"), _special("<|im_end|>")
    asked: tuple[int, ...] = ()
    said = make_tokenizer().encode(question.answer, add_special_tokens=False)
    early = None
    if question.instruction is not None:
        user = Template(load_prompt(PROMPTS[world]).user)
        asked = _text(user.substitute(first_view="", instruction=question.instruction, last=question.last))
        if world == APARTMENT:
            # The instruction ends with the target's name and follows the image, so its last token is the first that
            # can know where the target is, or that it is absent. The model learns it there soonest, and the answer
            # only has to copy it.
            early = (len(asked) - 1, next((token for token in said if token < NUMBERS), _text(EXPLORE)[0]))
            if question.glance:
                return Answered([*asked], [0.0] * len(asked), early)
    asked = (*asked, end, *_text("\n"), start, *_text("assistant\n"))
    weights = [0.0] * len(asked) + _weights(said, question.instruction is None)
    if question.absent:
        said, weights = [*said, _text(EXPLORE)[0]], [*weights, _COORDINATE]
    return Answered([*asked, *said], weights, early)


@cache
def _roles() -> dict[int, float]:
    """Weights of tokens that do not depend on their context."""
    ids = {piece: _text(piece)[0] for piece in ('","object":"', POINT_PIECE, "true}", "false}", ",")}
    skills = [_text(piece)[0] for piece in ('{"subgoals":[{"skill":"', ']},{"skill":"')]
    return {
        ids['","object":"']: 0.0, ids[POINT_PIECE]: _PIECE, ids["true}"]: _DONE, ids["false}"]: _DONE, ids[","]: _PIECE,
        skills[0]: 0.0, skills[1]: _PIECE,
    }  # fmt: skip


def _weights(said: list[int], only_points: bool) -> list[float]:
    """The weight in the loss of each token of an answer."""
    first, second = _text('{"subgoals":[{"skill":"')[0], _text(']},{"skill":"')[0]
    opening, bridge = _text('{"reasoning":"'), _text('","subgoals":[{"skill":"')
    if tuple(said[: len(opening)]) == opening:  # reasoning, then a plan with a different opening
        end = said.index(bridge[0])
        # The closing quote counts too: the grammar does not force it, since longer tokens such as `","` begin with it.
        words = [0.0] * (len(opening) - 1) + [_NAME] * (end + 2 - len(opening)) + [_PIECE] * (len(bridge) - 1)
        return words + _weights([first, *said[end + len(bridge) :]], only_points)[1:]
    named, point = _text('","object":"')[0], _text(POINT_PIECE)[0]
    weights: list[float] = []
    in_name = False
    for index, token in enumerate(said):
        before = said[index - 1] if index else -1
        if token < NUMBERS:
            weights.append(_COORDINATE)
            continue
        in_name = (in_name or before == named) and token != point
        if before in (first, second):
            weight = _SKILL
        elif in_name:
            weight = _NAME
        else:
            weight = _roles().get(token, _PIECE)
        weights.append(0.0 if only_points else weight)
    return weights


def choose_cells(labels: NDArray[np.int16], kept: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """`kept` cells of each image (B, kept), ascending: cells with objects first, then their neighbours, then others."""
    if kept >= CELLS:
        return np.tile(np.arange(CELLS), (len(labels), 1))
    occupied = (labels[..., 0] != NO_LABEL).reshape(-1, GRID, GRID)
    padded = np.pad(occupied, ((0, 0), (1, 1), (1, 1)))
    around = sum(padded[:, 1 + dy : 1 + dy + GRID, 1 + dx : 1 + dx + GRID] for dy in (-1, 0, 1) for dx in (-1, 0, 1))
    score = rng.random(labels.shape[:2]) + 2.0 * occupied.reshape(len(labels), -1)
    score += 0.5 * (np.asarray(around) > 0).reshape(len(labels), -1)
    return np.sort(np.argsort(-score, axis=1)[:, :kept], axis=1)


def make_batch(
    data: Labelled,
    rows: NDArray[np.int64],
    rng: np.random.Generator,
    *,
    kept: int,
    counts: QuestionCounts | None,
) -> Batch:
    """Draw new questions about the images in `rows` and pack them; without `counts`, the batch trains cells alone.

    `kept` is the number of cells of each image that the model sees.
    """
    labels = data.labels[rows]
    cells = choose_cells(labels, kept, rng)
    shown = np.take_along_axis(labels, cells[..., None], axis=1)
    inputs = torch.from_numpy(data.images[rows]), torch.from_numpy(cells), torch.from_numpy(shown.astype(np.int64))
    if counts is None:
        return Batch(*inputs, None, torch.zeros(0), torch.zeros(0))
    drawn = [questions(data.annotations[row], rng, counts, reasoning=data.reasoning) for row in rows]
    worlds = [int(data.world[row]) for row in rows]
    asked = [[answered(one, world) for one in some] for some, world in zip(drawn, worlds, strict=True)]
    return Batch(*inputs, *pack(worlds, asked, cells))


def pack(worlds: list[int], asked: list[list[Answered]], cells: NDArray[np.int64]) -> tuple[Packed, Tensor, Tensor]:
    """Pack each image and its questions into a padded sequence; returns the batch, its targets and their weights."""
    kept = cells.shape[1]
    heads = [head_tokens(world) for world in worlds]
    lengths = [
        len(head) + kept + 1 + sum(len(one.tokens) for one in row) for head, row in zip(heads, asked, strict=True)
    ]
    shape = (len(worlds), max(lengths))
    tokens, segments = np.zeros(shape, np.int64), np.full(shape, -1, np.int64)
    is_image, weights = np.zeros(shape, bool), np.zeros(shape, np.float32)
    targets = np.zeros(shape, np.int64)
    positions = np.zeros((3, *shape), np.int64)
    for row, (head, questions_of_row) in enumerate(zip(heads, asked, strict=True)):
        at = len(head)
        tokens[row, :at], segments[row, : at + kept + 1] = head, 0
        positions[:, row, :at] = np.arange(at)
        is_image[row, at : at + kept] = True
        positions[:, row, at : at + kept] = at
        positions[1, row, at : at + kept] += cells[row] // GRID
        positions[2, row, at : at + kept] += cells[row] % GRID
        after = at + GRID  # the first position after the largest one inside the image
        at += kept
        tokens[row, at] = _special("<|vision_end|>")
        positions[:, row, at] = after
        at += 1
        for number, one in enumerate(questions_of_row, start=1):
            end = at + len(one.tokens)
            tokens[row, at:end], segments[row, at:end] = one.tokens, number
            positions[:, row, at:end] = after + 1 + np.arange(len(one.tokens))
            targets[row, at : end - 1], weights[row, at : end - 1] = one.tokens[1:], one.weights[1:]
            if one.early is not None:
                index, token = one.early
                targets[row, at + index], weights[row, at + index] = token, _COORDINATE
            at = end
    arrays = (tokens, is_image, segments, positions)
    return Packed(*(torch.from_numpy(array) for array in arrays)), torch.from_numpy(targets), torch.from_numpy(weights)
