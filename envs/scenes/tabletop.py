"""Tabletop scenes as values: objects, bowls, bins and a shape sorter, in metres in the map.

The map's origin is below the robot's base, which faces x; y is left. All functions here are pure.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

import numpy as np

from si_embodied.errors import SceneError
from si_embodied.robots import FETCH_ARM

if TYPE_CHECKING:
    from numpy.typing import NDArray

TABLE_TOP_M = 0.70
TABLE_CENTRE_M = (0.62, 0.0)
TABLE_SIZE_M = (0.76, 1.10)  # along x and y; its near edge is over the robot's base, 0.19 m before the nearest object
REACH_RADIUS_M = 0.72
"""Reach around the shoulder's pan axis of a tool that points down: beyond 0.74 m the arm cannot lift by 0.12 m."""
AREA_M = ((0.43, -0.34), (0.74, 0.34))
"""Lowest and highest corner of the area for objects: the arm would have to fold for nearer ones, and cannot reach
farther ones."""

Shape: TypeAlias = Literal["cube", "cylinder", "triangular prism", "hexagonal prism", "long block", "cross", "ball"]
ContainerKind: TypeAlias = Literal["bowl", "bin", "shape sorter"]

SHAPES: tuple[Shape, ...] = (
    "cube", "cylinder", "triangular prism", "hexagonal prism", "long block", "cross", "ball"
)  # fmt: skip
FLAT_SHAPES: tuple[Shape, ...] = ("cube", "cylinder", "hexagonal prism")
"""Shapes that support another object: flat on top, and wide in every direction."""

COLOURS: dict[str, tuple[float, float, float]] = {
    "red": (0.80, 0.10, 0.10),
    "green": (0.10, 0.58, 0.18),
    "blue": (0.12, 0.28, 0.85),
    "yellow": (0.95, 0.82, 0.08),
    "purple": (0.50, 0.15, 0.62),
    "orange": (0.98, 0.48, 0.05),
}

CUBE_SIDE_M = 0.046
USUAL_HEIGHT_M = 0.046
TALL_HEIGHT_M = 0.078
CYLINDER_RADIUS_M = 0.023
BALL_RADIUS_M = 0.024
TRIANGLE_SIDE_M = 0.054
HEXAGON_RADIUS_M = 0.0265  # of the corners; 0.0459 m from flat to flat
BLOCK_SIZE_M = (0.080, 0.036)
CROSS_SIZE_M = (0.052, 0.018)  # length and width of each arm

BOWL_BOTTOM_RADIUS_M, BOWL_RIM_RADIUS_M, BOWL_HEIGHT_M = 0.056, 0.082, 0.042
BIN_HALF_M, BIN_HEIGHT_M = (0.080, 0.080), 0.055  # outer half sides
WALL_M = 0.006
FLOOR_M = 0.004  # thickness of a bowl's and a bin's bottom
SORTER_PITCH_M, SORTER_DEPTH_M, SORTER_HEIGHT_M = 0.086, 0.126, 0.010
"""Distance from hole to hole (along y), size along x, and thickness of the board. It is thin, so that fingers that hold
an object near its middle stay above it."""


@dataclass(frozen=True, slots=True)
class Hole:
    """A hole of the shape sorter: convex, cut through the board."""

    shape: Shape  # that fits into it
    name: str  # "square hole"
    offset_y_m: float  # of its centre from the sorter's
    outline_m: tuple[tuple[float, float], ...]  # corners around its centre, counter-clockwise


def _regular(corners: int, radius: float, phase_rad: float = 0.0) -> tuple[tuple[float, float], ...]:
    angles = [phase_rad + 2 * math.pi * k / corners for k in range(corners)]
    return tuple((radius * math.cos(a), radius * math.sin(a)) for a in angles)


def _rectangle(half_x: float, half_y: float) -> tuple[tuple[float, float], ...]:
    return ((half_x, -half_y), (half_x, half_y), (-half_x, half_y), (-half_x, -half_y))


SORTER_HOLES: tuple[Hole, ...] = (
    Hole("cube", "square hole", SORTER_PITCH_M, _rectangle(0.031, 0.031)),
    Hole("cylinder", "round hole", 0.0, _regular(16, 0.032, math.pi / 16)),
    Hole("long block", "long hole", -SORTER_PITCH_M, _rectangle(0.051, 0.028)),
)
"""With 7 to 10 mm of clearance on every side; no hole admits another hole's shape."""


@dataclass(frozen=True, slots=True)
class TableObject:
    """An object to pick up."""

    name: str  # "red cube", unique in its scene
    shape: Shape
    colour: str
    x_m: float
    y_m: float
    yaw_rad: float
    height_m: float = USUAL_HEIGHT_M


@dataclass(frozen=True, slots=True)
class Container:
    """A container to put objects into; it is static."""

    name: str  # "blue bowl"; not unique where the task distinguishes containers by position
    key: str  # unique in its scene
    kind: ContainerKind
    colour: str
    x_m: float
    y_m: float


