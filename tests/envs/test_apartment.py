"""Apartments as values: drawn from a seed, connected and furnished."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from si_embodied.envs.scenes.apartment import Apartment, Furniture, Part, Room
from si_embodied.envs.scenes.catalogue import CATALOGUE
from si_embodied.envs.scenes.furniture import COLOURS
from si_embodied.envs.scenes.generator import generate_apartment, solid_outlines
from si_embodied.envs.scenes.occupancy import CELL_M, Grid, Outlines
from si_embodied.errors import SceneError
from si_embodied.robots import FETCH_BASE

SEEDS = range(12)
ROOM = Room("office", 0.0, 0.0, 6.0, 4.0, "carpet", (0.5, 0.5, 0.5), (0.9, 0.9, 0.9))


@pytest.fixture(scope="module")
def apartments() -> list[Apartment]:
    return [generate_apartment((seed,)) for seed in SEEDS]


def box(x: float, y: float, dx: float, dy: float) -> Part:
    return Part("box", (x, y, 0.5), (dx / 2, dy / 2, 0.5), (1.0, 0.0, 0.0))


def empty_room(*parts: Part) -> Apartment:
    return Apartment((0,), (ROOM,), (), parts, (), ())


def test_the_same_seed_gives_the_same_apartment():
    assert generate_apartment((7,)) == generate_apartment((7,))
    assert generate_apartment((7,)) != generate_apartment((8,))


def test_there_are_two_to_five_rooms(apartments):
    assert {len(a.rooms) for a in apartments} == {2, 3, 4, 5}
    with pytest.raises(SceneError, match="2 to 5"):
        generate_apartment((0,), room_count=6)


def test_at_least_twenty_categories_turn_up(apartments):
    assert len({piece.category for a in apartments for piece in a.furniture}) >= 20


def test_names_are_unique(apartments):
    for a in apartments:
        assert len({piece.name for piece in a.furniture}) == len(a.furniture)
        assert len({room.name for room in a.rooms}) == len(a.rooms)


def test_furniture_does_not_overlap_and_stays_in_its_room(apartments):
    for a in apartments:
        solid = [piece for piece in a.furniture if not piece.walkable]
        for piece in solid:
            (x0, y0, _), (x1, y1, _) = piece.bounds
            room = a.rooms[piece.room]
            assert room.x0_m <= x0 < x1 <= room.x1_m
            assert room.y0_m <= y0 < y1 <= room.y1_m
        for p, q in itertools.combinations(solid, 2):
            apart = (p.bounds[0] >= q.bounds[1] - 1e-6) | (q.bounds[0] >= p.bounds[1] - 1e-6)
            assert apart[:2].any(), (p.name, q.name)


@pytest.mark.parametrize("category", sorted(CATALOGUE))
def test_every_piece_stands_on_the_floor_in_one(category):
    """The lowest part touches z = 0, and every part touches another: nothing floats."""
    parts = CATALOGUE[category].build(COLOURS["red"])
    low = [np.array(p.centre) - p.half for p in parts]
    high = [np.array(p.centre) + p.half for p in parts]
    assert min(corner[2] for corner in low) == pytest.approx(0, abs=0.011)
    reached, frontier = {0}, [0]
    while frontier:
        i = frontier.pop()
        for j in set(range(len(parts))) - reached:
            if (low[i] <= high[j] + 0.012).all() and (low[j] <= high[i] + 0.012).all():
                reached.add(j)
                frontier.append(j)
    # A wash basin's mirror hangs on the wall.
    assert len(parts) - len(reached) <= (2 if category == "washbasin" else 0)


def test_every_room_and_door_can_be_driven_to_by_flood_fill(apartments):
    """A plain flood fill over exact clearances, which shares only the outlines with the generator's own check."""
    for a in apartments[:4]:
        outlines = solid_outlines(a)
        step = 0.1
        x0, y0, x1, y1 = a.bounds
        nx, ny = int((x1 - x0) / step), int((y1 - y0) / step)
        free = {
            (i, j)
            for i in range(nx)
            for j in range(ny)
            if outlines.distance(x0 + (i + 0.5) * step, y0 + (j + 0.5) * step) >= FETCH_BASE.radius_m
        }
        door = a.doors[0]
        start = min(
            free, key=lambda c: math.hypot(x0 + (c[0] + 0.5) * step - door.x_m, y0 + (c[1] + 0.5) * step - door.y_m)
        )
        seen, stack = {start}, [start]
        while stack:
            i, j = stack.pop()
            for n in ((i + 1, j), (i - 1, j), (i, j + 1), (i, j - 1)):
                if n in free and n not in seen:
                    seen.add(n)
                    stack.append(n)
        rooms = {a.room_at(x0 + (i + 0.5) * step, y0 + (j + 0.5) * step) for i, j in seen}
        assert rooms >= set(range(len(a.rooms)))


