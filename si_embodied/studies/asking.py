"""Asking a checkpoint the data engine's questions: with images, without them, and with the options reordered."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np
import torch

from si_embodied.backends.local import LocalBackend
from si_embodied.data.audit import score
from si_embodied.data.questions.base import LETTERS
from si_embodied.data.records import PLACEHOLDER, read_dataset
from si_embodied.errors import DataError
from si_embodied.evaluation.config import model_fingerprint
from si_embodied.models.points import pairs_to_relative, pixel_note
from si_embodied.plan import plan_schema
from si_embodied.runs import JsonLines, claim
from si_embodied.studies.settings import SETTINGS_FILE, QuestionsRun
from si_embodied.training.conversations import fingerprint, load_image, picture_and_text, read_records
from si_embodied.types import Prompt

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from si_embodied.data.records import Conversation, Labels
    from si_embodied.models.families import Family
    from si_embodied.models.points import Size
    from si_embodied.studies.results import Say

Sight: TypeAlias = Literal["images", "blank", "none"]
"""What a model sees: the images, black ones of the same sizes, or only the text."""
SIGHTS: tuple[Sight, ...] = ("images", "blank", "none")

_NUMBER = r"-?(0|[1-9][0-9]{0,4})(\.[0-9]{1,2})?"
_RELATIVE, _PIXEL = r"(0|[1-9][0-9]{0,2}|1000)", r"(0|[1-9][0-9]{0,3})"  # coordinates
_HEADS = re.compile(rf"(Image-\d+: )?{PLACEHOLDER}\n?")

_ANSWERS_FILE = "answers.jsonl"
_DEADLINE_S = 600.0

Key: TypeAlias = tuple[str, Sight, int]
"""A question's ID, what was shown, and by how much its options were rotated."""


@dataclass(frozen=True, slots=True, eq=False)
class Asked:
    """A question with its labels and images."""

    conversation: Conversation
    labels: Labels
    images: tuple[NDArray[np.uint8], ...]  # each (H, W, 3)

    @property
    def rotations(self) -> int:
        """How many orders of its options are asked: 1 if it has none, or if the image shows them."""
        options = self.labels.options
        told = all(options) and _lines(options) in self.conversation.question
        return len(options) if options and told else 1

    def rotated(self, by: int) -> Asked:
        """The same question with its options moved up by some places, the first ones to the end."""
        if not by:
            return self
        options = self.labels.options
        moved = (*options[by:], *options[:by])
        place = (LETTERS.index(self.labels.answer) - by) % len(options)
        question = self.conversation.question.replace(_lines(options), _lines(moved))
        turns = tuple((who, question if who == "human" else LETTERS[place]) for who, _ in self.conversation.turns)
        labels = replace(self.labels, options=moved, answer=LETTERS[place])
        return replace(self, conversation=replace(self.conversation, turns=turns), labels=labels)

    def prompt(self, sight: Sight, family: Family) -> Prompt:
        """The question as a model of this family would be trained on it."""
        question = self.conversation.question
        sizes = self.pixel_sizes(family)
        system = pixel_note(dict(enumerate(sizes))) if sizes else ""
        schema = answer_schema(self.labels, in_pixels=bool(sizes))
        if sight == "none":
            return Prompt("study", system, (_HEADS.sub("", question),), schema)
        images = self.images if sight == "images" else tuple(np.zeros_like(image) for image in self.images)
        return Prompt("study", system, picture_and_text(question, images, family), schema)

    def pixel_sizes(self, family: Family) -> list[Size]:
        """The images' sizes as the model sees them if the answer is in their pixels, else nothing."""
        placed = self.labels.form in ("point", "box")
        return [image.size_px for image in family.encode_images(self.images)] if placed and family.in_pixels else []


def answer_schema(labels: Labels, *, in_pixels: bool = False) -> Mapping[str, Any]:
    """The form of an answer: an option's letter, a number, a point or box as the data write them, or a plan."""
    if labels.form == "choice":
        return _text(f"[{LETTERS[: len(labels.options)]}]", 1)
    if labels.form == "plan":
        return plan_schema("manipulation" if labels.type == "planning.table" else "navigation", 1)
    if labels.form == "number":
        return _text(_NUMBER, 9)
    x = _PIXEL if in_pixels else _RELATIVE
    return _text(rf"\[{x}, {x}\]", 12) if labels.form == "point" else _text(rf"\[\[{x}, {x}, {x}, {x}\]\]", 26)


def _text(pattern: str, longest: int) -> dict[str, Any]:
    return {"type": "text", "pattern": pattern, "maxLength": longest}


def _lines(options: Sequence[str]) -> str:
    """The options, as a question lists them."""
    return "".join(f"\n{letter}. {option}" for letter, option in zip(LETTERS, options, strict=False)) + "\n"


# --- asking ---------------------------------------------------------------------------------------------------------


def ask_all(
    run: QuestionsRun, *, controls: bool = True, report: Say
) -> tuple[list[Asked], dict[Key, float]]:  # fmt: skip
    """Ask what was not asked before; returns the questions, and the scores of all answers.

    Args:
        run: what to ask.
        controls: whether to ask with blank images, without images and with the options reordered, too.
        report: takes lines of progress.

    Raises:
        DataError: the data set or the recorded answers are broken.
        ConfigError: the folder has another model's answers.
    """
    settings = {"model": model_fingerprint(run.model), "data": fingerprint([run.data]), "dtype": run.dtype}
    claim(run.out / SETTINGS_FILE, settings)
    questions, lines = list(_questions(run)), JsonLines(run.out / _ANSWERS_FILE)
    scores = _recorded(lines)
    backend: LocalBackend | None = None
    for number, one in enumerate(questions, start=1):
        for key in _keys(one) if controls else [as_posed(one)]:
            if key in scores:
                continue
            if backend is None:
                torch.set_num_threads(run.threads)
                backend = LocalBackend(run.model, device=run.device, dtype=run.dtype)
            identity, sight, rotation = key
            rotated = one.rotated(rotation)
            said = backend.generate(rotated.prompt(sight, backend.family), deadline_s=_DEADLINE_S).text
            if sizes := rotated.pixel_sizes(backend.family):
                said = pairs_to_relative(said, sizes)
            scores[key] = score(said, rotated.labels)
            lines.append({"id": identity, "sight": sight, "rotation": rotation, "answer": said, "score": scores[key]})
        if number % 100 == 0:
            report(f"{number} of {len(questions)} questions")
    return questions, scores


def _questions(run: QuestionsRun) -> Iterator[Asked]:
    records = read_records([run.data])
    labels = [label for _, label in read_dataset(run.data)]
    for record, label in list(zip(records, labels, strict=True))[: run.count]:
        yield Asked(record.conversation, label, tuple(load_image(record, path) for path in record.images))


def as_posed(one: Asked) -> Key:
    """With its images, and its options in their original order."""
    return one.labels.id, "images", 0


def _keys(one: Asked) -> Iterator[Key]:
    """Every sight with the options in their original order, and the images with every other order, too."""
    yield from ((one.labels.id, sight, 0) for sight in SIGHTS)
    yield from ((one.labels.id, "images", rotation) for rotation in range(1, one.rotations))


def _recorded(lines: JsonLines) -> dict[Key, float]:
    """The scores that an earlier run left."""
    try:
        return {(row["id"], row["sight"], row["rotation"]): float(row["score"]) for row in lines.rows}
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"{str(lines.path)!r} has a line that is not an answer ({error!r}): remove it, or choose another --out"
        ) from None
