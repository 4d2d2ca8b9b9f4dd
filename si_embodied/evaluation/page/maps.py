"""An episode from above: the floor as a picture, the paths as lines, in an SVG of metres."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from si_embodied.errors import extra
from si_embodied.evaluation.trace import Floor, Trace

_MARGIN_M = 0.5
Points = Sequence[tuple[float, float]]


@dataclass(frozen=True, slots=True)
class MapDrawing:
    """What the template draws: everything in metres, x to the right and y down (the map's y, negated)."""

    view_box: str
    line_m: float  # width of the robot's path
    floor_png: str | None  # base64: where something stands is grey, the floor is transparent
    floor_box: tuple[float, float, float, float]  # x, y, width, height
    driven: str  # points of a polyline
    shortest: str
    goals: tuple[tuple[float, float], ...]
    start: tuple[float, float] | None
    end: tuple[float, float] | None

    @property
    def characters(self) -> int:
        """About how much of the page it takes."""
        return len(self.floor_png or "") + len(self.driven) + len(self.shortest)


def draw_map(trace: Trace) -> MapDrawing | None:
    """The map of an episode; None if the robot does not drive."""
    floor = trace.floor
    if floor is None and not trace.path_m:
        return None
    shortest, goals = (floor.shortest_path_m, floor.goals_m) if floor is not None else ((), ())
    x, y, width, height = _bounds(floor, (*trace.path_m, *shortest, *goals))
    box = (0.0, 0.0, 0.0, 0.0)
    if floor is not None:
        rows, columns = floor.free.shape
        size = columns * floor.resolution_m, rows * floor.resolution_m
        box = (floor.origin_m[0], -floor.origin_m[1] - size[1], *size)
    return MapDrawing(
        view_box=f"{x:.2f} {y:.2f} {width:.2f} {height:.2f}",
        line_m=round(max(width, height) / 110, 3),
        floor_png=None if floor is None else base64.b64encode(_furniture_png(floor)).decode(),
        floor_box=tuple(round(value, 3) for value in box),  # type: ignore[arg-type]
        driven=_polyline(trace.path_m),
        shortest=_polyline(shortest),
        goals=tuple((round(gx, 2), round(-gy, 2)) for gx, gy in goals),
        start=_place(trace.path_m, 0),
        end=_place(trace.path_m, -1),
    )


def _bounds(floor: Floor | None, points: Points) -> tuple[float, float, float, float]:
    """The picture's left, top, width and height around the floor and all points."""
    corners = [*points]
    if floor is not None:
        (left, bottom), (rows, columns) = floor.origin_m, floor.free.shape
        corners += [(left, bottom), (left + columns * floor.resolution_m, bottom + rows * floor.resolution_m)]
    x, y = np.asarray(corners).T
    margin = 0.1 if floor is not None else _MARGIN_M
    left, top = float(x.min()) - margin, float(-y.max()) - margin
    return left, top, float(x.max()) + margin - left, float(-y.min()) + margin - top


def _furniture_png(floor: Floor) -> bytes:
    """North up; grey with an alpha that shows on a light page and on a dark one."""
    import io

    with extra("sim"):
        from PIL import Image
    image = Image.fromarray(np.where(floor.free[::-1], 0, 1).astype(np.uint8), "P")
    image.putpalette([0, 0, 0, 128, 128, 128])
    data = io.BytesIO()
    image.save(data, "PNG", optimize=True, transparency=bytes([0, 150]), bits=1)
    return data.getvalue()


def _polyline(points: Points) -> str:
    return " ".join(f"{x:.2f},{-y:.2f}" for x, y in points)


def _place(points: Points, index: int) -> tuple[float, float] | None:
    return (round(points[index][0], 2), round(-points[index][1], 2)) if points else None
