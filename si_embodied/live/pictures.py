"""Images for a browser: JPEG and PNG as data URLs, and where a plan's points and goals lie in them."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from si_embodied.errors import extra
from si_embodied.geometry import project
from si_embodied.live.frame import Grid, Mark, Picture
from si_embodied.skills import PointedSubgoal, Push

with extra("serve"):
    from PIL import Image

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from si_embodied.plan import Plan
    from si_embodied.skills import Goal
    from si_embodied.types import CameraFrame, NavigationMap

WIDEST_PX = 640
"""Wider images are sent at this width: a page shows several side by side."""
_QUALITY = 85
_NEAREST_M = 0.05  # in front of the camera; what is nearer is not drawn
_FLOOR = np.array([90, 140, 220, 110], np.uint8)  # RGBA of known floor, on light and dark pages


def picture(rgb: NDArray[np.uint8], caption: str, marks: Sequence[Mark] = ()) -> Picture:
    """An image (H, W, 3) with its marks, as a JPEG of at most `WIDEST_PX` pixels width."""
    height, width = rgb.shape[:2]
    image = Image.fromarray(np.ascontiguousarray(rgb))
    if width > WIDEST_PX:
        image = image.resize((WIDEST_PX, max(1, round(height * WIDEST_PX / width))))
    return Picture(caption, width, height, _data_url(image, "jpeg", quality=_QUALITY), tuple(marks))


def floor(grid: NavigationMap) -> Grid:
    """The floor that the base can reach. The first row of the image is the highest y, as a page draws it."""
    known = np.isfinite(grid.path_length_m)[::-1]
    rows, columns = known.shape
    image = Image.fromarray(np.where(known[..., None], _FLOOR, np.uint8(0)))
    x, y = grid.origin_m
    return Grid(_data_url(image, "png"), x, y, columns * grid.resolution_m, rows * grid.resolution_m)


def plan_marks(plan: Plan | None, view: int, executed: int) -> tuple[Mark, ...]:
    """The points of a plan in one of its views.

    Args:
        plan: with indices of views, as decisions have them; None without an answer.
        view: index of the view.
        executed: how many subgoals became goals.
    """
    marks = []
    for number, subgoal in enumerate(() if plan is None else plan.subgoals, 1):
        if isinstance(subgoal, PointedSubgoal) and subgoal.view == view:
            x, y = (value / 1000 for value in subgoal.point)
            to = (subgoal.to[0] / 1000, subgoal.to[1] / 1000) if isinstance(subgoal, Push) else None
            marks.append(Mark(f"{number} {subgoal.skill} {subgoal.object}", x, y, number <= executed, to))
    return tuple(marks)


def goal_marks(goals: Sequence[tuple[str, Goal]], frame: CameraFrame) -> tuple[Mark, ...]:
    """Where a camera sees the places of goals, each with its label; nothing for those outside its image."""
    T_camera_map, marks = frame.T_map_camera.inverse(), []
    for label, goal in goals:
        if goal.place_m is None:
            continue
        point = T_camera_map.apply(goal.place_m)
        if point[2] < _NEAREST_M:
            continue
        u, v = (float(value) for value in project(frame.intrinsics, point))
        x, y = (u + 0.5) / frame.intrinsics.width, (v + 0.5) / frame.intrinsics.height
        if 0 <= x <= 1 and 0 <= y <= 1:
            marks.append(Mark(label, x, y))
    return tuple(marks)


def _data_url(image: Image.Image, kind: str, **options: int) -> str:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return f"data:image/{kind};base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"
