"""Marks in an image: small numbered discs, so that a question can refer to an object without naming it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw, ImageFont

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Colour = tuple[int, int, int]

_DISC: Colour = (20, 20, 20)
_RIM: Colour = (255, 255, 255)
_OUTLINE: Colour = (255, 40, 200)


def mark_radius(width: int) -> int:
    """Radius of a mark in an image of this width, pixels."""
    return max(4, round(width / 37))


def draw_marks(
    rgb: NDArray[np.uint8], marks: Sequence[tuple[float, float, str]], colour: Colour = _DISC
) -> NDArray[np.uint8]:
    """A copy of an image (H, W, 3) with a disc at each pixel (u, v) around its text, or a dot if the text is empty."""
    image = Image.fromarray(rgb)
    draw = ImageDraw.Draw(image)
    radius = mark_radius(rgb.shape[1])
    font = ImageFont.load_default(size=round(radius * 1.9))
    for u, v, text in marks:
        r = radius if text else radius * 0.6
        draw.ellipse((u - r, v - r, u + r, v + r), fill=colour, outline=_RIM)
        if text:
            draw.text((u, v), text, fill=_RIM, font=font, anchor="mm")
    return np.array(image)


def draw_boxes(rgb: NDArray[np.uint8], boxes: Sequence[tuple[float, float, float, float]]) -> NDArray[np.uint8]:
    """A copy of an image (H, W, 3) with boxes x0, y0, x1, y1 in pixels outlined."""
    image = Image.fromarray(rgb)
    draw = ImageDraw.Draw(image)
    for box in boxes:
        draw.rectangle(box, outline=_OUTLINE, width=max(1, rgb.shape[1] // 112))
    return np.array(image)
