"""Conversion of points."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from si_embodied.errors import BackendError
from si_embodied.models.points import (
    answer_to_pixels,
    answer_to_relative,
    pairs_to_pixels,
    pairs_to_relative,
    schema_in_pixels,
    to_pixels,
    to_relative,
    view_sizes,
)
from si_embodied.plan import plan_schema


def _point_bounds(schema: Any, skill: str) -> list[tuple[list[int], list[int]]]:
    """(views, maxima of x and y) of each alternative of a skill, read from the plan schema."""
    found = []
    for outer in schema["properties"]["subgoals"]["items"]["anyOf"]:
        for choice in outer.get("anyOf", [outer]):
            if choice["properties"]["skill"]["const"] == skill:
                items = choice["properties"]["point"]["prefixItems"]
                found.append((choice["properties"]["view"]["enum"], [item["maximum"] for item in items]))
    return found


@given(
    point=st.tuples(st.integers(0, 1000), st.integers(0, 1000)),
    size=st.tuples(st.integers(28, 4000), st.integers(28, 4000)),
)
def test_relative_to_pixels_and_back(point: tuple[int, int], size: tuple[int, int]) -> None:
    """Within half a pixel and the two roundings."""
    pixels = to_pixels(point, size)
    assert all(0 <= value <= extent for value, extent in zip(pixels, size, strict=True))
    back = to_relative(pixels, size)
    for before, after, extent in zip(point, back, size, strict=True):
        assert abs(before - after) <= 500 / extent + 0.5


@pytest.mark.parametrize(
    ("pixels", "size", "relative"),
    [
        ((0, 0), (640, 480), [0, 0]), ((640, 480), (640, 480), [1000, 1000]), ((320, 120), (640, 480), [500, 250]),
        ((1280, -48), (640, 480), [2000, -100]), ((640.1, -0.1), (640, 480), [1001, -1]),
        ((10**400, 1e308), (1000, 1000), [10**400, int(1e308)]),
    ],
)  # fmt: skip
def test_pixels_to_relative(pixels: tuple[int, int], size: tuple[int, int], relative: list[int]) -> None:
    """Two corners, half the width by a quarter of the height, and points outside, which are not clamped."""
    assert to_relative(pixels, size) == relative


def test_points_are_bounded_by_their_own_view() -> None:
    """Two sizes give two alternatives; views of the same size share one."""
    schema = schema_in_pixels(plan_schema("navigation", 3), {0: (112, 56), 1: (84, 84), 2: (112, 56)})
    assert _point_bounds(schema, "goto") == [([0, 2], [112, 56]), ([1], [84, 84])]


def test_other_numbers_keep_their_bounds() -> None:
    """Degrees and centimetres are not points, although one of them goes up to 300."""
    before, after = plan_schema("navigation", 1), schema_in_pixels(plan_schema("navigation", 1), {0: (112, 56)})
    skills = {"turn", "forward", "look", "explore", "stop"}

    def others(schema: Any) -> list[Any]:
        choices = schema["properties"]["subgoals"]["items"]["anyOf"]
        return [choice for choice in choices if choice["properties"]["skill"]["const"] in skills]

    assert others(before) == others(after)
    assert len(others(before)) == 5


def test_an_answer_in_pixels_becomes_relative() -> None:
    """Both points of a push, in the pixels of their own view; everything else stays."""
    answer = {
        "subgoals": [
            {"skill": "push", "object": "red cube", "view": 1, "point": [42, 21], "to": [84, 63]},
            {"skill": "turn", "degrees": 90},
        ],
        "done": False,
    }
    relative = json.loads(answer_to_relative(json.dumps(answer), {0: (112, 56), 1: (84, 84)}))
    answer["subgoals"][0] |= {"point": [500, 250], "to": [1000, 750]}  # type: ignore[index]
    assert relative == answer


def test_points_of_an_answer_become_pixels() -> None:
    """For training: the same push, from 0..1000 of an 84 x 84 view."""
    push = {"skill": "push", "object": "red cube", "view": 1, "point": [500, 250], "to": [1000, 750]}
    answer = json.dumps({"subgoals": [push], "done": False})
    pixels = json.loads(answer_to_pixels(answer, {0: (112, 56), 1: (84, 84)}))
    assert pixels["subgoals"] == [push | {"point": [42, 21], "to": [84, 63]}]


def test_pairs_of_numbers_are_converted_in_place() -> None:
    """A box in InternVL's format, with x and y alternating."""
    assert pairs_to_pixels("<box>[[0, 500, 1000, 1000]]</box>", [(200, 100)] * 2) == "<box>[[0, 50, 200, 100]]</box>"
    assert pairs_to_relative("<box>[[0, 50, 200, 100]]</box>", [(200, 100)] * 2) == "<box>[[0, 500, 1000, 1000]]</box>"


@pytest.mark.parametrize(("text", "sizes"), [("[1, 2, 3]", [(9, 9)]), ("[1, 2]", [(9, 9), (9, 8)]), ("[1, 2]", [])])
def test_ambiguous_pairs_are_an_error(text: str, sizes: list[tuple[int, int]]) -> None:
    """An odd number of values; images of two sizes; no image."""
    with pytest.raises(BackendError):
        pairs_to_pixels(text, sizes)


def test_views_are_the_last_images() -> None:
    """Images from memory come first."""
    assert view_sizes(plan_schema("navigation", 1), [(1, 2), (3, 4)]) == {0: (3, 4)}
    assert view_sizes({"type": "boolean"}, [(1, 2)]) == {}


def test_more_views_than_images_is_an_error() -> None:
    """The prompt is missing an image."""
    with pytest.raises(BackendError, match="2 views, but the prompt has 1"):
        view_sizes(plan_schema("navigation", 2), [(1, 2)])


@pytest.mark.parametrize("text", ["{", "", "[" * 100_000])
def test_an_answer_that_is_not_json_is_an_error(text: str) -> None:
    with pytest.raises(BackendError):
        answer_to_relative(text, {0: (10, 10)})


@pytest.mark.parametrize(
    "point",
    ['["2","2"]', "[null,2]", "[true,2]", "[[1,2],[3,4]]", "[NaN,2]", "[Infinity,2]", "[1,2,3]", "[1]", '"1,2"'],
)
def test_what_is_not_a_point_is_left_as_it_is(point: str) -> None:
    """For the plan parser to reject."""
    text = f'{{"view":0,"point":{point}}}'
    assert answer_to_relative(text, {0: (10, 10)}) == text


def test_a_point_of_an_unknown_view_is_left_as_it_is() -> None:
    assert answer_to_relative('{"view":3,"point":[1,2]}', {0: (10, 10)}) == '{"view":3,"point":[1,2]}'
