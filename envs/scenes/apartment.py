"""An apartment as a value: rooms, walls with doors, and furniture built of primitives.

Map frame: x forward, y left, z up, metres; the floor is z = 0. Furniture is rotated by quarter turns only, so that
everything is axis-aligned, and footprints, distances and occupancy are exact.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

Rgb: TypeAlias = tuple[float, float, float]
Vector3: TypeAlias = tuple[float, float, float]
Shape: TypeAlias = Literal["box", "cylinder", "capsule", "sphere", "ellipsoid"]
Axis: TypeAlias = Literal["x", "y", "z"]

WALL_HEIGHT_M = 2.5
DOOR_HEIGHT_M = 2.05
WALL_THICKNESS_M = 0.06  # of one room's side of a wall; a wall between two rooms is twice as thick
OBSTACLE_HEIGHT_M = 1.2  # parts that begin above this clear the robot, which is 1.1 m high


@dataclass(frozen=True, slots=True)
class Part:
    """One primitive. `half` is half its bounding box, whatever the shape."""

    shape: Shape
    centre: Vector3
    half: Vector3
    rgb: Rgb
    axis: Axis = "z"  # of a cylinder or capsule

    def turned(self, quarter_turns: int) -> Part:
        """The part, rotated counter-clockwise by quarter turns about the z axis."""
        (x, y, z), (hx, hy, hz), axis = self.centre, self.half, self.axis
        for _ in range(quarter_turns % 4):
            x, y, hx, hy = -y, x, hy, hx
            axis = {"x": "y", "y": "x", "z": "z"}[axis]  # type: ignore[assignment]
        return replace(self, centre=(x, y, z), half=(hx, hy, hz), axis=axis)

    @property
    def is_round(self) -> bool:
        """Whether its outline from above is a circle."""
        upright = self.shape in ("cylinder", "capsule") and self.axis == "z"
        return upright or (self.shape in ("sphere", "ellipsoid") and abs(self.half[0] - self.half[1]) < 1e-6)


@dataclass(frozen=True)
class Furniture:
    """One piece of furniture: its category, parts and pose. Its front is its own +x direction."""

    name: str  # unique in the apartment: "chair_3"
    category: str  # "chair"
    colour: str  # "red", as a person would name it
    room: int  # index into Apartment.rooms
    x_m: float
    y_m: float
    quarter_turns: int  # counter-clockwise; 0 faces map x
    parts: tuple[Part, ...]  # in its own frame: origin on the floor at its centre, front along x
    walkable: bool = False  # the robot can drive over it: a rug

    @cached_property
    def world_parts(self) -> tuple[Part, ...]:
        """The parts in the map."""
        turned = (part.turned(self.quarter_turns) for part in self.parts)
        return tuple(replace(p, centre=(p.centre[0] + self.x_m, p.centre[1] + self.y_m, p.centre[2])) for p in turned)

    @cached_property
    def bounds(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Lowest and highest corner (3,) in the map, metres."""
        centres = np.array([p.centre for p in self.world_parts])
        halves = np.array([p.half for p in self.world_parts])
        return (centres - halves).min(axis=0), (centres + halves).max(axis=0)

    @property
    def centre(self) -> NDArray[np.float64]:
        """Centre of the footprint (2,), map."""
        low, high = self.bounds
        return (low[:2] + high[:2]) / 2

    @property
    def front(self) -> tuple[int, int]:
        """Unit vector of the direction that it faces, map."""
        return ((1, 0), (0, 1), (-1, 0), (0, -1))[self.quarter_turns % 4]

    @property
    def phrase(self) -> str:
        """Noun phrase with the colour: "red chair"."""
        return f"{self.colour} {self.category}"


FloorStyle: TypeAlias = Literal["planks", "tiles", "carpet"]


@dataclass(frozen=True, slots=True)
class Room:
    """A rectangle of floor."""

    name: str  # "kitchen"; each apartment has each name at most once
    x0_m: float
    y0_m: float
    x1_m: float
    y1_m: float
    floor: FloorStyle
    floor_rgb: Rgb
    wall_rgb: Rgb

    def contains(self, x: float, y: float) -> bool:
        """Whether a map point is over this room's floor."""
        return self.x0_m <= x < self.x1_m and self.y0_m <= y < self.y1_m


@dataclass(frozen=True, slots=True)
class Door:
    """An open doorway in the wall between two rooms."""

    rooms: tuple[int, int]
    x_m: float  # of its centre
    y_m: float
    along: Literal["x", "y"]  # the wall's direction
    width_m: float


@dataclass(frozen=True)
class Apartment:
    """Rooms, walls and furniture; a function of the seed."""

    seed: tuple[int, ...]
    rooms: tuple[Room, ...]
    doors: tuple[Door, ...]
    walls: tuple[Part, ...]  # boxes from the floor up
    lintels: tuple[Part, ...]  # boxes over the doors
    furniture: tuple[Furniture, ...]

    @cached_property
    def bounds(self) -> tuple[float, float, float, float]:
        """x0, y0, x1, y1 of all rooms, metres."""
        return (
            min(r.x0_m for r in self.rooms),
            min(r.y0_m for r in self.rooms),
            max(r.x1_m for r in self.rooms),
            max(r.y1_m for r in self.rooms),
        )

    def room_at(self, x: float, y: float) -> int | None:
        """Index of the room that contains a map point, None outside all rooms."""
        return next((i for i, room in enumerate(self.rooms) if room.contains(x, y)), None)

    def piece(self, name: str) -> Furniture:
        """The piece of furniture with this name."""
        return next(piece for piece in self.furniture if piece.name == name)
