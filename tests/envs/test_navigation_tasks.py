"""Instructions are unambiguous, checked by methods that share nothing with the generator's."""

from __future__ import annotations

import math

import numpy as np
import pytest

from si_embodied.envs.scenes.generator import generate_apartment
from si_embodied.envs.scenes.relations import between, nearest, side_of
from si_embodied.envs.scenes.tasks import family, task_candidates
from si_embodied.errors import UnknownNameError
from si_embodied.geometry import Pose

SEEDS = range(10)


@pytest.fixture(scope="module")
def apartments():
    return [generate_apartment((seed,)) for seed in SEEDS]


def candidates(apartments, task):
    for seed, apartment in enumerate(apartments):
        for found in task_candidates(apartment, task, np.random.default_rng(seed)):
            yield apartment, found


def seen_from_the_front(apartment, anchor, piece):
    """Position of furniture for an observer 2 m in front of the anchor, who faces it: (ahead, to the left)."""
    (fx, fy), (ax, ay) = anchor.front, anchor.centre
    viewer = Pose.planar(ax + 2 * fx, ay + 2 * fy, math.atan2(-fy, -fx))
    ahead, left, _ = viewer.inverse().apply([*piece.centre, 0.0])
    return ahead - 2, left


def angle_at(piece, a, b):
    """The angle between the anchors as seen from the furniture, degrees."""
    u, v = a.centre - piece.centre, b.centre - piece.centre
    return math.degrees(math.acos(float(u @ v) / float(np.linalg.norm(u) * np.linalg.norm(v))))


def same_category(apartment, goal):
    return [p for p in apartment.furniture if p.category == goal.category]


def test_left_and_right_hold_for_one_piece_in_the_room(apartments):
    count = 0
    for apartment, task in candidates(apartments, "spatial"):
        if task.relation not in ("left", "right"):
            continue
        count += 1
        goal, anchor = apartment.piece(task.goals[0]), apartment.piece(task.anchors[0])
        here = [p for p in same_category(apartment, goal) if p.room == anchor.room]
        sign = 1 if task.relation == "left" else -1
        on_side = [p.name for p in here if sign * seen_from_the_front(apartment, anchor, p)[1] > 0]
        assert len(here) >= 2
        assert on_side == [goal.name]
        assert apartment.rooms[anchor.room].name in task.instruction
        assert "facing" in task.instruction
    assert count >= 10


def test_between_holds_for_one_piece_in_the_apartment(apartments):
    count = 0
    for apartment, task in candidates(apartments, "spatial"):
        if task.relation != "between":
            continue
        count += 1
        goal = apartment.piece(task.goals[0])
        a, b = (apartment.piece(name) for name in task.anchors)
        angles = {p.name: angle_at(p, a, b) for p in same_category(apartment, goal)}
        assert len(angles) >= 2
        # On the circle over the segment the angle is 90 degrees (Thales); in the middle of the segment it is 180.
        assert angles.pop(goal.name) > 100
        assert max(angles.values()) < 100
    assert count >= 5


def test_nearest_holds_for_one_piece_with_a_margin(apartments):
    count = 0
    for apartment, task in candidates(apartments, "spatial"):
        if task.relation != "nearest":
            continue
        count += 1
        goal = apartment.piece(task.goals[0])
        others = same_category(apartment, goal)
        if task.anchors == ("door",):
            others = [p for p in others if p.room == goal.room]
            (door,) = [d for d in apartment.doors if goal.room in d.rooms]
            point = np.array([door.x_m, door.y_m])
        else:
            point = apartment.piece(task.anchors[0]).centre
        distances = sorted((float(np.linalg.norm(p.centre - point)), p.name) for p in others)
        assert distances[0][1] == goal.name
        assert distances[1][0] - distances[0][0] >= 0.5
    assert count >= 10


def test_anchors_are_named_without_doubt(apartments):
    for apartment, task in candidates(apartments, "spatial"):
        for name in task.anchors:
            if name != "door":
                piece = apartment.piece(name)
                assert piece.category in task.instruction
                alike = [p for p in apartment.furniture if p.category == piece.category]
                assert len(alike) == 1 or sum(p.colour == piece.colour for p in alike) == 1


def test_objectnav_words_fit_one_piece(apartments):
    count = 0
    for apartment, task in candidates(apartments, "objectnav"):
        count += 1
        goal = apartment.piece(task.goals[0])
        fits = [p for p in apartment.furniture if family(p.category) == family(goal.category)]
        if goal.colour in task.instruction:
            fits = [p for p in fits if p.colour == goal.colour]
        assert [p.name for p in fits if p.category in task.instruction] == [goal.name]
    assert count >= 40


def test_routes_name_two_or_three_rooms_in_order(apartments):
    lengths = set()
    for apartment, task in candidates(apartments, "route"):
        pieces = [apartment.piece(name) for name in task.goals]
        lengths.add(len(pieces))
        places = [f"the {p.category} in the {apartment.rooms[p.room].name}" for p in pieces]
        at = [task.instruction.index(words) for words in places]
        assert at == sorted(at)
        for piece in pieces:
            alone = [p for p in apartment.furniture if p.room == piece.room and p.category == piece.category]
            assert alone == [piece]
    assert lengths == {2, 3}


def test_an_unknown_task_is_named(apartments):
    with pytest.raises(UnknownNameError, match="Did you mean 'objectnav'"):
        task_candidates(apartments[0], "object_nav", np.random.default_rng(0))


class _Spot:
    """Furniture reduced to a position and a heading."""

    def __init__(self, name: str, x: float, y: float, front: tuple[int, int] = (1, 0)) -> None:
        self.name, self.centre, self.front = name, np.array([x, y]), front


def test_sides_by_hand():
    """A sofa at the origin faces +x; an observer who faces it looks along -x and has +y on the right."""
    sofa, up, down = _Spot("sofa", 0, 0), _Spot("up", 0.2, 1.5), _Spot("down", 0.2, -1.5)
    assert side_of([up, down], sofa, "right") is up
    assert side_of([up, down], sofa, "left") is down
    assert side_of([up, _Spot("too", 0.0, 2.5)], sofa, "right") is None  # two are on that side
    assert side_of([up, _Spot("middle", 2.0, 0.1)], sofa, "right") is None  # one is on neither side


def test_nearest_by_hand():
    near, far, close = _Spot("near", 1, 0), _Spot("far", 3, 0), _Spot("close", 1.3, 0)
    assert nearest([far, near], (0, 0)) is near
    assert nearest([near, close], (0, 0)) is None
    assert nearest([near], (0, 0)) is None


def test_between_by_hand():
    a, b, middle, beyond = _Spot("a", 0, 0), _Spot("b", 4, 0), _Spot("m", 2, 0.3), _Spot("x", 6, 0)
    assert between([beyond, middle], a, b) is middle
    assert between([middle, _Spot("n", 1.5, -0.3)], a, b) is None
    assert between([middle, _Spot("doubtful", 2, 1.2)], a, b) is None
