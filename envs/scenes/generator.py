"""Furnishing: places groups of furniture against walls or in the middle of rooms, and leaves room to drive."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

import numpy as np

from si_embodied.envs.scenes.apartment import WALL_THICKNESS_M, Apartment, Door, Furniture, Room
from si_embodied.envs.scenes.catalogue import CATALOGUE
from si_embodied.envs.scenes.floorplan import Floorplan, draw_floorplan
from si_embodied.envs.scenes.furniture import COLOURS
from si_embodied.envs.scenes.occupancy import CELL_M, Grid, Outlines
from si_embodied.errors import SceneError
from si_embodied.robots import FETCH_BASE

PATH_CLEARANCE_M = FETCH_BASE.radius_m + 0.05
"""Between a planned path and the nearest obstacle: the robot's radius and a margin."""

_FRONT_M, _DOOR_DEPTH_M, _GAP_M = 0.70, 0.95, 0.03
_Member: TypeAlias = tuple[str, float, float, int]  # category, offset in the group's frame, quarter turns
_Box: TypeAlias = tuple[float, float, float, float]  # x0, y0, x1, y1
_DRAWS = 60


@dataclass(frozen=True, slots=True)
class _Group:
    """Furniture that belongs together. The first member is the group's origin, and x is the group's front."""

    members: tuple[_Member, ...]
    place: Literal["wall", "middle"] = "wall"
    chance: float = 1.0


def _one(category: str, chance: float = 1.0) -> _Group:
    return _Group(((category, 0.0, 0.0, 0),), "wall", chance)


_CHAIRS: tuple[_Member, ...] = (
    ("chair", 0.66, 0.30, 2), ("chair", -0.66, 0.30, 0), ("chair", 0.66, -0.30, 2), ("chair", -0.66, -0.30, 0),
    ("chair", 0.0, 0.88, 3), ("chair", 0.0, -0.88, 1),
)  # fmt: skip
_BED_SIDES: tuple[_Member, ...] = (("nightstand", -0.76, 1.0, 0), ("nightstand", -0.76, -1.0, 0))

_RECIPES: dict[str, tuple[_Group, ...]] = {
    "living room": (
        _Group((("sofa", 0, 0, 0), ("coffee table", 1.05, 0, 0)), chance=0.7),
        _one("sofa", 0.3), _one("tv", 0.9), _one("armchair"), _one("armchair", 0.8), _one("bookshelf", 0.6),
        _one("piano", 0.3), _one("plant"), _one("plant", 0.6), _one("floor lamp", 0.8), _one("floor lamp", 0.4),
        _one("suitcase", 0.2),
    ),
    "kitchen": (
        _one("fridge"), _one("stove"), _one("sink"), _Group((("table", 0, 0, 0), *_CHAIRS), "middle"),
        _one("cupboard", 0.7), _one("bin", 0.8), _one("stool", 0.7), _one("stool", 0.7), _one("plant", 0.3),
        _one("chair", 0.5),
    ),
    "bedroom": (
        _Group((("bed", 0, 0, 0), *_BED_SIDES)), _one("wardrobe", 0.9), _one("dresser", 0.7), _one("floor lamp", 0.5),
        _one("armchair", 0.4), _one("plant", 0.5), _one("suitcase", 0.5), _one("chair", 0.5),
        _one("laundry basket", 0.3),
    ),
    "bathroom": (
        _one("bathtub", 0.9), _one("toilet"), _one("washbasin"), _one("washing machine", 0.7),
        _one("laundry basket", 0.8), _one("bin", 0.5), _one("stool", 0.5), _one("plant", 0.3),
    ),
    "office": (
        _Group((("desk", 0, 0, 0), ("office chair", 0.72, 0.1, 2))), _one("bookshelf"), _one("bookshelf", 0.4),
        _one("filing cabinet", 0.8), _one("armchair", 0.5), _one("plant", 0.8), _one("plant", 0.5),
        _one("floor lamp", 0.6), _one("bin", 0.7), _one("chair", 0.6), _one("chair", 0.5),
    ),
}  # fmt: skip
_RUG_ROOMS = ("living room", "bedroom", "office")


def _meet(a: _Box, b: _Box, gap: float = 0.0) -> bool:
    return a[0] < b[2] + gap and b[0] < a[2] + gap and a[1] < b[3] + gap and b[1] < a[3] + gap


def _turn(x: float, y: float, quarter_turns: int) -> tuple[float, float]:
    for _ in range(quarter_turns % 4):
        x, y = -y, x
    return x, y


