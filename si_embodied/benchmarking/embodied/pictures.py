"""Axes and numbered boxes, drawn into the picture that the planner sees."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from si_embodied.errors import extra
from si_embodied.geometry import project

with extra("sim"):
    from PIL import Image, ImageDraw, ImageFont

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from si_embodied.types import CameraFrame

_RED = (255, 0, 0)
_AXES = (("x", _RED), ("y", (0, 160, 0)), ("z", (0, 0, 255)))
_AXIS_M = 0.10
_MARGIN = 0.1  # of a box, on each side, relative to its size


def annotated(
    frame: CameraFrame, outlines: Sequence[NDArray[np.float64]], origin_m: tuple[float, float, float], label: str
) -> NDArray[np.uint8]:
    """The frame's image (H, W, 3) with the axes of the map at a point, and a box around each object.

    Args:
        frame: posed image.
        outlines: corner points (n, 3) of each object, map; the boxes are numbered from 1 in this order.
        origin_m: map point of the axes, which are 10 cm long.
        label: of the axes' origin.
    """
    image = Image.fromarray(frame.rgb)
    draw, size = ImageDraw.Draw(image), max(9, frame.intrinsics.width // 32)
    font = ImageFont.load_default(size=size)
    _draw_axes(draw, frame, np.array(origin_m), label, size)
    for number, corners in enumerate(outlines, start=1):
        points = pixels(frame, corners)
        if not np.isfinite(points).all():
            continue
        low, high = points.min(axis=0), points.max(axis=0)
        pad = _MARGIN * (high - low)
        (x0, y0), (x1, y1) = (low - pad).tolist(), (high + pad).tolist()
        draw.rectangle((x0, y0, x1, y1), outline=_RED)
        draw.text(((x0 + x1) / 2, y0), str(number), fill=_RED, font=font, anchor="mb")
    return np.array(image)


def pixels(frame: CameraFrame, points_m: NDArray[np.float64]) -> NDArray[np.float64]:
    """Image positions (n, 2) of map points (n, 3); NaN behind the camera."""
    return project(frame.intrinsics, frame.T_map_camera.inverse().apply(points_m))


def _draw_axes(
    draw: ImageDraw.ImageDraw, frame: CameraFrame, origin_m: NDArray[np.float64], label: str, size: int
) -> None:
    tips = origin_m + np.eye(3) * _AXIS_M
    (u, v), *ends = pixels(frame, np.vstack([origin_m, tips])).tolist()
    font, width = ImageFont.load_default(size=size), max(1, size // 6)
    for (name, colour), end in zip(_AXES, ends, strict=True):
        draw.line([(u, v), tuple(end)], fill=colour, width=width)
        draw.text((end[0] + 0.15 * (end[0] - u), end[1] + 0.15 * (end[1] - v)), name, colour, font, anchor="mm")
    draw.ellipse((u - width, v - width, u + width, v + width), fill=_RED)
    draw.text((u, v + width), label, fill=_RED, font=font, anchor="mt")