@dataclass(frozen=True, slots=True)
class TabletopScene:
    """Everything on the table."""

    objects: tuple[TableObject, ...]
    containers: tuple[Container, ...]

    def object(self, name: str) -> TableObject:
        """The object with this name."""
        return next(item for item in self.objects if item.name == name)

    def container(self, key: str) -> Container:
        """The container with this key."""
        return next(container for container in self.containers if container.key == key)


def outline(shape: Shape) -> tuple[tuple[float, float], ...]:
    """Corners of a shape seen from above, around the centre of its bounding rectangle; round shapes have 24."""
    if shape == "cube":
        return _rectangle(CUBE_SIDE_M / 2, CUBE_SIDE_M / 2)
    if shape == "cylinder":
        return _regular(24, CYLINDER_RADIUS_M)
    if shape == "ball":
        return _regular(24, BALL_RADIUS_M)
    if shape == "hexagonal prism":
        return _regular(6, HEXAGON_RADIUS_M)
    if shape == "long block":
        return _rectangle(BLOCK_SIZE_M[0] / 2, BLOCK_SIZE_M[1] / 2)
    if shape == "triangular prism":
        half, tall = TRIANGLE_SIDE_M / 2, TRIANGLE_SIDE_M * math.sqrt(3) / 2
        return ((half, -tall / 2), (0.0, tall / 2), (-half, -tall / 2))
    length, width = CROSS_SIZE_M[0] / 2, CROSS_SIZE_M[1] / 2
    return (
        (length, -width), (length, width), (width, width), (width, length), (-width, length), (-width, width),
        (-length, width), (-length, -width), (-width, -width), (-width, -length), (width, -length), (width, -width),
    )  # fmt: skip


def corners(shape: Shape, height_m: float) -> NDArray[np.float64]:
    """Corner points (n, 3) of an object, bottom and top, in its own frame: origin at its centre, z up.

    A ball has its equator and poles instead; its height is its diameter.
    """
    flat = np.array(outline(shape))
    if shape == "ball":
        poles = np.array([[0.0, 0.0, -BALL_RADIUS_M], [0.0, 0.0, BALL_RADIUS_M]])
        return np.concatenate([np.column_stack([flat, np.zeros(len(flat))]), poles])
    low, high = (np.column_stack([flat, np.full(len(flat), z)]) for z in (-height_m / 2, height_m / 2))
    return np.concatenate([low, high])


def radius(shape: Shape) -> float:
    """Radius of the circle around a shape, seen from above."""
    return max(math.hypot(*corner) for corner in outline(shape))


def within_reach(x_m: float, y_m: float) -> bool:
    """Whether a tool that points straight down can reach a map point and lift an object there."""
    shoulder_x_m, shoulder_y_m, _ = FETCH_ARM.shoulder_m
    return math.hypot(x_m - shoulder_x_m, y_m - shoulder_y_m) <= REACH_RADIUS_M


class Layout:
    """Finds free spots on the table, with room for the gripper's fingers between objects."""

    def __init__(self, rng: np.random.Generator, gap_m: float = 0.045) -> None:
        """Start with an empty table."""
        self._rng, self._gap_m = rng, gap_m
        self._taken: list[tuple[float, float, float]] = []

    def place(self, radius_m: float) -> tuple[float, float]:
        """Occupy a free spot for a disc, and return its x and y.

        Raises:
            SceneError: no free spot was found.
        """
        (low_x, low_y), (high_x, high_y) = AREA_M
        for _ in range(120):
            x, y = float(self._rng.uniform(low_x, high_x)), float(self._rng.uniform(low_y, high_y))
            if self.take(x, y, radius_m):
                return x, y
        raise SceneError("no room left on the table")

    def take(self, x_m: float, y_m: float, radius_m: float) -> bool:
        """Occupy a disc if it is free, on the table and within reach; returns whether it is."""
        (low_x, low_y), (high_x, high_y) = AREA_M
        inside = low_x <= x_m <= high_x and low_y <= y_m <= high_y and within_reach(x_m, y_m)
        free = all(math.hypot(x_m - x, y_m - y) >= radius_m + r + self._gap_m for x, y, r in self._taken)
        if inside and free:
            self._taken.append((x_m, y_m, radius_m))
        return inside and free

    def take_sorter(self) -> tuple[float, float]:
        """Occupy a free spot for the shape sorter, a row of three holes along y, at the far side of the table."""
        for _ in range(60):
            x, y = float(self._rng.uniform(0.56, 0.64)), float(self._rng.uniform(-0.22, 0.22))
            spots = [(x + dx, y + hole.offset_y_m, 0.045) for hole in SORTER_HOLES for dx in (-0.04, 0.04)]
            free = all(
                math.hypot(sx - tx, sy - ty) >= r + tr + self._gap_m
                for sx, sy, r in spots
                for tx, ty, tr in self._taken
            )
            if free and all(within_reach(sx, sy) for sx, sy, _ in spots):
                self._taken.extend(spots)
                return x, y
        raise SceneError("no room left on the table for the shape sorter")


CONTAINER_RADIUS_M: dict[ContainerKind, float] = {"bowl": BOWL_RIM_RADIUS_M, "bin": 0.095, "shape sorter": 0.14}
"""Radius of the disc to keep clear; a bin's corners may extend beyond it."""