@functools.cache
def _local_box(category: str) -> _Box:
    """A category's footprint in its own frame."""
    parts = CATALOGUE[category].build(COLOURS["gray"])
    return (
        min(p.centre[0] - p.half[0] for p in parts),
        min(p.centre[1] - p.half[1] for p in parts),
        max(p.centre[0] + p.half[0] for p in parts),
        max(p.centre[1] + p.half[1] for p in parts),
    )


@dataclass(frozen=True, slots=True)
class _Place:
    """Where to put one piece of furniture."""

    category: str
    x: float
    y: float
    turns: int

    @property
    def box(self) -> _Box:
        """The footprint in the map."""
        x0, y0, x1, y1 = _local_box(self.category)
        (ax, ay), (bx, by) = _turn(x0, y0, self.turns), _turn(x1, y1, self.turns)
        return self.x + min(ax, bx), self.y + min(ay, by), self.x + max(ax, bx), self.y + max(ay, by)

    def before(self, depth_m: float) -> _Box:
        """The floor in front of it, which stays clear so that the furniture can be used and seen."""
        x0, y0, x1, y1 = self.box
        ahead = ((x1, y0, x1 + depth_m, y1), (x0, y1, x1, y1 + depth_m))
        behind = ((x0 - depth_m, y0, x0, y1), (x0, y0 - depth_m, x1, y0))
        return (*ahead, *behind)[self.turns % 4]


def _door_zone(door: Door) -> _Box:
    along, across = door.width_m / 2 + 0.10, _DOOR_DEPTH_M
    half_x, half_y = (along, across) if door.along == "x" else (across, along)
    return door.x_m - half_x, door.y_m - half_y, door.x_m + half_x, door.y_m + half_y


@dataclass
class _Furnisher:
    """Furnishes a floor plan, group by group."""

    plan: Floorplan
    rng: np.random.Generator
    pieces: list[Furniture] = field(default_factory=list)
    taken: list[_Box] = field(default_factory=list)
    clear: list[_Box] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)

    def _colour(self, category: str) -> str:
        names = CATALOGUE[category].colours
        return names[int(self.rng.integers(len(names)))]

    def _layout(self, group: _Group, x: float, y: float, turns: int) -> list[_Place]:
        places = []
        for category, dx, dy, own_turns in group.members:
            ox, oy = _turn(dx, dy, turns)
            places.append(_Place(category, round(x + ox, 3), round(y + oy, 3), (turns + own_turns) % 4))
        return places

    def _build(self, places: list[_Place], room: int) -> None:
        shared: dict[str, str] = {}
        alike = self.rng.random() < 0.4
        for place in places:
            category, kind = place.category, CATALOGUE[place.category]
            colour = self._colour(category)
            colour = shared.setdefault(category, colour) if alike else colour
            self.counts[category] = self.counts.get(category, 0) + 1
            name = f"{category.replace(' ', '_')}_{self.counts[category]}"
            at = (place.x, place.y, place.turns, kind.build(COLOURS[colour]))
            self.pieces.append(Furniture(name, category, colour, room, *at, kind.walkable))

    def _fits(self, places: list[_Place], room: Room, *, use_front: bool) -> bool:
        t = WALL_THICKNESS_M
        for place in places:
            box = place.box
            if box[0] < room.x0_m + t or box[1] < room.y0_m + t or box[2] > room.x1_m - t or box[3] > room.y1_m - t:
                return False
            if any(_meet(box, other, _GAP_M) for other in self.taken) or any(_meet(box, z) for z in self.clear):
                return False
        return not use_front or not any(_meet(places[0].before(_FRONT_M), other) for other in self.taken)

    def _spot(self, group: _Group, room: Room) -> tuple[float, float, int]:
        t = WALL_THICKNESS_M + 0.02
        turns = int(self.rng.integers(4))
        x0, y0, _, y1 = _local_box(group.members[0][0])
        back, half = -x0, max(-y0, y1)
        if group.place == "middle":
            x = float(self.rng.uniform(room.x0_m + 1.2, room.x1_m - 1.2))
            return x, float(self.rng.uniform(room.y0_m + 1.2, room.y1_m - 1.2)), turns
        # Furniture faces into the room: with 0 turns it is at the west wall, then south, east and north.
        if turns % 2 == 0:
            x = room.x0_m + t + back if turns == 0 else room.x1_m - t - back
            return x, float(self.rng.uniform(room.y0_m + t + half, room.y1_m - t - half)), turns
        y = room.y0_m + t + back if turns == 1 else room.y1_m - t - back
        return float(self.rng.uniform(room.x0_m + t + half, room.x1_m - t - half)), y, turns

    def put(self, group: _Group, index: int) -> bool:
        """Try to place a group in a room; of a dining set, a random choice of chairs. Returns whether it fits."""
        room = self.plan.rooms[index]
        members = group.members
        if len(members) > 3:  # a dining set: two to four of the chairs
            keep = 1 + np.sort(self.rng.permutation(len(members) - 1)[: int(self.rng.integers(2, 5))])
            members = (members[0], *(members[int(i)] for i in keep))
        group = _Group(members, group.place, group.chance)
        for _ in range(_DRAWS):
            places = self._layout(group, *self._spot(group, room))
            if not self._fits(places, room, use_front=group.place == "wall" and len(members) == 1):
                continue
            self._build(places, index)
            boxes = [place.box for place in places]
            self.taken += boxes
            if group.place == "wall":
                self.clear.append(places[0].before(_FRONT_M))
                self.clear += [place.before(0.45) for place in places[1:]]
            else:
                low, high = np.min(boxes, axis=0)[:2] - 0.45, np.max(boxes, axis=0)[2:] + 0.45
                self.clear.append((float(low[0]), float(low[1]), float(high[0]), float(high[1])))
            return True
        return False

    def rug(self, index: int) -> None:
        """Lay a rug in the middle of the room."""
        room = self.plan.rooms[index]
        x, y = (room.x0_m + room.x1_m) / 2, (room.y0_m + room.y1_m) / 2
        turns = 0 if room.y1_m - room.y0_m > room.x1_m - room.x0_m else 1
        self._build([_Place("rug", x, y, turns)], index)

    def furnish(self) -> None:
        """Furnish every room according to its recipe."""
        self.clear += [_door_zone(door) for door in self.plan.doors]
        for index, room in enumerate(self.plan.rooms):
            for group in _RECIPES[room.name]:
                if self.rng.random() < group.chance:
                    self.put(group, index)
            if room.name in _RUG_ROOMS and self.rng.random() < 0.6:
                self.rug(index)


