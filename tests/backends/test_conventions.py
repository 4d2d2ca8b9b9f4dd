"""Conventions of model families on a server, compared with the real image processor and the local families."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from si_embodied import Prompt
from si_embodied.backends.config import Family
from si_embodied.backends.conventions import question, stable_size
from si_embodied.backends.retries import Retries, retry_after_s
from si_embodied.errors import BackendError, PlanParseError, UnknownNameError
from si_embodied.plan import parse_plan, plan_schema

SIDES = st.integers(28, 2000)


@given(SIDES, SIDES)
@settings(max_examples=100)
def test_a_size_chosen_by_qwens_resize_is_stable(width: int, height: int) -> None:
    """Checked with the function that transformers, vLLM and SGLang use, and Qwen2.5-VL's own limits."""
    image_processing = pytest.importorskip("transformers.models.qwen2_vl.image_processing_pil_qwen2_vl")
    columns, rows = stable_size(width, height)
    again = image_processing.smart_resize(rows, columns, factor=28, min_pixels=56 * 56, max_pixels=28 * 28 * 16384)
    assert again == (rows, columns)


@given(SIDES, SIDES)
@settings(max_examples=100)
def test_an_image_within_the_limits_gets_qwens_size(width: int, height: int) -> None:
    image_processing = pytest.importorskip("transformers.models.qwen2_vl.image_processing_pil_qwen2_vl")
    size = image_processing.smart_resize(height, width, factor=28, min_pixels=56 * 56, max_pixels=28 * 28 * 1280)
    assert stable_size(width, height) == size[::-1]


def test_an_answer_about_a_missing_view_is_passed_on_to_the_planners_repair() -> None:
    image = np.zeros((56, 56, 3), np.uint8)
    asked = question(Prompt("v", "", (image,), plan_schema("navigation", 1)), "qwen2_5_vl")
    plan = '{"subgoals":[{"skill":"goto","object":"x","view":3,"point":[1,1]}],"done":false}'
    assert asked.answer(plan) == plan
    with pytest.raises(PlanParseError, match="there are 1 views"):
        parse_plan(asked.answer(plan), "navigation", 1)


@pytest.mark.parametrize("family", ["qwen3_vl", "qwen2_5_vl"])
def test_an_image_too_long_for_the_family_is_an_error_before_it_is_sent(family: Family) -> None:
    image = np.zeros((10, 2001, 3), np.uint8)
    with pytest.raises(BackendError, match="2001 x 10 pixels.*200"):
        question(Prompt("v", "", (image,), plan_schema("navigation", 1)), family)


@pytest.mark.parametrize("family", ["internvl", "bagel"])
def test_other_families_take_images_of_any_shape(family: Family) -> None:
    image = np.zeros((10, 2001, 3), np.uint8)
    asked = question(Prompt("v", "You plan.", ("go", image), plan_schema("navigation", 1)), family)
    assert asked.content == ("go", image)


def test_an_invalid_plan_is_passed_on_to_the_planners_repair() -> None:
    image = np.zeros((56, 56, 3), np.uint8)
    asked = question(Prompt("v", "", (image,), plan_schema("navigation", 1)), "qwen2_5_vl")
    assert asked.answer("I see a chair.") == "I see a chair."
    assert asked.answer('{"subgoals":[{"skill"') == '{"subgoals":[{"skill"'


def test_a_fenced_answer_is_converted_too() -> None:
    """The planner strips one code fence, so the points inside must have been converted to thousandths."""
    image = np.zeros((56, 56, 3), np.uint8)
    asked = question(Prompt("v", "", (image,), plan_schema("navigation", 1)), "qwen2_5_vl")
    pixels = '{"subgoals":[{"skill":"goto","object":"x","view":0,"point":[28,14]}],"done":false}'
    assert asked.answer(f"```json\n{pixels}\n```") == pixels.replace("[28,14]", "[500,250]")


def test_an_unknown_family_is_named() -> None:
    with pytest.raises(UnknownNameError, match="'internvl3'.*Did you mean 'internvl'"):
        question(Prompt("v", "", (), {}), "internvl3")  # type: ignore[arg-type]


# --- asking again ---------------------------------------------------------------------------------------------------


def test_waits_double_up_to_the_maximum_and_then_stop() -> None:
    retries = Retries(attempts=5, first_wait_s=1.0, longest_wait_s=3.0, uniform=lambda low, high: high)
    assert [retries.wait_s(attempt) for attempt in range(1, 6)] == [1.0, 2.0, 3.0, 3.0, None]


def test_waits_are_jittered_down_to_zero() -> None:
    retries = Retries(first_wait_s=1.0, uniform=lambda low, high: low)
    assert retries.wait_s(1) == 0.0
    assert retries.wait_s(1, after_s=2.0) == 2.0


@pytest.mark.parametrize(
    ("value", "seconds"),
    [(None, None), ("3", 3.0), ("0.5", 0.5), ("-1", 0.0), ("soon", None), ("nan", None),
     ("Tue, 24 Nov 2026 10:00:07 GMT", 7.0), ("Tue, 24 Nov 2026 09:00:00 GMT", 0.0)],
)  # fmt: skip
def test_retry_after_is_parsed(value: str | None, seconds: float | None) -> None:
    from datetime import datetime, timezone

    ten = datetime(2026, 11, 24, 10, 0, 0, tzinfo=timezone.utc)
    assert retry_after_s(value, now=lambda: ten) == seconds


def test_qwen25_gets_the_frames_of_a_video_smaller_than_images() -> None:
    """720 cells of 28 px of the 768 that its own code allows a frame; alone, such an image keeps 46 x 26."""
    image = np.zeros((720, 1280, 3), np.uint8)
    for count, size in ((1, (26 * 28, 46 * 28)), (32, (20 * 28, 36 * 28))):
        asked = question(Prompt("v", "", (image,) * count, {"type": "boolean"}), "qwen2_5_vl")
        assert {part.shape[:2] for part in asked.content if not isinstance(part, str)} == {size}
