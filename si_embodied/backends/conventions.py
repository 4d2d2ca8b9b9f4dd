"""How a model family behind somebody else's server is asked, and what its answer means.

The server applies the family's chat template and image processor. Left to us is what they cannot know: that points
shall come back in 0..1000 relative to their view, and how a family numbers several images.
"""

from __future__ import annotations

import json
import math
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from si_embodied.backends.config import Family
from si_embodied.errors import UnknownNameError, extra
from si_embodied.models.points import Size, answer_to_relative, pixel_note, schema_in_pixels, view_sizes
from si_embodied.plan import without_fence

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from si_embodied.types import Prompt

_QWEN25_FACTOR_PX = 28  # patches of 14 pixels, two by two merged
_QWEN25_MIN_PIXELS, _QWEN25_MAX_PIXELS = 56 * 56, 28 * 28 * 1280
"""What every server's image processor leaves as it is: Qwen2.5-VL's own limits are 56 x 56 and 12.8 million pixels."""


@dataclass(frozen=True, slots=True, eq=False)
class Question:
    """A prompt as one family is asked it."""

    system: str
    content: tuple[str | NDArray[np.uint8], ...]  # in reading order; images are (H, W, 3)
    schema: Mapping[str, Any]
    pixel_views: tuple[Size, ...] = ()  # sizes of the views, for a family that means pixels

    def answer(self, text: str) -> str:
        """The answer with points in 0..1000; one that is no JSON is left for the planner to refuse.

        Raises:
            BackendError: the answer names a view that is not there.
        """
        body = without_fence(text)
        if not self.pixel_views or not _is_json(body):
            return text
        return answer_to_relative(body, self.pixel_views)


def question(prompt: Prompt, family: Family) -> Question:
    """The prompt in a family's convention.

    Raises:
        UnknownNameError: no such family.
        MissingExtraError: Qwen2.5-VL's images have to be resized, and Pillow is not installed.
    """
    if family == "qwen3_vl":
        return Question(prompt.system, prompt.content, prompt.schema)
    if family == "internvl":
        return Question(prompt.system, _numbered(prompt.content), prompt.schema)
    if family == "qwen2_5_vl":
        return _in_pixels(prompt)
    raise UnknownNameError("model family", family, typing.get_args(Family))


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def _numbered(content: tuple[str | NDArray[np.uint8], ...]) -> tuple[str | NDArray[np.uint8], ...]:
    """Several images as InternVL was trained on them: `Image-1: <image>` and a new line."""
    count = sum(not isinstance(part, str) for part in content)
    if count < 2:
        return content
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
    """Qwen2.5-VL means pixels of the image as its processor resizes it, so it is given one that needs no resizing."""
    content = tuple(part if isinstance(part, str) else _resized(part) for part in prompt.content)
    sizes = [(part.shape[1], part.shape[0]) for part in content if not isinstance(part, str)]
    views = view_sizes(prompt.schema, sizes)
    if not views:
        return Question(prompt.system, content, prompt.schema)
    system = "\n".join(text for text in (prompt.system, pixel_note(views)) if text)
    return Question(system, content, schema_in_pixels(prompt.schema, views), views)


def stable_size(width: int, height: int) -> Size:
    """The size that Qwen2.5-VL's `smart_resize` (transformers, image_processing_qwen2_vl) makes of an image's.

    Both sides are multiples of 28, the area is within limits, and the aspect ratio is kept as far as that allows. What
    it makes of its own result is the same again.
    """
    factor = _QWEN25_FACTOR_PX
    columns, rows = (max(factor, round(side / factor) * factor) for side in (width, height))
    if rows * columns > _QWEN25_MAX_PIXELS:
        scale = math.sqrt(width * height / _QWEN25_MAX_PIXELS)
        columns, rows = (max(factor, math.floor(side / scale / factor) * factor) for side in (width, height))
    elif rows * columns < _QWEN25_MIN_PIXELS:
        scale = math.sqrt(_QWEN25_MIN_PIXELS / (width * height))
        columns, rows = (math.ceil(side * scale / factor) * factor for side in (width, height))
    return columns, rows


def _resized(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    size = stable_size(image.shape[1], image.shape[0])
    if size == (image.shape[1], image.shape[0]):
        return image
    with extra("serve"):
        from PIL import Image
    return np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BICUBIC))