def test_distances_to_outlines_by_hand():
    outlines = Outlines.of([box(2, 2, 2, 1), Part("cylinder", (5, 2, 0.5), (0.5, 0.5, 0.5), (1, 0, 0))])
    assert outlines.nearest(2, 3.5) == pytest.approx((1.0, 0.0, 1.0))  # above the box's upper edge at y = 2.5
    assert outlines.distance(0, 0.5) == pytest.approx(math.hypot(1, 1))  # off its corner (1, 1.5)
    assert outlines.distance(2, 2.2) == pytest.approx(-0.3)
    assert outlines.nearest(5, 0.5) == pytest.approx((1.0, 0.0, -1.0))


def test_what_hangs_above_the_robot_is_no_obstacle():
    shelf = Part("box", (2, 2, 1.8), (0.5, 0.5, 0.1), (1, 0, 0))
    assert math.isinf(Outlines.of([shelf]).distance(2, 2))


def test_quarter_turns_are_counter_clockwise():
    part = Part("cylinder", (1.0, 0.0, 0.5), (0.3, 0.1, 0.1), (1, 0, 0), "x").turned(1)
    assert part.centre == pytest.approx((0.0, 1.0, 0.5))
    assert part.half == (0.1, 0.3, 0.1)
    assert part.axis == "y"
    piece = Furniture("chair_1", "chair", "red", 0, 1.0, 2.0, 1, (box(0.5, 0, 1, 0.2),))
    assert piece.front == (0, 1)
    assert piece.centre == pytest.approx([1.0, 2.5])


def test_geodesic_distance_round_a_wall_by_hand():
    """A wall from the lower side up to y = 2.5, at x = 3: the path rounds its end on a circle of the disc's radius."""
    room = empty_room(box(3, 1.25, 0.1, 2.5))
    radius = 0.3
    grid = Grid.of(room, Outlines.of(room.walls), radius)
    goal = np.zeros(grid.free.shape, bool)
    goal[grid.cell(5.0, 1.0)] = True
    got = grid.geodesic(goal).at(1.025, 1.025)
    # A taut string from (1.025, 1.025) over the wall's two corners (2.95, 2.5), (3.05, 2.5), rounded by the radius.
    (gx, gy) = grid.point(*grid.cell(5.0, 1.0))

    def leg(px: float, py: float, cx: float, cy: float) -> tuple[float, float]:
        d = math.hypot(cx - px, cy - py)
        tangent = math.sqrt(d * d - radius * radius)
        rise = math.atan2(cy - py, abs(cx - px)) + math.asin(radius / d)
        return tangent, rise

    (a, up), (b, down) = leg(1.025, 1.025, 2.95, 2.5), leg(gx, gy, 3.05, 2.5)
    taut = a + radius * up + 0.1 + radius * down + b
    assert taut - CELL_M <= got <= 1.04 * taut + CELL_M


def test_no_path_cuts_a_corner_or_passes_a_closed_wall():
    room = empty_room(box(3, 2, 0.1, 4))
    grid = Grid.of(room, Outlines.of(room.walls), 0.3)
    assert not (grid.free[:, : grid.cell(3, 2)[1]].any() and grid.free[:, grid.cell(3, 2)[1] :].any())
