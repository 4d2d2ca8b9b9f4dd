"""Held-out accuracy during training: do points land on the named object, and are the plans right?"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from si_embodied.errors import extra
from si_embodied.grounding import pixel_of
from si_embodied.training.annotations import Annotation, HouseholdAnnotation, TabletopAnnotation
from si_embodied.training.batches import Answered, answered, pack
from si_embodied.training.examples import Labelled
from si_embodied.training.forms import form_for
from si_embodied.training.forward import CELLS, encode_images, logits_of, read
from si_embodied.training.household_questions import MIN_ITEM_PX
from si_embodied.training.nano_settings import IMAGE_PROMPTS
from si_embodied.training.question_drawing import draw_questions
from si_embodied.training.questions import MIN_VISIBLE_PX, Question, QuestionCounts, fragment
from si_embodied.training.scenes import RENDER_PX, WORLDS
from si_embodied.training.vocabulary import NUMBERS

with extra("models"):
    import torch

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray
    from torch import Tensor

    from si_embodied.config import Prompts
    from si_embodied.training.forms import Form
    from si_embodied.training.rows import Packed

NEAR = 40
"""A coordinate within this distance of its label, of 1000, is right: 4 to 5 cm on the table."""
_FRAGMENTS, _PLANS = 8, 5  # asked per image, at most


@dataclass(frozen=True, slots=True)
class Verdict:
    """How one question was answered."""

    question: Question
    words: tuple[bool, ...]  # skills, names and `done`, each given the label's prefix; empty for a fragment
    points: tuple[bool, ...]  # a plan: each coordinate given the label's prefix; a fragment: its whole point

    @property
    def right(self) -> bool:
        """Whether all of the answer is right."""
        return all(self.words) and all(self.points)


def measure(
    model: Any, held_out: Labelled, *, images: int = 48, batch: int = 16, prompts: Prompts = IMAGE_PROMPTS
) -> dict[str, float]:
    """Accuracy by kind of question, on the first `images` images of each world.

    `point …` is the share of fragments whose point lies on the named object. For a kind of plan, `… words` is the share
    of skills, names and `done` that are right given the label's prefix, and `… points` that of coordinates within
    `NEAR`.
    """
    rows = np.concatenate([np.flatnonzero(held_out.world == world)[:images] for world in range(len(WORLDS))])
    found: dict[str, list[bool]] = defaultdict(list)
    for verdict in verdicts(model, held_out, rows, batch=batch, prompts=prompts):
        kind = verdict.question.kind
        if verdict.words:
            found[f"{kind} words"] += verdict.words
        if verdict.points:
            found[f"{kind} points" if verdict.words else kind] += verdict.points
    return {kind: round(float(np.mean(hits)), 4) for kind, hits in sorted(found.items())}


def verdicts(
    model: Any, data: Labelled, rows: NDArray[np.int64], *, batch: int = 16, cells: int = CELLS,
    prompts: Prompts = IMAGE_PROMPTS,
) -> Iterator[Verdict]:  # fmt: skip
    """Ask about some images: up to eight fragments and five plans each.

    Args:
        model: a model of this architecture.
        data: the images.
        rows: which of them to ask about.
        batch: how many images go through the model at a time.
        cells: how many of an image's cells the model sees, in raster order; with 0 it reads the question alone.
        prompts: those that ask.

    Yields:
        Verdicts, one world after another.
    """
    was_training, width = model.training, model.config.text_config.hidden_size
    model.eval()
    with torch.inference_mode():
        for world in range(len(WORLDS)):
            own = rows[data.world[rows] == world]
            if not len(own):
                continue
            form = form_for(prompts, world)
            for at in range(0, len(own), batch):
                chunk = own[at : at + batch]
                shown = torch.arange(cells).expand(len(chunk), -1)
                images = torch.from_numpy(data.images[chunk])
                tokens = encode_images(model, images, shown) if cells else torch.zeros(len(chunk), 0, width)
                yield from _pointing(model, data, chunk, tokens, form)
                yield from _plans(model, data, chunk, tokens, form)
    model.train(was_training)


def _ask(model: Any, form: Form, asked: list[list[Answered]], tokens: Tensor) -> tuple[Packed, Tensor]:
    """The packed questions, and the predicted next tokens (B, L)."""
    cells = np.tile(np.arange(tokens.shape[1]), (len(asked), 1))
    packed = pack([form] * len(asked), asked, cells)
    hidden = read(model, packed, tokens)
    said = torch.zeros_like(packed.targets)
    counted = packed.weights > 0
    logits = logits_of(model, hidden[counted])
    numbers = logits[:, :NUMBERS].argmax(1)  # the grammar allows no other token as a coordinate
    said[counted] = torch.where(packed.targets[counted] < NUMBERS, numbers, logits.argmax(1))
    return packed, said


def _pointing(model: Any, data: Labelled, rows: NDArray[np.int64], tokens: Tensor, form: Form) -> Iterator[Verdict]:
    """Point at named objects: predict x first, then y given the predicted x."""
    targets = [_targets(data.annotations[row])[:_FRAGMENTS] for row in rows]

    def ask(points: list[list[tuple[int, int]]]) -> list[list[list[int]]]:
        asked = [
            [answered(fragment(skill, name, point), form) for (skill, name, _), point in zip(some, where, strict=True)]
            for some, where in zip(targets, points, strict=True)
        ]
        packed, said = _ask(model, form, asked, tokens)
        coordinates = (packed.weights > 0) & (packed.targets < NUMBERS)
        answers = []
        for index, some in enumerate(targets):
            numbers = said[index][coordinates[index]].tolist()
            answers.append([numbers[2 * k : 2 * k + 2] for k in range(len(some))])
        return answers

    first = ask([[(500, 500)] * len(some) for some in targets])
    second = ask([[(min(a[0], 1000), 500) for a in answers] for answers in first])
    for row, some, xs, ys in zip(rows, targets, first, second, strict=True):
        for (skill, name, number), x, y in zip(some, xs, ys, strict=True):
            u, v = pixel_of((min(x[0], 1000), min(y[1], 1000)), RENDER_PX, RENDER_PX)
            hit = bool(data.instances[row, round(v), round(u)] == number)
            yield Verdict(fragment(skill, name, [x[0], y[1]]), (), (hit,))


def _targets(annotation: Annotation) -> list[tuple[str, str, int]]:
    """Skill, name and instance id of everything in an image that a question can ask to point at."""
    if isinstance(annotation, HouseholdAnnotation):
        items = [one for one in annotation.objects if one.name in annotation.items and one.pixels >= MIN_ITEM_PX]
        return [("pick", one.name, one.id) for one in items]
    if not isinstance(annotation, TabletopAnnotation):
        return [("goto", o.name, o.id) for o in annotation.objects if o.unique and o.pixels >= MIN_VISIBLE_PX]
    ids = {o.name: o.id for o in annotation.objects}
    names = [c.name for c in annotation.containers]
    return [("pick", name, ids[name]) for name in annotation.pick] + [
        ("place", c.name, c.id) for c in annotation.containers if names.count(c.name) == 1 and c.kind != "shape sorter"
    ]


def _plans(model: Any, data: Labelled, rows: NDArray[np.int64], tokens: Tensor, form: Form) -> Iterator[Verdict]:
    counts = QuestionCounts(fragments=0, plans=_PLANS)
    drawn = []
    for row in rows:
        rng = np.random.default_rng(row)
        some = draw_questions(data.annotations[row], rng, counts, reasoning=data.reasoning, longer=form.stepwise)
        drawn.append([one.step(rng) for one in some] if form.stepwise else some)
    if not any(drawn):  # household objects
        return
    asked = [[replace(answered(one, form), early=None) for one in some] for some in drawn]
    packed, said = _ask(model, form, asked, tokens)
    for index, some in enumerate(drawn):
        for segment, question in enumerate(some, start=1):
            own = (packed.segments[index] == segment) & (packed.weights[index] >= 0.4)
            told, answer = packed.targets[index][own], said[index][own]
            point = told < NUMBERS
            words, points = (told == answer)[~point], ((told - answer).abs() <= NEAR)[point]
            yield Verdict(question, tuple(words.tolist()), tuple(points.tolist()))
