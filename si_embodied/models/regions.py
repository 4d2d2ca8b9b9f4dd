"""Grounding questions for a box or point in an image, in the families' training formats, and parsing of the answers.

InternVL: https://github.com/OpenGVLab/InternVL, `eval/refcoco`. Qwen-VL: https://github.com/QwenLM/Qwen3-VL, the
cookbook on 2-D grounding; Qwen2.5-VL writes the same JSON, in pixels of the resized image.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from si_embodied.errors import ConfigError, RegionParseError
from si_embodied.models.points import RELATIVE_MAX, Size, is_number, to_relative

Form: TypeAlias = Literal["box", "point"]

_JSON_KEYS: Mapping[Form, str] = {"box": "bbox_2d", "point": "point_2d"}
_REF_BOX = re.compile(r"\[\s*\[([^\[\]]*)\]\s*\]")
_DECIMAL = re.compile(r"-?[0-9]+(\.[0-9]+)?")
_FENCE = re.compile(r"```(?:[a-z]+)?\s*(.*?)\s*(?:```|$)", re.DOTALL | re.IGNORECASE)


class SpecialToken(str):
    """A special token in a prompt. The same characters in an ordinary string are tokenized as plain text."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Region:
    """A location in an image, in 0..1000 of its width and height."""

    point: tuple[int, int]  # x, y: as answered, or the box's centre
    box: tuple[int, int, int, int] | None = None  # x1, y1, x2, y2: left, top, right, bottom


def ref_question(phrase: str) -> tuple[str, ...]:
    """InternVL's question for the box of `phrase`.

    Raises:
        ConfigError: the phrase is empty.
    """
    lead = "Please provide the bounding box coordinate of the region this sentence describes: "
    return lead, SpecialToken("<ref>"), _checked(phrase), SpecialToken("</ref>")


def ref_schema() -> dict[str, Any]:
    """The schema of InternVL's answer: `[[x1, y1, x2, y2]]` in 0..1000."""
    return _tuple_schema([_numbers_schema(4, (RELATIVE_MAX, RELATIVE_MAX))])


def read_ref(text: str) -> Region:
    """Parse InternVL's answer, with or without `<box>` and `</box>`.

    Raises:
        RegionParseError: the answer is not exactly one box inside the image.
    """
    found = _REF_BOX.findall(text)
    if len(found) != 1:
        raise RegionParseError(f"expected one box [[x1, y1, x2, y2]], found {len(found)}", text)
    parts = [part.strip() for part in found[0].split(",")]
    numbers = [float(part) if _DECIMAL.fullmatch(part) else None for part in parts]
    return _region(numbers, "box", (RELATIVE_MAX, RELATIVE_MAX), text)


def json_question(phrase: str, form: Form) -> str:
    """Qwen-VL's question for the box or point of `phrase`.

    Raises:
        ConfigError: the phrase is empty, or the form is unknown.
    """
    if form not in _JSON_KEYS:
        raise ConfigError(f"expected form to be one of {', '.join(_JSON_KEYS)}, got: {form!r}")
    wanted = "bbox coordinates" if form == "box" else "point coordinates"
    return f"Locate {_checked(phrase)}, output its {wanted} using JSON format."


def json_schema(form: Form, bounds: Size) -> dict[str, Any]:
    """The schema of Qwen-VL's answer: `[{"bbox_2d": [x1, y1, x2, y2]}]` or `[{"point_2d": [x, y]}]`, up to `bounds`."""
    key = _JSON_KEYS[form]
    return _tuple_schema(
        [
            {
                "type": "object",
                "properties": {key: _numbers_schema(4 if form == "box" else 2, bounds)},
                "required": [key],
                "additionalProperties": False,
            }
        ]
    )


def read_json(text: str, bounds: Size) -> Region:
    """Parse Qwen-VL's answer: JSON, optionally in a code fence, with one box or point and optionally a label.

    Args:
        text: the answer.
        bounds: upper bounds of x and y: 1000 for both, or the width and height in pixels.

    Raises:
        RegionParseError: not JSON, or not exactly one box or point inside the image.
    """
    fenced = _FENCE.search(text)
    try:
        answer = json.loads(fenced[1] if fenced else text)
    except (ValueError, RecursionError) as error:
        raise RegionParseError(f"not JSON ({error})", text) from None
    objects = answer if isinstance(answer, list) else [answer]
    found: list[tuple[Form, Any]] = [
        (form, entry[key])
        for entry in objects
        if isinstance(entry, dict)
        for form, key in _JSON_KEYS.items()
        if key in entry
    ]
    if len(found) != 1:
        raise RegionParseError(f"expected one bbox_2d or point_2d, found {len(found)}", text)
    form, numbers = found[0]
    if not isinstance(numbers, list):
        raise RegionParseError(f"expected {_JSON_KEYS[form]} to be a list of numbers", text)
    return _region(numbers, form, bounds, text)


def _region(numbers: Sequence[Any], form: Form, bounds: Size, text: str) -> Region:
    """The region described by numbers up to `bounds`."""
    count = 4 if form == "box" else 2
    if len(numbers) != count or not all(map(is_number, numbers)):
        raise RegionParseError(f"expected {count} numbers for a {form}", text)
    if not all(0 <= number <= bounds[index % 2] for index, number in enumerate(numbers)):
        raise RegionParseError(f"outside the image, which is {bounds[0]} x {bounds[1]}", text)
    x, y, *corner = map(round, numbers)
    if not corner:
        column, row = to_relative((x, y), bounds)
        return Region((column, row))
    if corner[0] < x or corner[1] < y:
        raise RegionParseError("the box's second corner must be to the right of and below its first", text)
    (left, top), (right, bottom) = to_relative((x, y), bounds), to_relative(corner, bounds)
    return Region(((left + right) // 2, (top + bottom) // 2), (left, top, right, bottom))


def _checked(phrase: str) -> str:
    """The phrase without surrounding whitespace; must not be empty."""
    if not phrase.strip():
        raise ConfigError(f"expected a phrase to look for, such as 'the red cup', got: {phrase!r}")
    return phrase.strip()


def _tuple_schema(items: list[dict[str, Any]]) -> dict[str, Any]:
    """The schema of an array of exactly these items."""
    return {"type": "array", "prefixItems": items, "items": False, "minItems": len(items), "maxItems": len(items)}


def _numbers_schema(count: int, bounds: Size) -> dict[str, Any]:
    """The schema of `count` integers that alternate between x and y."""
    return _tuple_schema([{"type": "integer", "minimum": 0, "maximum": bounds[index % 2]} for index in range(count)])
