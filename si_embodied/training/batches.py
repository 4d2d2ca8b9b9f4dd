"""Training examples as tensors: prompts and answers tokenized as the planner's backend does, packed by image."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from string import Template
from typing import TYPE_CHECKING, Any

import numpy as np

from si_embodied.errors import extra
from si_embodied.prompts import load_prompt
from si_embodied.training.architecture import GRID
from si_embodied.training.examples import NO_LABEL, Labelled, Question, questions
from si_embodied.training.forward import CELLS, Packed
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
"""The skill for what is not in view; while training, also what stands for a point that there is none of."""
_COORDINATE, _SKILL, _DONE, _NAME, _PIECE = 1.0, 2.0, 0.5, 0.5, 0.1
"""Weights of an answer's tokens in the loss."""


@dataclass(frozen=True, slots=True)
class Answered:
    """One question as tokens, and how much each token counts when it is to be said."""

    tokens: list[int]
    weights: list[float]  # 0 where nothing is asked of the model
    kind: str
    early: tuple[int, int] | None = None  # a token of the instruction, by index, that is to say this token too


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """One step's examples."""

    images: Tensor  # (B, H, W, 3) uint8
    cells: Tensor  # (B, K) the cells that are shown, ascending
    labels: Tensor  # (B, K, 4), as in `Labelled.labels`
    packed: Packed | None  # without questions, only the cells are trained
    targets: Tensor  # (B, L) the next token
    weights: Tensor  # (B, L) of the next token
    kinds: list[list[str]]  # by row and segment, from segment 1 on


@cache
def _special(token: str) -> int:
    return int(make_tokenizer().convert_tokens_to_ids(token))


@cache
def _text(text: str) -> tuple[int, ...]:
    return tuple(make_tokenizer().encode(text, add_special_tokens=False))


@cache
def head_tokens(world: int) -> tuple[int, ...]:
    """What comes before the image."""
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
            # The instruction ends in the target's name, and the picture stands before it: where it is, or that it is
            # not there, is soonest learned in this place, and from here the answer only has to fetch it.
            early = (len(asked) - 1, next((token for token in said if token < NUMBERS), _text(EXPLORE)[0]))
            if question.glance:
                return Answered([*asked], [0.0] * len(asked), question.kind, early)
    asked = (*asked, end, *_text("\n"), start, *_text("assistant\n"))
    weights = [0.0] * len(asked) + _weights(said, question.instruction is None)
    if question.absent:
        said, weights = [*said, _text(EXPLORE)[0]], [*weights, _COORDINATE]
    return Answered([*asked, *said], weights, question.kind, early)


@cache
def _roles() -> dict[int, float]:
    """Tokens whose weight, or whose successor's, is known by themselves."""
    ids = {piece: _text(piece)[0] for piece in ('","object":"', POINT_PIECE, "true}", "false}", ",")}
    skills = [_text(piece)[0] for piece in ('{"subgoals":[{"skill":"', ']},{"skill":"')]
    return {
        ids['","object":"']: 0.0, ids[POINT_PIECE]: _PIECE, ids["true}"]: _DONE, ids["false}"]: _DONE, ids[","]: _PIECE,
        skills[0]: 0.0, skills[1]: _PIECE,
    }  # fmt: skip


def _weights(said: list[int], only_points: bool) -> list[float]:
    """How much each token of an answer counts."""
    first, second = _text('{"subgoals":[{"skill":"')[0], _text(']},{"skill":"')[0]
    opening, bridge = _text('{"reasoning":"'), _text('","subgoals":[{"skill":"')
    if tuple(said[: len(opening)]) == opening:  # words, and then a plan that begins differently
        end = said.index(bridge[0])
        # the quote counts too: a grammar does not force it where a token goes on behind it, like the one of `","`
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
    """`kept` cells of each image (B, kept), ascending: those that show things first, the rest at random."""
    if kept >= CELLS:
        return np.tile(np.arange(CELLS), (len(labels), 1))
    things = (labels[..., 0] != NO_LABEL).reshape(-1, GRID, GRID)
    padded = np.pad(things, ((0, 0), (1, 1), (1, 1)))
    around = sum(padded[:, 1 + dy : 1 + dy + GRID, 1 + dx : 1 + dx + GRID] for dy in (-1, 0, 1) for dx in (-1, 0, 1))
    score = rng.random(labels.shape[:2]) + 2.0 * things.reshape(len(labels), -1)
    score += 0.5 * (np.asarray(around) > 0).reshape(len(labels), -1)
    return np.sort(np.argsort(-score, axis=1)[:, :kept], axis=1)


def make_batch(
    data: Labelled,
    rows: NDArray[np.int64],
    rng: np.random.Generator,
    *,
    kept: int,
    asks: dict[str, int],
) -> Batch:
    """Draw an image's questions anew, as many of each kind as `asks` says, and pack them; with none, cells only."""
    labels = data.labels[rows]
    cells = choose_cells(labels, kept, rng)
    shown = np.take_along_axis(labels, cells[..., None], axis=1)
    images, places = torch.from_numpy(data.images[rows]), torch.from_numpy(cells)
    told = torch.from_numpy(shown.astype(np.int64))
    if not asks:
        empty = torch.zeros(0)
        return Batch(images, places, told, None, empty, empty, [])
    asked = [[answered(q, int(data.world[row])) for q in questions(data.notes[row], rng, **asks)] for row in rows]
    packed, targets, weights = pack([int(data.world[row]) for row in rows], asked, cells)
    return Batch(images, places, told, packed, targets, weights, [[one.kind for one in row] for row in asked])


def pack(worlds: list[int], asked: list[list[Answered]], cells: NDArray[np.int64]) -> tuple[Packed, Tensor, Tensor]:
    """Sequences of one image and its questions each, padded to the longest."""
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
        after = at + GRID  # the next position beyond the image's largest
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
    arrays: tuple[Any, ...] = (tokens, is_image, segments, positions)
    return Packed(*map(torch.from_numpy, arrays)), torch.from_numpy(targets), torch.from_numpy(weights)