def connected(apartment: Apartment) -> bool:
    """Whether the robot can drive to every door, within every room, and up to all furniture."""
    outlines = solid_outlines(apartment)
    grid = Grid.of(apartment, outlines, PATH_CLEARANCE_M)
    if not all(grid.free[grid.cell(door.x_m, door.y_m)] for door in apartment.doors):
        return False
    points = grid.centres(grid.free)
    for room in apartment.rooms:
        x, y = points[:, 0], points[:, 1]
        inside = (x > room.x0_m) & (x < room.x1_m) & (y > room.y0_m) & (y < room.y1_m)
        if inside.sum() * CELL_M**2 < 1.5:
            return False
    for piece in apartment.furniture:
        if piece.walkable:
            continue
        near = grid.distance_from(Outlines.of(piece.world_parts, below_m=math.inf), 0.8)
        if not (np.isfinite(near) & grid.free).any():
            return False
    return True


def solid_outlines(apartment: Apartment) -> Outlines:
    """The outlines of all obstacles."""
    pieces = (part for piece in apartment.furniture if not piece.walkable for part in piece.world_parts)
    return Outlines.of([*apartment.walls, *pieces])


def generate_apartment(seed: tuple[int, ...], room_count: int | None = None) -> Apartment:
    """The apartment of a seed: 2 to 5 furnished rooms, all of which the robot can reach.

    Args:
        seed: determines the apartment; invalid draws are repeated with the same generator.
        room_count: 2 to 5; None draws it.

    Raises:
        SceneError: no draw gave a valid apartment, or `room_count` is out of range.
    """
    if room_count is not None and not 2 <= room_count <= 5:
        raise SceneError(f"expected room_count to be from 2 to 5, got: {room_count}")
    rng = np.random.default_rng(seed)
    for _ in range(100):
        count = int(rng.integers(2, 6)) if room_count is None else room_count
        try:
            plan = draw_floorplan(rng, count)
        except SceneError:
            continue
        furnisher = _Furnisher(plan, rng)
        furnisher.furnish()
        pieces = tuple(furnisher.pieces)
        apartment = Apartment(seed, plan.rooms, plan.doors, plan.walls, plan.lintels, pieces)
        if connected(apartment):
            return apartment
    raise SceneError(f"no connected apartment in 100 draws of seed {seed}; this is a bug, please report the seed")
