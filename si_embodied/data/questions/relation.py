"""Spatial relations: left and right, in front and behind, between, nearest. Each must hold by a clear margin."""

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
    shuffled,
    some_of,
    some_view,
)
from si_embodied.data.questions.visibility import (
    clear_objects,
    ground,
    in_camera,
    marked,
    named_objects,
    nearest_first,
    table_objects,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from si_embodied.data.scenes import Scene
    from si_embodied.data.views import LabelledView, SeenObject

_ASIDE_DEG = 8.0
_DEPTH_STEP_M = 0.06  # on the table


def bearing_deg(view: LabelledView, target: SeenObject) -> float:
    """Bearing of the object's centre from the optical axis, right positive."""
    x, _, z = in_camera(view, target)
    return float(np.degrees(np.arctan2(x, z)))


def _left_to_right(view: LabelledView, a: SeenObject, b: SeenObject) -> tuple[SeenObject, SeenObject]:
    """The two objects from left to right, if their visible parts are in the same order as their positions.

    Raises:
        LeftOut: neither is clearly on the left.
    """
    if bearing_deg(view, a) > bearing_deg(view, b):
        a, b = b, a
    if bearing_deg(view, b) - bearing_deg(view, a) < _ASIDE_DEG:
        raise LeftOut("neither clearly on the left")
    if a.point_px[0] >= b.point_px[0] or a.box_px[0] + a.box_px[2] >= b.box_px[0] + b.box_px[2]:
        raise LeftOut("the visible parts are in another order")
    return a, b


@question("relation.left_right", "apartment")
def left_right(scene: Scene, slot: Slot, rng: np.random.Generator) -> Question:
    """On which side of another a named piece is in the image: by their centres' bearings, at least 8 degrees apart."""
    view = some_view(scene, rng)
    objects = some_of(rng, named_objects(view), 2, "named objects")
    left, right = _left_to_right(view, objects[0], objects[1])
    wanted = slot.content(2)
    a, b = (left, right) if wanted == 0 else (right, left)
    text = f"In the picture, on which side of the {b.name} is the {a.name}?"
    return balanced_choice(text, (view.frame.rgb,), ("on its left", "on its right"), wanted, slot, rng)


@question("relation.front_behind", "tabletop")
def front_behind(scene: Scene, slot: Slot, rng: np.random.Generator) -> Question:
    """Whether an object is in front of or behind another: along x, the robot's forward, at least 6 cm apart."""
    view = some_view(scene, rng)
    objects = some_of(rng, table_objects(view), 2)
    near, far = sorted(objects, key=lambda o: float(ground(o)[0]))
    if float(ground(far)[0] - ground(near)[0]) < _DEPTH_STEP_M:
        raise LeftOut("neither clearly in front")
    wanted = slot.content(2)
    a, b = (near, far) if wanted == 0 else (far, near)
    text = f"As seen by the robot, is the {a.name} in front of or behind the {b.name}?"
    return balanced_choice(text, (view.frame.rgb,), ("in front of it", "behind it"), wanted, slot, rng)


@question("relation.nearest", "tabletop")
def nearest(scene: Scene, slot: Slot, rng: np.random.Generator) -> Question:
    """Which of three objects is nearest to a fourth, centre to centre; the next is at least 30% farther."""
    view = some_view(scene, rng)
    objects = some_of(rng, table_objects(view), 4)
    anchor, others = objects[0], objects[1:]
    ranked = nearest_first(others, ground(anchor))
    text = f"Which of these objects is nearest to the {anchor.name}?"
    return choice(text, (view.frame.rgb,), ranked[0].name, [o.name for o in ranked[1:]], slot, rng)


def _along(a: NDArray[np.float64], b: NDArray[np.float64], point: NDArray[np.float64]) -> tuple[float, float]:
    """Where a point projects onto the line from a to b (0 at a, 1 at b), and its distance from the line, metres."""
    d = b - a
    length = float(np.linalg.norm(d))
    share = float((point - a) @ d) / length**2
    return share, abs(float(d[0] * (point - a)[1] - d[1] * (point - a)[0])) / length


@question("relation.between", "tabletop")
def between(scene: Scene, slot: Slot, rng: np.random.Generator) -> Question:
    """Which marked object is between two others: within the middle 70% of their line, at most 1/4 of its length aside.

    The wrong option is beyond an end of the line, or aside by more than half its length. Objects are marked and not
    named, because those that a task is about are placed first and more often end up in the middle.
    """
    view = some_view(scene, rng)
    objects = shuffled(rng, table_objects(view))
    for a, b in itertools.permutations(objects, 2):
        length = float(np.linalg.norm(ground(b) - ground(a)))
        inside, outside = [], []
        for other in objects:
            if other is a or other is b:
                continue
            share, off = _along(ground(a), ground(b), ground(other))
            if 0.15 <= share <= 0.85 and off <= length / 4:
                inside.append(other)
            elif share < 0 or share > 1 or off > length / 2:
                outside.append(other)
        if inside and outside:
            label = slot.content(2)
            pair = (inside[0], outside[0]) if label == 0 else (outside[0], inside[0])
            image = marked(view, (a, b, *pair), ("1", "2", "3", "4"))
            text = "Four objects are marked. Which of 3 and 4 is between 1 and 2?"
            return balanced_choice(text, (image,), ("object 3", "object 4"), label, slot, rng)
    raise LeftOut("nothing clearly between two others")


@question("relation.nearest_marked", "apartment")
def nearest_marked(scene: Scene, slot: Slot, rng: np.random.Generator) -> Question:
    """Which of two marked pieces has its centre nearer to a third's on the floor plan, by at least 30%."""
    view = some_view(scene, rng)
    objects = some_of(rng, clear_objects(view), 3)
    anchor = objects[0]
    ranked = nearest_first(objects[1:], ground(anchor))
    label = slot.content(2)
    image = marked(view, (anchor, ranked[label], ranked[1 - label]), ("0", "1", "2"))
    text = "Three pieces of furniture are marked. Which of 1 and 2 is nearer to piece 0?"
    return balanced_choice(text, (image,), ("piece 1", "piece 2"), label, slot, rng)


@question("relation.taller", "apartment")
def taller(scene: Scene, slot: Slot, rng: np.random.Generator) -> Question:
    """Which of two marked pieces reaches higher above the floor, by at least 20 cm."""
    view = some_view(scene, rng)
    objects = some_of(rng, clear_objects(view), 2)
    tops = [float(o.T_map_object.translation[2] + o.size_m[2] / 2) for o in objects]
    if abs(tops[0] - tops[1]) < 0.2:
        raise LeftOut("equally tall")
    high, low = objects[int(np.argmax(tops))], objects[int(np.argmin(tops))]
    label = slot.content(2)
    image = marked(view, (high, low) if label == 0 else (low, high), ("1", "2"))
    text = pick(rng, ("Which of the two marked pieces of furniture is taller?", "Which marked piece reaches higher?"))
    return balanced_choice(text, (image,), ("piece 1", "piece 2"), label, slot, rng)
