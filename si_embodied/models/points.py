"""Conversion of points between 0..1000 relative to a view and pixels of the image as the model sees it.

Schemas and answers are traversed as JSON. A point is an array of two integers, and its view is the `view` key of the
same object. The views are the last images of the prompt, in order; their numbers are those that the schema allows.

Nothing is clamped. A point outside its image stays outside 0..1000, and anything else that is not a point (a string,
null, NaN, nested lists, an unknown view) stays as it is, so that the plan parser rejects both.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from typing import Any, TypeAlias

from si_embodied.errors import BackendError
from si_embodied.plan import view_numbers

RELATIVE_MAX = 1000

Size: TypeAlias = tuple[int, int]  # (width, height), pixels
Views: TypeAlias = Mapping[int, Size]  # by the view's number
_Convert: TypeAlias = Callable[[Sequence[float], Size], list[int]]


def view_sizes(schema: Mapping[str, Any], image_sizes_px: Sequence[Size]) -> Views:
    """Sizes of the images that `view` can refer to in an answer of `schema`: the last ones of the prompt.

    Raises:
        BackendError: the schema allows more views than there are images.
    """
    views = view_numbers(schema)
    if len(views) > len(image_sizes_px):
        raise BackendError(f"the schema allows {len(views)} views, but the prompt has {len(image_sizes_px)} images")
    return dict(zip(views, image_sizes_px[len(image_sizes_px) - len(views) :], strict=True))


def pixel_note(views: Views) -> str:
    """The prompt text for a model that uses pixels: it overrides the prompt's 0..1000 and gives the view sizes."""
    listed = ", ".join(f"view {view} is {width} x {height}" for view, (width, height) in views.items())
    return f"Write every point in pixels of its view, not from 0 to 1000: {listed}."


def schema_in_pixels(schema: Mapping[str, Any], views: Views) -> dict[str, Any]:
    """The schema with every point bounded by the size of its view.

    An object with a `view` becomes one alternative per distinct image size.
    """
    result: dict[str, Any] = _in_pixels(schema, views)
    return result


def answer_to_relative(text: str, views: Views) -> str:
    """Convert a complete answer's points from pixels to 0..1000.

    Raises:
        BackendError: the text is not JSON.
    """
    return _convert_answer(text, views, to_relative)


def answer_to_pixels(text: str, views: Views) -> str:
    """Convert a complete answer's points from 0..1000 to pixels.

    Raises:
        BackendError: the text is not JSON.
    """
    return _convert_answer(text, views, to_pixels)


def pairs_to_pixels(text: str, sizes: Sequence[Size]) -> str:
    """Convert a point or box, such as "[512, 730]", from 0..1000 to pixels. Its numbers alternate between x and y.

    Raises:
        BackendError: an odd number of values, or images of different sizes, which makes the view ambiguous.
    """
    return _convert_pairs(text, sizes, to_pixels)


def pairs_to_relative(text: str, sizes: Sequence[Size]) -> str:
    """Convert a point or box from pixels to 0..1000; the inverse of `pairs_to_pixels`.

    Raises:
        BackendError: as for `pairs_to_pixels`.
    """
    return _convert_pairs(text, sizes, to_relative)


def _convert_pairs(text: str, sizes: Sequence[Size], convert: _Convert) -> str:
    """Convert the numbers of a point or box."""
    if len(set(sizes)) != 1:
        raise BackendError(f"expected images of one size, got sizes: {sorted(set(sizes))}")
    numbers = [int(number) for number in re.findall(r"\d+", text)]
    if len(numbers) % 2:
        raise BackendError(f"expected an even number of integers, got: {text[:80]!r}")
    pairs = zip(numbers[::2], numbers[1::2], strict=True)
    converted = iter([value for pair in pairs for value in convert(pair, sizes[0])])
    return re.sub(r"\d+", lambda _: str(next(converted)), text)


def to_relative(point: Sequence[float], size: Size) -> list[int]:
    """Convert pixels (x, y) of an image of `size` to 0..1000; what is outside the image stays outside."""
    return [_relative(value, extent) for value, extent in zip(point, size, strict=True)]


def _relative(value: float, extent: int) -> int:
    if 0 <= value <= extent:
        return round(value * RELATIVE_MAX / extent)
    exact = Fraction(value) * RELATIVE_MAX / extent  # floats overflow at values that JSON can hold
    return math.floor(exact) if value < 0 else math.ceil(exact)


def to_pixels(point: Sequence[float], size: Size) -> list[int]:
    """Convert 0..1000 to the nearest pixels (x, y) of an image of `size`."""
    return [round(value * extent / RELATIVE_MAX) for value, extent in zip(point, size, strict=True)]


def _is_point(node: Any) -> bool:
    """Whether a schema node is a point: two integers up to 1000."""
    items = node.get("prefixItems") if isinstance(node, Mapping) else None
    return (
        isinstance(items, list)
        and len(items) == 2
        and all(item.get("type") == "integer" and item.get("maximum") == RELATIVE_MAX for item in items)
    )


def _in_pixels(node: Any, views: Views) -> Any:
    """Rewrite a schema node."""
    if isinstance(node, list):
        return [_in_pixels(child, views) for child in node]
    if not isinstance(node, Mapping):
        return node
    properties = node.get("properties")
    if not (isinstance(properties, Mapping) and "view" in properties):
        return {key: _in_pixels(child, views) for key, child in node.items()}
    choices = []
    for size in dict.fromkeys(views.values()):
        same = [view for view, other in views.items() if other == size]
        bounded = {key: _pixel_point(child, size) if _is_point(child) else child for key, child in properties.items()}
        bounded["view"] = {"enum": same}
        choices.append({**node, "properties": bounded})
    return choices[0] if len(choices) == 1 else {"anyOf": choices}


def _pixel_point(node: Mapping[str, Any], size: Size) -> dict[str, Any]:
    """A point's schema with the image's width and height as its bounds."""
    bounds = [{**item, "maximum": extent} for item, extent in zip(node["prefixItems"], size, strict=True)]
    return {**node, "prefixItems": bounds}


def _convert_answer(text: str, views: Views, convert: _Convert) -> str:
    """Convert the points of a complete answer; the JSON has no whitespace, like the grammar's."""
    try:
        answer = json.loads(text)
        return json.dumps(_map_points(answer, views, convert), separators=(",", ":"), ensure_ascii=False)
    except (ValueError, RecursionError) as error:
        raise BackendError(f"the answer is not JSON ({error}): {text[:80]!r}") from None


def _map_points(node: Any, views: Views, convert: _Convert) -> Any:
    """Rewrite the points of an answer."""
    if isinstance(node, list):
        return [_map_points(child, views, convert) for child in node]
    if not isinstance(node, dict):
        return node
    view = node.get("view")
    if not isinstance(view, int):
        return {key: _map_points(child, views, convert) for key, child in node.items()}
    if view not in views:
        return node
    return {key: convert(child, views[view]) if _is_pair(child) else child for key, child in node.items()}


def _is_pair(child: Any) -> bool:
    """Whether a value is two finite numbers. `bool` is a subclass of `int`, but true is not a coordinate."""
    return isinstance(child, list) and len(child) == 2 and all(map(is_number, child))


def is_number(value: Any) -> bool:
    """Whether a JSON value is a finite number."""
    return type(value) is int or (type(value) is float and math.isfinite(value))
