"""Grounding: each family's own question, and its answer converted to 0..1000 of the image."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from si_embodied.errors import ConfigError, RegionParseError
from si_embodied.models.regions import Region, json_question, read_json, read_ref, ref_question

if TYPE_CHECKING:
    from pathlib import Path

THOUSAND = (1000, 1000)


@pytest.mark.parametrize(
    "text",
    [
        "[[100, 200, 301, 400]]",
        "[[100,200,301,400]]",
        "<ref>the red cup</ref><box>[[100, 200, 301, 400]]</box>",
        "The red cup is at [[100, 200, 301, 400]].",
    ],
)
def test_internvl_answers(text: str) -> None:
    """Bare, as the grammar produces it, or marked up as in training; the centre is rounded down."""
    assert read_ref(text) == Region((200, 300), (100, 200, 301, 400))


@pytest.mark.parametrize(
    ("text", "offence"),
    [
        ("I see no cup.", "found 0"),
        ("[[1, 2, 3, 4]] and [[5, 6, 7, 8]]", "found 2"),
        ("[[1, 2, 3]]", "4 numbers"),
        ("[[1, 2, x, 4]]", "4 numbers"),
        ("[[1, 2, nan, 4]]", "4 numbers"),
        ("[[1, 2, 1001, 4]]", "outside"),
        ("[[-1, 2, 3, 4]]", "outside"),
        ("[[-0.4, 2, 3, 4]]", "outside"),
        ("[[1, 2, 3, 1000.4]]", "outside"),
        ("[[1_0, 2, 3, 4]]", "4 numbers"),
        ("[[500, 2, 400, 4]]", "second corner"),
    ],
)
def test_invalid_internvl_boxes_are_rejected(text: str, offence: str) -> None:
    """No guessing; the error contains the answer."""
    with pytest.raises(RegionParseError, match=offence) as caught:
        read_ref(text)
    assert caught.value.text == text


@pytest.mark.parametrize(
    "text",
    [
        '[{"bbox_2d":[100,200,301,400]}]',
        '{"bbox_2d": [100, 200, 301, 400], "label": "red cup"}',
        '```json\n[\n\t{"bbox_2d": [100, 200, 301, 400], "label": "the red cup"}\n]\n```',
        '```json\n[{"bbox_2d": [100.2, 199.9, 301, 400]}]',
    ],
)
def test_qwen_boxes(text: str) -> None:
    """As the grammar produces it, or as the model writes unconstrained."""
    assert read_json(text, THOUSAND) == Region((200, 300), (100, 200, 301, 400))


def test_qwen_points() -> None:
    """A point has no box."""
    assert read_json('[{"point_2d": [12, 990], "label": "cup"}]', THOUSAND) == Region((12, 990))


def test_pixels_become_relative() -> None:
    """Qwen2.5-VL, with an image resized to 640 x 480."""
    assert read_json('[{"bbox_2d": [0, 120, 320, 480]}]', (640, 480)) == Region((250, 625), (0, 250, 500, 1000))


@pytest.mark.parametrize(
    ("text", "offence"),
    [
        ("", "not JSON"),
        ("There is no cup.", "not JSON"),
        ("[]", "found 0"),
        ("7", "found 0"),
        ('[{"label": "cup"}]', "found 0"),
        ('[{"bbox_2d": [1,2,3,4]}, {"bbox_2d": [1,2,3,4]}]', "found 2"),
        ('{"bbox_2d": "here"}', "list of numbers"),
        ('{"bbox_2d": [1, 2]}', "4 numbers"),
        ('{"bbox_2d": [1, 2, null, 4]}', "4 numbers"),
        ('{"point_2d": [1, 481]}', "outside the image, which is 640 x 480"),
        ('{"bbox_2d": [1, 20, 3, 4]}', "second corner"),
    ],
)
def test_invalid_qwen_regions_are_rejected(text: str, offence: str) -> None:
    """No guessing."""
    with pytest.raises(RegionParseError, match=offence):
        read_json(text, (640, 480))


@given(st.text(max_size=60))
def test_any_text_gives_a_region_or_the_typed_error(text: str) -> None:
    """Whatever the model writes."""
    for read in (read_ref, lambda answer: read_json(answer, THOUSAND)):
        try:
            read(text)
        except RegionParseError:
            pass


def test_questions_are_those_used_in_training() -> None:
    """InternVL's RefCOCO question; Qwen's cookbook."""
    assert "".join(ref_question(" the red cup ")) == (
        "Please provide the bounding box coordinate of the region this sentence describes: <ref>the red cup</ref>"
    )
    assert json_question("the red cup", "box") == "Locate the red cup, output its bbox coordinates using JSON format."
    assert "point coordinates" in json_question("the red cup", "point")


def test_an_empty_phrase_or_unknown_form_is_rejected() -> None:
    for ask in (lambda: ref_question(" "), lambda: json_question("", "box"), lambda: json_question("a", "circle")):
        with pytest.raises(ConfigError, match="got"):
            ask()


def test_ref_tokens_in_a_phrase_are_plain_text(original_internvl: Path) -> None:
    """A phrase cannot close the reference."""
    pytest.importorskip("transformers")
    from si_embodied.models.loading import load_checkpoint
    from si_embodied.models.original import original_tokenizer

    family = load_checkpoint(original_internvl, device="cpu").family
    start, end = original_tokenizer(original_internvl).convert_tokens_to_ids(["<ref>", "</ref>"])
    image = np.zeros((60, 90, 3), np.uint8)
    for phrase in ("the red cup", "the cup</ref><ref>"):
        ids = family.encode(family.grounding_prompt(image, phrase)).input_ids.tolist()
        assert (ids.count(start), ids.count(end)) == (1, 1)
        assert ids.index(start) < ids.index(end)


def test_constrained_answers_can_be_parsed(
    family_name: str, checkpoints: dict[str, Path], original_internvl: Path
) -> None:
    """Untrained models give a box inside the image, in 0..1000; only its corners may be swapped."""
    pytest.importorskip("transformers")
    from si_embodied.backends import LocalBackend

    backend: Any = LocalBackend(
        original_internvl if family_name == "internvl" else checkpoints[family_name], device="cpu"
    )
    image = np.random.default_rng(0).integers(0, 256, (60, 90, 3), dtype=np.uint8)
    text = backend.generate(backend.family.grounding_prompt(image, "the red cup"), deadline_s=60.0).text
    left, top, right, bottom = (int(number) for number in re.findall(r"(?<![\w])\d+", text))
    if left <= right and top <= bottom:
        box = backend.family.read_region(text, image).box
        assert box is not None
        assert all(0 <= value <= 1000 for value in box)
    else:
        with pytest.raises(RegionParseError, match="second corner"):
            backend.family.read_region(text, image)


def test_qwen25_boxes_are_bounded_by_the_resized_image(checkpoints: dict[str, Path]) -> None:
    """98 x 70 becomes 112 x 56; the grammar allows no corner beyond that."""
    pytest.importorskip("transformers")
    from si_embodied.models.loading import load_checkpoint

    family, image = load_checkpoint(checkpoints["qwen2_5_vl"], device="cpu").family, np.zeros((70, 98, 3), np.uint8)
    numbers: Any = family.grounding_prompt(image, "the red cup").schema
    box = numbers["prefixItems"][0]["properties"]["bbox_2d"]
    assert [item["maximum"] for item in box["prefixItems"]] == [112, 56, 112, 56]
    assert family.read_region('[{"bbox_2d": [0, 0, 112, 28]}]', image).box == (0, 0, 1000, 500)
    with pytest.raises(RegionParseError, match="112 x 56"):
        family.read_region('[{"bbox_2d": [0, 0, 112, 70]}]', image)
