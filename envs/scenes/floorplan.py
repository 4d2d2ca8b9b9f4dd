"""Rooms, doors and walls: a rectangle is cut into rooms, and doors connect them all."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from si_embodied.envs.scenes.apartment import (
    DOOR_HEIGHT_M,
    WALL_HEIGHT_M,
    WALL_THICKNESS_M,
    Door,
    FloorStyle,
    Part,
    Rgb,
    Room,
)
from si_embodied.errors import SceneError

DOOR_WIDTH_M = 1.0
_MIN_SIDE_M = 2.9
_AREA_PER_ROOM_M2 = (13.0, 17.0)
_NAMES = ("living room", "kitchen", "bedroom", "bathroom", "office")
_FLOORS: dict[str, tuple[FloorStyle, ...]] = {
    "living room": ("planks", "carpet"),
    "kitchen": ("tiles",),
    "bedroom": ("planks", "carpet"),
    "bathroom": ("tiles",),
    "office": ("planks", "carpet"),
}
_FLOOR_COLOURS: dict[FloorStyle, tuple[Rgb, ...]] = {
    "planks": ((0.66, 0.50, 0.34), (0.55, 0.38, 0.24), (0.74, 0.62, 0.46)),
    "tiles": ((0.80, 0.80, 0.78), (0.62, 0.70, 0.74), (0.78, 0.72, 0.62)),
    "carpet": ((0.52, 0.53, 0.56), (0.60, 0.55, 0.48), (0.42, 0.48, 0.56)),
}
_WALL_COLOURS: tuple[Rgb, ...] = (
    (0.90, 0.88, 0.82),
    (0.80, 0.86, 0.88),
    (0.86, 0.88, 0.78),
    (0.92, 0.84, 0.76),
    (0.84, 0.82, 0.88),
)

_Rectangle = tuple[float, float, float, float]


@dataclass(frozen=True)
class Floorplan:
    """Rooms without furniture."""

    rooms: tuple[Room, ...]
    doors: tuple[Door, ...]
    walls: tuple[Part, ...]
    lintels: tuple[Part, ...]


def _cut(rng: np.random.Generator, count: int) -> list[_Rectangle]:
    """Cut a rectangle `count - 1` times, always the largest part across its longer side."""
    area = count * rng.uniform(*_AREA_PER_ROOM_M2)
    aspect = rng.uniform(1.1, 1.6)
    width, depth = round(float(np.sqrt(area * aspect)), 1), round(float(np.sqrt(area / aspect)), 1)
    rectangles: list[_Rectangle] = [(0.0, 0.0, width, depth)]
    while len(rectangles) < count:
        rectangles.sort(key=lambda r: (r[2] - r[0]) * (r[3] - r[1]))
        x0, y0, x1, y1 = rectangles.pop()
        along_x = x1 - x0 >= y1 - y0
        low, high = (x0, x1) if along_x else (y0, y1)
        if high - low < 2 * _MIN_SIDE_M:
            raise SceneError("the largest part is too small for two rooms")
        slack = high - low - 2 * _MIN_SIDE_M
        at = round(low + _MIN_SIDE_M + slack * float(rng.uniform(0.15, 0.85)), 2)
        rectangles += [(x0, y0, at, y1), (at, y0, x1, y1)] if along_x else [(x0, y0, x1, at), (x0, at, x1, y1)]
    return sorted(rectangles)


def _shared_wall(a: _Rectangle, b: _Rectangle) -> tuple[Literal["x", "y"], float, float, float] | None:
    """Direction, fixed coordinate and interval of the wall between two rectangles; None if no door fits into it."""
    need = DOOR_WIDTH_M + 0.5
    for first, second in ((a, b), (b, a)):
        if abs(first[2] - second[0]) < 1e-6:
            low, high = max(first[1], second[1]), min(first[3], second[3])
            if high - low >= need:
                return "y", first[2], low, high
        if abs(first[3] - second[1]) < 1e-6:
            low, high = max(first[0], second[0]), min(first[2], second[2])
            if high - low >= need:
                return "x", first[3], low, high
    return None


def _doors(rng: np.random.Generator, rectangles: list[_Rectangle]) -> list[Door]:
    """Doors along a random spanning tree of adjacent rooms, and occasionally one more."""
    pairs = [(i, j) for i in range(len(rectangles)) for j in range(i + 1, len(rectangles))]
    walls = {
        pair: wall for pair in pairs if (wall := _shared_wall(rectangles[pair[0]], rectangles[pair[1]])) is not None
    }
    group = list(range(len(rectangles)))
    doors: list[Door] = []
    for k in rng.permutation(len(walls)):
        (i, j), (along, fixed, low, high) = list(walls.items())[k]
        if group[i] == group[j] and rng.random() < 0.7:
            continue
        group = [group[i] if g == group[j] else g for g in group]
        margin = DOOR_WIDTH_M / 2 + 0.2
        at = round(float(rng.uniform(low + margin, high - margin)), 2)
        x, y = (at, fixed) if along == "x" else (fixed, at)
        doors.append(Door((i, j), x, y, along, DOOR_WIDTH_M))
    if len(set(group)) > 1:
        raise SceneError("the doors do not connect all rooms")
    return doors


def _side(room: Room, side: str, doors: list[Door]) -> tuple[list[Part], list[Part]]:
    """The parts of one room's side of a wall, and the lintels over its doors."""
    t = WALL_THICKNESS_M / 2
    fixed = {"south": room.y0_m + t, "north": room.y1_m - t, "west": room.x0_m + t, "east": room.x1_m - t}[side]
    along_x = side in ("south", "north")
    low, high = (room.x0_m, room.x1_m) if along_x else (room.y0_m, room.y1_m)
    gaps = []
    for door in doors:
        on_wall = door.along == ("x" if along_x else "y")
        across, at = (door.y_m, door.x_m) if along_x else (door.x_m, door.y_m)
        if on_wall and abs(across - fixed) < 2 * t and low < at < high:
            gaps.append((at - door.width_m / 2, at + door.width_m / 2))

    def part(a: float, b: float, bottom: float, top: float) -> Part:
        middle, half = (a + b) / 2, (b - a) / 2
        centre = (middle, fixed, (bottom + top) / 2) if along_x else (fixed, middle, (bottom + top) / 2)
        sizes = (half, t, (top - bottom) / 2) if along_x else (t, half, (top - bottom) / 2)
        return Part("box", centre, sizes, room.wall_rgb)

    ends = [low, *(edge for gap in sorted(gaps) for edge in gap), high]
    walls = [part(ends[i], ends[i + 1], 0.0, WALL_HEIGHT_M) for i in range(0, len(ends), 2)]
    return walls, [part(a, b, DOOR_HEIGHT_M, WALL_HEIGHT_M) for a, b in gaps]


def draw_floorplan(rng: np.random.Generator, room_count: int) -> Floorplan:
    """Draw rooms and doors.

    Raises:
        SceneError: this draw gives no valid floor plan; draw again.
    """
    rectangles = _cut(rng, room_count)
    doors = _doors(rng, rectangles)
    names = [_NAMES[i] for i in rng.permutation(len(_NAMES))[:room_count]]
    rooms = []
    for rectangle, name in zip(rectangles, names, strict=True):
        style = _FLOORS[name][int(rng.integers(len(_FLOORS[name])))]
        colours = _FLOOR_COLOURS[style]
        floor = colours[int(rng.integers(len(colours)))]
        wall = _WALL_COLOURS[int(rng.integers(len(_WALL_COLOURS)))]
        rooms.append(Room(name, *rectangle, style, floor, wall))
    walls: list[Part] = []
    lintels: list[Part] = []
    for index, room in enumerate(rooms):
        own = [door for door in doors if index in door.rooms]
        for side in ("south", "north", "west", "east"):
            faces, over = _side(room, side, own)
            walls += faces
            lintels += over
    return Floorplan(tuple(rooms), tuple(doors), tuple(walls), tuple(lintels))
