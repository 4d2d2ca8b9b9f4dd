"""Questions of the data engine put to any checkpoint: with its pictures, without, or with the options moved round."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np

from si_embodied.data.questions.base import LETTERS
from si_embodied.data.records import PLACEHOLDER
from si_embodied.plan import plan_schema
from si_embodied.training.conversations import picture_and_text
from si_embodied.types import Prompt

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from si_embodied.data.records import Conversation, Labels
    from si_embodied.models.families import Family

Sight: TypeAlias = Literal["images", "blank", "none"]
"""What a model sees: the pictures, black ones of the same sizes, or words alone."""
SIGHTS: tuple[Sight, ...] = ("images", "blank", "none")

_NUMBER = r"-?(0|[1-9][0-9]{0,4})(\.[0-9]{1,2})?"
_COORDINATE = r"(0|[1-9][0-9]{0,2}|1000)"
_POINT = rf"\[{_COORDINATE}, {_COORDINATE}\]"
_BOX = rf"\[\[{_COORDINATE}, {_COORDINATE}, {_COORDINATE}, {_COORDINATE}\]\]"
_HEADS = re.compile(rf"(Image-\d+: )?{PLACEHOLDER}\n?")


@dataclass(frozen=True, slots=True, eq=False)
class Asked:
    """A question with its labels and its pictures."""

    conversation: Conversation
    labels: Labels
    images: tuple[NDArray[np.uint8], ...]  # each (H, W, 3)

    @property
    def rotations(self) -> int:
        """How many ways its options can stand: 1 where it has none, or where the picture shows them."""
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
        """The question as the family would have been trained on it."""
        question = self.conversation.question
        schema = answer_schema(self.labels)
        if sight == "none":
            return Prompt("study", "", (_HEADS.sub("", question),), schema)
        images = self.images if sight == "images" else tuple(np.zeros_like(image) for image in self.images)
        return Prompt("study", "", picture_and_text(question, images, family), schema)


def answer_schema(labels: Labels) -> Mapping[str, Any]:
    """What an answer must look like: an option's letter, a number, a point or box as the data write them, a plan."""
    if labels.form == "choice":
        return _text(f"[{LETTERS[: len(labels.options)]}]", 1)
    if labels.form == "plan":
        return plan_schema("manipulation" if labels.type == "planning.table" else "navigation", 1)
    return {"number": _text(_NUMBER, 9), "point": _text(_POINT, 12), "box": _text(_BOX, 26)}[labels.form]


def _text(pattern: str, longest: int) -> dict[str, Any]:
    return {"type": "text", "pattern": pattern, "maxLength": longest}


def _lines(options: Sequence[str]) -> str:
    """The options as a question lists them."""
    return "".join(f"\n{letter}. {option}" for letter, option in zip(LETTERS, options, strict=False)) + "\n"
