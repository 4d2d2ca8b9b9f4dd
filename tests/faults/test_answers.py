"""Fault: a model's answer is not a plan. The planner holds with PLAN_INVALID; nothing is clamped, nothing raises."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any, get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from si_embodied import Hold, Observation, Prompt, Task
from si_embodied.backends import ScriptedBackend
from si_embodied.backends.config import Family
from si_embodied.backends.conventions import question
from si_embodied.embodiment import MobileBase
from si_embodied.errors import PlanParseError, RegionParseError
from si_embodied.memory import Memory
from si_embodied.models.regions import Region, read_json, read_ref
from si_embodied.plan import Plan, parse_plan, plan_schema
from si_embodied.planner import Planner
from si_embodied.types import Code, Execute

FAMILIES: tuple[Family, ...] = get_args(Family)
SIDE_PX = 448
"""A multiple of 28, so that Qwen2.5-VL sees the image as it is: 448 pixels are 1000 thousandths."""
PLAN = '{"subgoals":[{"skill":"goto","object":"wall","view":%s,"point":%s}],"done":false}'
FEW = settings(max_examples=300, derandomize=True, deadline=None)


def read(text: str, family: Family, views: int = 1) -> Plan:
    """The plan in a server's answer, as the planner reads it."""
    image = np.zeros((SIDE_PX, SIDE_PX, 3), np.uint8)
    asked = question(Prompt("v", "", (image,) * views, plan_schema("navigation", views)), family)
    return parse_plan(asked.answer(text), "navigation", views)


def point_of(plan: Plan) -> Any:
    return plan.subgoals[0].point  # type: ignore[attr-defined]


@pytest.mark.parametrize(("family", "point"), [("qwen3_vl", 500), ("internvl", 500), ("qwen2_5_vl", 224)])
def test_the_middle_of_the_image_is_500_in_every_convention(family: Family, point: int) -> None:
    assert point_of(read(PLAN % (0, [point, point]), family)) == (500, 500)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(
    "point",
    [
        "[1001,224]", "[2000,224]", "[-1,224]", "[-50,224]", "[-0.4,224]", '["224","224"]', "[null,224]", "[true,224]",
        "[[1,2],[3,4]]", '[{"x":1},2]', "[NaN,224]", "[Infinity,224]", "[-Infinity,224]", "[1e999,224]", "[1,2,3,4]",
        "[224]", "[]", "null", '"224,224"', '{"x":1,"y":2}', "[" + "9" * 5000 + ",1]", "[" * 3000 + "]" * 3000,
    ],
)  # fmt: skip
def test_anything_but_a_point_in_the_image_is_not_a_plan(family: Family, point: str) -> None:
    with pytest.raises(PlanParseError):
        read(PLAN % (0, point), family)


@pytest.mark.parametrize("point", ["[449,224]", "[224,448.1]", "[700,500]", "[1e308,1]"])
def test_a_pixel_outside_the_image_is_not_clamped(point: str) -> None:
    """Below 1000, it would pass for thousandths if it were left alone."""
    with pytest.raises(PlanParseError, match="less than or equal to 1000|valid integer"):
        read(PLAN % (0, point), "qwen2_5_vl")


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("view", ["1", "7", "-1", "true", "0.0", '"0"', "null", "[0]"])
def test_a_view_that_does_not_exist_is_not_a_plan(family: Family, view: str) -> None:
    with pytest.raises(PlanParseError):
        read(PLAN % (view, "[100,100]"), family)


@given(point=st.lists(st.one_of(st.integers(), st.floats(), st.text(max_size=3), st.booleans(), st.none()), max_size=3))
@FEW
def test_only_pixels_inside_the_image_are_executed(point: list[Any]) -> None:
    """By comparison with the image's size, for whatever JSON holds."""
    try:
        got = point_of(read(PLAN % (0, json.dumps(point)), "qwen2_5_vl"))
    except PlanParseError:
        return
    assert all(type(value) in (int, float) and 0 <= value <= SIDE_PX for value in point)
    assert np.allclose(got, np.array(point) * 1000 / SIDE_PX, atol=0.51)


JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.dictionaries(
            st.sampled_from(["subgoals", "done", "skill", "object", "view", "point", "to", "degrees"]),
            inner,
            max_size=5,
        ),
    ),
    max_leaves=20,
)
PIECES = st.sampled_from(
    ["<think>", "</think>", "```", "```JSON\n", "{", "}", "<|im_end|>", "\ufeff", "\ud800", "Sure: "]
)
TEXTS = st.lists(st.one_of(JSON.map(json.dumps), PIECES, st.text(max_size=10)), max_size=5).map("".join)


@pytest.mark.parametrize("family", FAMILIES)
@given(text=TEXTS)
@FEW
def test_any_answer_is_a_plan_or_a_plan_parse_error(family: Family, text: str) -> None:
    with suppress(PlanParseError):
        assert isinstance(read(text, family, views=2), Plan)


@given(text=TEXTS)
@FEW
def test_any_answer_to_a_grounding_question_is_a_region_or_a_region_parse_error(text: str) -> None:
    for parse in (read_ref, lambda answer: read_json(answer, (SIDE_PX, SIDE_PX))):
        try:
            region = parse(text)
        except RegionParseError:
            continue
        assert isinstance(region, Region)
        assert all(0 <= value <= 1000 for value in region.point)


@pytest.mark.parametrize(
    "text", ["[" * 100_000, '[{"point_2d":' + "[" * 5000, '{"point_2d":[true,1]}', '{"point_2d":["1","2"]}']
)
def test_a_malformed_region_is_a_region_parse_error(text: str) -> None:
    with pytest.raises(RegionParseError):
        read_json(text, (1000, 1000))


@pytest.mark.parametrize(
    "answer", ["", "I see a wall.", PLAN % (1, "[5000,500]"), PLAN % (3, "[1,1]"), "[" * 3000, "\ud800"]
)
@pytest.mark.promise(recovers="with the next answer")
def test_an_invalid_answer_holds_the_robot_and_a_valid_one_is_executed_next(
    answer: str, base: MobileBase, wall_ahead: Observation
) -> None:
    """No restart in between."""
    answers = iter([answer, answer, PLAN % (1, "[500,500]")])
    planner = Planner(ScriptedBackend(lambda prompt: next(answers)), base)
    task = Task("go to the wall", "navigation")
    held = planner.plan(task, wall_ahead, Memory())
    assert isinstance(held, Hold)
    assert held.code is Code.PLAN_INVALID
    assert isinstance(planner.plan(task, wall_ahead, Memory()), Execute)
