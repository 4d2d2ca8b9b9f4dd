"""Comprehensive reasoning: questions that take several steps to answer."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import numpy as np

from si_embodied.data.questions.base import (
    LeftOut,
    Question,
    Slot,
    balanced_choice,
    choice,
    pick,
    question,
    some_of,
    some_view,
)
from si_embodied.data.questions.visibility import angle_deg, ground, named_objects, nearest_first, table_objects

if TYPE_CHECKING:
    from si_embodied.data.scenes import Scene

_TURN_DEG = (30.0, 150.0)
_LEG_M = 0.7
_MOVES: dict[str, tuple[float, float]] = {
    "to the left": (0.0, 1.0), "to the right": (0.0, -1.0), "away from the robot": (1.0, 0.0),
    "towards the robot": (-1.0, 0.0),
}  # fmt: skip
_ORDER_STEP_M = 0.04


@question("reasoning.route_turn", "apartment")
def route_turn(scene: Scene, slot: Slot, rng: np.random.Generator) -> Question:
    """Which way to turn at the second of three objects on a walk past them: the sign of (b - a) x (c - b).

    The walk back turns the other way, so any three objects can have either answer.
    """
    view = some_view(scene, rng)
    wanted, found = slot.content(2), []
    for a, b, c in itertools.permutations(named_objects(view), 3):
        first, then = ground(b) - ground(a), ground(c) - ground(b)
        degrees = angle_deg(first, then)
        if min(np.linalg.norm(first), np.linalg.norm(then)) < _LEG_M:
            continue
        if _TURN_DEG[0] <= abs(degrees) <= _TURN_DEG[1] and (degrees < 0) == bool(wanted):
            found.append((a, b, c))
    if not found:
        raise LeftOut("no clear turn to the wanted side")
    a, b, c = pick(rng, found)
    text = (
        f"You walk from the {a.name} straight to the {b.name}, and from there straight to the {c.name}. "
        f"Which way do you turn at the {b.name}?"
    )
    return balanced_choice(text, (view.frame.rgb,), ("to the left", "to the right"), wanted, slot, rng)


@question("reasoning.after_moves", "tabletop")
def after_moves(scene: Scene, slot: Slot, rng: np.random.Generator) -> Question:
    """Which object is nearest to another after it moves twice across the table; the next is at least 30% farther."""
    view = some_view(scene, rng)
    objects = some_of(rng, table_objects(view), 4)
    moved, others = objects[0], objects[1:]
    across, along = pick(rng, list(_MOVES)[:2]), pick(rng, list(_MOVES)[2:])
    steps_cm = [int(5 * rng.integers(2, 6)), int(5 * rng.integers(1, 4))]
    end = ground(moved) + sum(np.array(_MOVES[w]) * cm / 100 for w, cm in zip((across, along), steps_cm, strict=True))
    if not (0.3 <= end[0] <= 0.95 and abs(end[1]) <= 0.5):
        raise LeftOut("moved off the table")
    ranked = nearest_first(others, end)
    text = (
        f"The robot moves the {moved.name} {steps_cm[0]} cm {across} and then {steps_cm[1]} cm {along}. "
        "Which object is it nearest to then?"
    )
    return choice(text, (view.frame.rgb,), ranked[0].name, [o.name for o in ranked[1:]], slot, rng)


@question("reasoning.pick_order", "tabletop")
def pick_order(scene: Scene, slot: Slot, rng: np.random.Generator) -> Question:
    """The order of three objects along the table, nearest first or left to right, each at least 4 cm apart."""
    view = some_view(scene, rng)
    objects = some_of(rng, table_objects(view), 3)
    by, axis = pick(
        rng,
        (
            ("the one nearest to the robot first", (1.0, 0.0)),
            ("the one farthest from the robot first", (-1.0, 0.0)),
            ("from left to right", (0.0, -1.0)),
            ("from right to left", (0.0, 1.0)),
        ),
    )
    along = {o.name: float(ground(o) @ np.array(axis)) for o in objects}
    order = sorted(along, key=lambda name: along[name])
    if min(along[order[1]] - along[order[0]], along[order[2]] - along[order[1]]) < _ORDER_STEP_M:
        raise LeftOut("two too close in the order")
    words = [", ".join(names) for names in itertools.permutations(order)]
    wrong = [words[1 + int(k)] for k in rng.permutation(5)[:3]]
    text = f"The robot picks up three objects, {by}. In which order?"
    return choice(text, (view.frame.rgb,), words[0], wrong, slot, rng)
