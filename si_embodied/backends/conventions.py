"""Prompt and answer conventions of a model family behind a third-party server.

The server applies the family's chat template and image processor. We add what it cannot know: that points are in
0..1000 relative to their view, and how the family numbers several images.
"""

from __future__ import annotations

import math
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from si_embodied.backends.chat import only_json_object
from si_embodied.backends.config import Family
from si_embodied.errors import BackendError, UnknownNameError, extra
from si_embodied.models.image_budget import QWEN_TOKENS
from si_embodied.models.points import Size, Views, answer_to_relative, pixel_note, schema_in_pixels, view_sizes

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from si_embodied.types import Prompt

_QWEN25_FACTOR_PX = 28  # 14 px patches, merged 2 x 2
_QWEN25_MIN_PIXELS, _QWEN25_MAX_PIXELS = 56 * 56, 28 * 28 * 1280
"""Sizes that no server's image processor changes: Qwen2.5-VL's own limits are 56 x 56 and 12.8 million pixels."""
_QWEN_MAX_ASPECT = 200  # `smart_resize` (transformers, vLLM, SGLang) refuses longer images


@dataclass(frozen=True, slots=True, eq=False)
class Question:
    """A prompt in one family's conventions."""

    system: str
    content: tuple[str | NDArray[np.uint8], ...]  # in reading order; images are (H, W, 3)
    schema: Mapping[str, Any]
    pixel_views: Views = field(default_factory=dict)  # sizes of the views, for a family that gives points in pixels

    def answer(self, text: str) -> str:
        """The answer with points in 0..1000, without what surrounds its JSON object.

        What is not a plan stays recognisable as such, for the planner to reject: invalid JSON is returned unchanged,
        and so is a point that is not one or names an unknown view; a point outside its image stays outside 0..1000.
        """
        body = only_json_object(text) if self.schema.get("type") == "object" else text
        if not self.pixel_views:
            return body
        try:
            return answer_to_relative(body, self.pixel_views)
        except BackendError:
            return body


def question(prompt: Prompt, family: Family) -> Question:
    """The prompt in a family's conventions.

    Raises:
        BackendError: an image is more than 200 times as long as wide, which the Qwen families do not accept.
        UnknownNameError: unknown family.
        MissingExtraError: images for Qwen2.5-VL must be resized, and Pillow is not installed.
    """
    if family in ("qwen3_vl", "qwen2_5_vl"):
        _check_aspects(prompt)
    if prompt.numbered or (family == "internvl" and len(prompt.images) > 1):
        prompt = replace(prompt, content=numbered_images(prompt.content))
    if family in ("qwen3_vl", "internvl", "bagel"):  # how BAGEL writes points is not known; the prompt asks for these
        return Question(prompt.system, prompt.content, prompt.schema)
    if family == "qwen2_5_vl":
        return _in_pixels(prompt)
    raise UnknownNameError("model family", family, typing.get_args(Family))


def _check_aspects(prompt: Prompt) -> None:
    for image in prompt.images:
        height, width = image.shape[:2]
        if max(height, width) > _QWEN_MAX_ASPECT * min(height, width):
            raise BackendError(
                f"an image is {width} x {height} pixels, but Qwen models accept an aspect ratio of at most "
                f"{_QWEN_MAX_ASPECT}: crop it"
            )


def numbered_images(content: tuple[str | NDArray[np.uint8], ...]) -> tuple[str | NDArray[np.uint8], ...]:
    """Number the images as in InternVL's training: `Image-1: <image>` and a newline."""
    numbered: list[str | NDArray[np.uint8]] = []
    number = 0
    for part in content:
        if isinstance(part, str):
            numbered.append(part)
        else:
            number += 1
            numbered += [f"Image-{number}: ", part, "\n"]
    return tuple(numbered)


def _in_pixels(prompt: Prompt) -> Question:
    """Qwen2.5-VL's points are pixels of the image after its processor's resizing: send images that need none."""
    most = min(_QWEN25_MAX_PIXELS, QWEN_TOKENS.share(len(prompt.images)) * _QWEN25_FACTOR_PX**2)
    content = tuple(part if isinstance(part, str) else _resized(part, most) for part in prompt.content)
    sizes = [(part.shape[1], part.shape[0]) for part in content if not isinstance(part, str)]
    views = view_sizes(prompt.schema, sizes)
    if not views:
        return Question(prompt.system, content, prompt.schema)
    system = "\n".join(text for text in (prompt.system, pixel_note(views)) if text)
    return Question(system, content, schema_in_pixels(prompt.schema, views), views)


def stable_size(width: int, height: int, most_pixels: int = _QWEN25_MAX_PIXELS) -> Size:
    """The size to which Qwen2.5-VL's `smart_resize` (transformers, image_processing_qwen2_vl) resizes an image.

    Both sides are multiples of 28, the area is within the limits, and the aspect ratio is kept as closely as that
    allows. Resizing the result again leaves it unchanged.
    """
    factor = _QWEN25_FACTOR_PX
    columns, rows = (max(factor, round(side / factor) * factor) for side in (width, height))
    if rows * columns > most_pixels:
        scale = math.sqrt(width * height / most_pixels)
        columns, rows = (max(factor, math.floor(side / scale / factor) * factor) for side in (width, height))
    elif rows * columns < _QWEN25_MIN_PIXELS:
        scale = math.sqrt(_QWEN25_MIN_PIXELS / (width * height))
        columns, rows = (math.ceil(side * scale / factor) * factor for side in (width, height))
    return columns, rows


def _resized(image: NDArray[np.uint8], most_pixels: int) -> NDArray[np.uint8]:
    size = stable_size(image.shape[1], image.shape[0], most_pixels)
    if size == (image.shape[1], image.shape[0]):
        return image
    with extra("serve"):
        from PIL import Image
    return np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BICUBIC))
