"""Perspective taking: left and right from a viewpoint other than the camera's."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import numpy as np

from si_embodied.data.questions.base import LeftOut, Question, Slot, balanced_choice, pick, question, some_of, some_view
from si_embodied.data.questions.visibility import angle_deg, ground, named_objects, table_objects

if TYPE_CHECKING:
    from si_embodied.data.scenes import Scene

_SIDES = ("on your left", "on your right")
_CLEARLY_DEG = (25.0, 155.0)  # off the viewing direction: beside the person, neither ahead nor behind
_NEAR_M = 0.5
_ASIDE_M = 0.07

# Where a person stands at the table, as seen by the robot, and the direction of that person's left on the map: their
# viewing direction turned by 90 degrees to the left.
_AT_THE_TABLE: dict[str, tuple[float, float]] = {
    "on the far side of the table, facing the robot": (0.0, -1.0),
    "at the end of the table on the robot's left, facing the table": (1.0, 0.0),
    "at the end of the table on the robot's right, facing the table": (-1.0, 0.0),
}


def _is_beside(degrees: float) -> bool:
    return _CLEARLY_DEG[0] <= abs(degrees) <= _CLEARLY_DEG[1]


@question("perspective.facing", "apartment")
def facing(scene: Scene, slot: Slot, rng: np.random.Generator) -> Question:
    """On which side an object is for a person who looks where another one faces: the sign of front x offset."""
    view = some_view(scene, rng)
    objects = named_objects(view)
    wanted, found = slot.content(2), []
    for anchor, other in itertools.permutations(objects, 2):
        offset = ground(other) - ground(anchor)
        if anchor.front is None or float(np.linalg.norm(offset)) < _NEAR_M:
            continue
        degrees = angle_deg(anchor.front, offset)
        if _is_beside(degrees) and (degrees < 0) == bool(wanted):
            found.append((anchor, other))
    if not found:
        raise LeftOut("nothing clearly on the wanted side")
    anchor, other = pick(rng, found)
    text = (
        f"Imagine you stand with your back to the {anchor.name}, looking the way it faces. "
        f"Is the {other.name} on your left or on your right?"
    )
    return balanced_choice(text, (view.frame.rgb,), _SIDES, wanted, slot, rng)


@question("perspective.from_place", "apartment")
def from_place(scene: Scene, slot: Slot, rng: np.random.Generator) -> Question:
    """On which side a third object is for a person at one object who looks at another: the sign of (b - a) x (c - a).

    Looking from b to a flips the sign, so any three objects can have either answer.
    """
    view = some_view(scene, rng)
    wanted, found = slot.content(2), []
    for a, b, c in itertools.permutations(named_objects(view), 3):
        ahead, offset = ground(b) - ground(a), ground(c) - ground(a)
        if min(np.linalg.norm(ahead), np.linalg.norm(offset)) < _NEAR_M:
            continue
        degrees = angle_deg(ahead, offset)
        if _is_beside(degrees) and (degrees < 0) == bool(wanted):
            found.append((a, b, c))
    if not found:
        raise LeftOut("nothing clearly on the wanted side")
    a, b, c = pick(rng, found)
    text = f"You stand at the {a.name} and look at the {b.name}. Is the {c.name} on your left or on your right?"
    return balanced_choice(text, (view.frame.rgb,), _SIDES, wanted, slot, rng)


@question("perspective.across_table", "tabletop")
def across_table(scene: Scene, slot: Slot, rng: np.random.Generator) -> Question:
    """On which side of another an object is for a person elsewhere at the table, by at least 7 cm to their left."""
    view = some_view(scene, rng)
    objects = some_of(rng, table_objects(view), 2)
    place = pick(rng, list(_AT_THE_TABLE))
    left_hand = np.array(_AT_THE_TABLE[place])
    a, b = sorted(objects, key=lambda o: -float(ground(o) @ left_hand))
    if float((ground(a) - ground(b)) @ left_hand) < _ASIDE_M:
        raise LeftOut("neither clearly on the left")
    wanted = slot.content(2)
    if wanted == 1:
        a, b = b, a
    text = f"A person stands {place}. For that person, on which side of the {b.name} is the {a.name}?"
    return balanced_choice(text, (view.frame.rgb,), ("on its left", "on its right"), wanted, slot, rng)
