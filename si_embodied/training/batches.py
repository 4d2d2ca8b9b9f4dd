"""Training examples as tensors: prompts and answers tokenized as in the planner's backend, packed by image."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, lru_cache
from typing import TYPE_CHECKING

import numpy as np

from si_embodied.errors import extra
from si_embodied.training.architecture import GRID
from si_embodied.training.examples import NO_LABEL, Labelled
from si_embodied.training.forms import Form, form_for
from si_embodied.training.forward import CELLS
from si_embodied.training.question_drawing import draw_questions
from si_embodied.training.questions import Question, QuestionCounts
from si_embodied.training.rows import Packed, Row, pad
from si_embodied.training.vocabulary import NUMBERS, POINT_PIECES, make_tokenizer

with extra("models"):
    import torch

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from si_embodied.config import Prompts

EXPLORE = "explore"
"""The skill for a target that is not in view. In training it is also the answer to a fragment that has no point."""
SKILL_WEIGHT, EARLY_WEIGHT = 2.0, 1.0
_COORDINATE, _DONE, _NAME, _PIECE = 1.0, 0.5, 0.5, 0.1
"""Weights in the loss of an answer's tokens: skills, the early answer at the instruction's end, coordinates, `done`,
object names, and the rest of the JSON."""


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


@cache
def special(token: str) -> int:
    """The id of a special token."""
    return int(make_tokenizer().convert_tokens_to_ids(token))


@lru_cache(maxsize=100_000)
def text_tokens(text: str) -> tuple[int, ...]:
    """The tokens of a text without special tokens."""
    return tuple(make_tokenizer().encode(text, add_special_tokens=False))


@cache
def head_tokens(form: Form) -> tuple[int, ...]:
    """The tokens before the image."""
    return (*opening_tokens(form.system), *text_tokens(form.before), special("<|vision_start|>"))


@cache
def opening_tokens(system: str) -> tuple[int, ...]:
    """The tokens before a prompt's content, as `Family.encode` writes them."""
    start, end = special("<|im_start|>"), special("<|im_end|>")
    return start, *text_tokens(f"system\n{system}"), end, *text_tokens("\n"), start, *text_tokens("user\n")


@cache
def closing_tokens() -> tuple[int, ...]:
    """The tokens between a prompt's content and the answer."""
    return special("<|im_end|>"), *text_tokens("\n"), special("<|im_start|>"), *text_tokens("assistant\n")


def answered(question: Question, form: Form) -> Answered:
    """A question and its answer as tokens."""
    asked: tuple[int, ...] = ()
    said = make_tokenizer().encode(question.answer_in(form.view), add_special_tokens=False)
    early = None
    if question.instruction is not None:
        asked = text_tokens(form.asked(question))
        # The instruction ends with the target's name and follows the image, so its last token is the first that can
        # know where the target is, or that it is absent. The model learns it there soonest, and the answer only has to
        # copy it.
        early = (len(asked) - 1, next((token for token in said if token < NUMBERS), said[1]))  # or a skill, or the end
        if question.glance:
            return Answered([*asked], [0.0] * len(asked), early)
    asked = (*asked, *closing_tokens())
    fragment, names = question.instruction is None, form.stepwise and question.kind == "point pick"
    weights = answer_weights(said, only_points=fragment, names=names)
    if form.stepwise and not fragment:
        weights[0] = SKILL_WEIGHT  # whether anything is left to do
    weights = [0.0] * len(asked) + weights
    if question.absent:
        said, weights = [*said, text_tokens(EXPLORE)[0]], [*weights, _COORDINATE]
    return Answered([*asked, *said], weights, early)


@cache
def _roles() -> dict[int, float]:
    """Weights of tokens that do not depend on their context; `_PIECE` for the others."""
    weights = {
        '","object":"': 0.0, "true}": _DONE, "false}": _DONE, '{"subgoals":[{"skill":"': 0.0, "-": _COORDINATE
    }  # fmt: skip
    return {text_tokens(piece)[0]: weight for piece, weight in weights.items()}


@cache
def _name_ends() -> frozenset[int]:
    """The tokens that may follow an object's name."""
    return frozenset(text_tokens(piece)[0] for piece in (*POINT_PIECES, '"}],"done":', '"},{"skill":"', '"'))


def answer_weights(said: list[int], *, only_points: bool, names: bool = False) -> list[float]:
    """The weight in the loss of each token of an answer.

    Args:
        said: the answer.
        only_points: whether it is a fragment, whose words are given.
        names: whether a fragment's names count: all objects in view are asked for alike, so that the model learns which
            there are.
    """
    first, second = text_tokens('{"subgoals":[{"skill":"')[0], text_tokens(']},{"skill":"')[0]
    opening, bridge = text_tokens('{"reasoning":"'), text_tokens('","subgoals":[{"skill":"')
    if tuple(said[: len(opening)]) == opening:  # reasoning, then a plan with a different opening
        end = said.index(bridge[0])
        # The closing quote counts too: the grammar does not force it, since longer tokens such as `","` begin with it.
        words = [0.0] * (len(opening) - 1) + [_NAME] * (end + 2 - len(opening)) + [_PIECE] * (len(bridge) - 1)
        return words + answer_weights([first, *said[end + len(bridge) :]], only_points=only_points)[1:]
    named = text_tokens('","object":"')[0]
    weights: list[float] = []
    in_name = False
    for index, token in enumerate(said):
        before = said[index - 1] if index else -1
        if token < NUMBERS:
            weights.append(_COORDINATE)
            continue
        in_name = (in_name or before == named) and token not in _name_ends()
        if before in (first, second):
            weight = SKILL_WEIGHT
        elif in_name:
            weight = _NAME
        else:
            weight = _roles().get(token, _PIECE)
        weights.append(weight if not only_points or (names and in_name) else 0.0)
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
    prompts: Prompts,
) -> Batch:
    """Draw new questions about the images in `rows` and pack them; without `counts`, the batch trains cells alone.

    `kept` is the number of cells of each image that the model sees, and `prompts` are those that ask.
    """
    labels = data.labels[rows]
    cells = choose_cells(labels, kept, rng)
    shown = np.take_along_axis(labels, cells[..., None], axis=1)
    inputs = torch.from_numpy(data.images[rows]), torch.from_numpy(cells), torch.from_numpy(shown.astype(np.int64))
    if counts is None:
        return Batch(*inputs, None)
    forms = [form_for(prompts, int(data.world[row])) for row in rows]
    asked = []
    for row, form in zip(rows, forms, strict=True):
        drawn = draw_questions(data.annotations[row], rng, counts, reasoning=data.reasoning, longer=form.stepwise)
        asked.append([answered(one.step(rng) if form.stepwise else one, form) for one in drawn])
    return Batch(*inputs, pack(forms, asked, cells))


def pack(forms: list[Form], asked: list[list[Answered]], cells: NDArray[np.int64]) -> Packed:
    """Pack each image and its questions into a sequence, in which the model sees some `cells` (B, K) of the image."""
    rows = []
    for form, questions_of_row, shown in zip(forms, asked, cells, strict=True):
        row = Row()
        row.write(head_tokens(form))
        row.show(GRID, GRID, shown)
        row.write([special("<|vision_end|>"), *text_tokens(form.shared)])
        after = row.next_position
        for number, one in enumerate(questions_of_row, start=1):
            row.next_position = after  # each question follows the image
            if one.early is not None:
                index, token = one.early
                row.early.append((len(row.tokens) + index, token, EARLY_WEIGHT))
            row.write(one.tokens, one.weights, segment=number)
        rows.append(row)
    return pad(rows)
