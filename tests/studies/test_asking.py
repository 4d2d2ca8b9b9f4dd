"""Reordering a question or blanking its images does not change its meaning, and answers are constrained to its form."""

from __future__ import annotations

import re
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

from si_embodied.data.records import Conversation, Labels
from si_embodied.studies.asking import SIGHTS, Asked, answer_schema


class Numbered:
    """A family that writes "Image-1: " itself, as InternVL does."""

    def image_text(self, number: int, count: int) -> tuple[str, str]:
        return f"Image-{number}: ", "\n"


class Plain:
    """A family that writes nothing around an image."""

    in_pixels = False

    def image_text(self, number: int, count: int) -> tuple[str, str]:
        return "", ""


class InPixels(Plain):
    """A family that answers in pixels, and sees every image at 500 x 200."""

    in_pixels = True

    def encode_images(self, images: tuple[Any, ...]) -> tuple[SimpleNamespace, ...]:
        return tuple(SimpleNamespace(size_px=(500, 200)) for _ in images)


PICTURE = np.full((4, 6, 3), 200, np.uint8)


def asked(options: tuple[str, ...] = ("left", "right", "behind"), *, listed: bool = True, images: int = 1) -> Asked:
    heads = ["<image>"] if images == 1 else [f"Image-{k + 1}: <image>" for k in range(images)]
    lines = [f"{'ABC'[k]}. {option}" for k, option in enumerate(options)] if listed else []
    text = "\n".join([*heads, "Where is it?", *lines, "Answer with the option's letter."])
    labels = Labels("r-0", "relation", "relation.nearest", "choice", "B", options if listed else ("",) * 3, 0)
    return Asked(Conversation("r-0", (("human", text), ("gpt", "B")), ("a.png",) * images), labels, (PICTURE,) * images)


def right_text(one: Asked) -> str:
    """The option that the question lists at the correct letter."""
    found = re.search(rf"^{one.labels.answer}\. (.*)$", one.conversation.question, re.MULTILINE)
    assert found
    return found.group(1)


def test_the_correct_option_stays_correct_when_it_moves() -> None:
    turned = [asked().rotated(by) for by in range(asked().rotations)]
    assert [one.labels.answer for one in turned] == ["B", "A", "C"]
    assert {right_text(one) for one in turned} == {"right"}
    assert {one.conversation.answer for one in turned} == {"A", "B", "C"}
    assert len({one.conversation.question for one in turned}) == 3


def test_options_that_only_the_image_shows_are_not_reordered() -> None:
    assert asked(listed=False).rotations == 1


@pytest.mark.parametrize(("sight", "brightest"), [("images", 200), ("blank", 0)])
def test_blank_images_are_black_and_of_the_same_size(sight: Any, brightest: int) -> None:
    (picture,) = asked().prompt(sight, Plain()).images  # type: ignore[arg-type]
    assert picture.shape == PICTURE.shape
    assert picture.max() == brightest


def test_without_images_the_prompt_does_not_mention_them() -> None:
    prompt = asked(images=2).prompt("none", Numbered())  # type: ignore[arg-type]
    assert not prompt.images
    assert prompt.text.startswith("Where is it?")


def test_image_labels_of_the_family_are_not_repeated() -> None:
    for family, heads in ((Plain(), 2), (Numbered(), 0)):
        text = asked(images=2).prompt("images", family).text  # type: ignore[arg-type]
        assert text.count("Image-") == heads


def test_every_sight_has_the_same_answer_schema() -> None:
    schemas = [asked().prompt(sight, Plain()).schema for sight in SIGHTS]  # type: ignore[arg-type]
    assert schemas == [{"type": "text", "pattern": "[ABC]", "maxLength": 1}] * 3


@pytest.mark.parametrize(
    ("form", "fitting", "unfitting"),
    [
        ("number", ["0", "1.6", "90", "-3", "12345.25"], ["", "01", "1.", "a", "123456"]),
        ("point", ["[0, 1000]", "[87, 292]"], ["[87,292]", "[1001, 0]", "87, 292", "[05, 1]"]),
        ("box", ["[[924, 254, 1000, 509]]"], ["[924, 254, 1000, 509]", "[[1, 2, 3]]"]),
    ],
)
def test_answers_have_the_format_of_the_data(form: str, fitting: list[str], unfitting: list[str]) -> None:
    schema = answer_schema(Labels("x", "metric", "metric.depth", form, "", (), 0))
    assert all(re.fullmatch(schema["pattern"], text) and len(text) <= schema["maxLength"] for text in fitting)
    assert not any(re.fullmatch(schema["pattern"], text) for text in unfitting)


def test_plans_follow_the_planners_schema() -> None:
    kinds = {"planning.table": '"pick"', "planning.room": '"goto"'}
    for name, skill in kinds.items():
        schema = answer_schema(Labels("x", "planning", name, "plan", "", (), 0))
        assert skill in str(schema).replace("'", '"')


def test_a_family_in_pixels_is_told_the_images_sizes_and_asked_for_pixels() -> None:
    """As in training (`training.conversations.encode`); only where the answer is a point or a box."""
    point = asked()
    point = replace(point, labels=replace(point.labels, form="point", options=()))
    prompt = point.prompt("images", InPixels())  # type: ignore[arg-type]
    assert "view 0 is 500 x 200" in prompt.system
    assert re.fullmatch(prompt.schema["pattern"], "[1280, 64]")
    assert point.pixel_sizes(InPixels()) == [(500, 200)]  # type: ignore[arg-type]
    assert not asked().pixel_sizes(InPixels())  # type: ignore[arg-type]
    assert not asked().prompt("images", InPixels()).system  # type: ignore[arg-type]
