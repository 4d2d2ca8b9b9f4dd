"""Metric measurement: distance, height and depth. Objects are marked where their name would give the size away."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import numpy as np

from si_embodied.data.marks import draw_marks
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
    apart,
    clear_objects,
    ground,
    in_camera,
    is_whole,
    marked,
    table_objects,
)
from si_embodied.data.records import Accepts
from si_embodied.geometry import depth_at

if TYPE_CHECKING:
    from si_embodied.data.scenes import Scene
    from si_embodied.data.views import LabelledView

_SPREAD_M = 0.06  # greatest spread of depths around a point that lies on one surface
_FAR_M = 7.0
_NEARER_BY = 1.2  # least ratio of the second nearest point's depth to the nearest's


def _surface_points(view: LabelledView, rng: np.random.Generator, count: int) -> list[tuple[int, int, float]]:
    """Random pixels u, v with their depth in metres, each on one surface, far from each other and from the border."""
    depth = view.frame.depth_m
    if depth is None:
        raise LeftOut("no depth")
    height, width = depth.shape
    margin = width // 14
    found: list[tuple[int, int, float]] = []
    for _ in range(12 * count):
        u, v = int(rng.integers(margin, width - margin)), int(rng.integers(margin, height - margin))
        seen = depth_at(depth, u, v)
        if not (seen.valid_ratio == 1.0 and seen.spread_m < _SPREAD_M and seen.depth_m < _FAR_M):
            continue
        if apart(view, [(u, v), *((a, b) for a, b, _ in found)], 4.0):
            found.append((u, v, seen.depth_m))
        if len(found) == count:
            return found
    raise LeftOut("no clear surface")


@question("metric.depth", "apartment")
def depth(scene: Scene, slot: Slot, rng: np.random.Generator) -> Question:
    """Depth of a marked point along the optical axis, metres: the median of the depth image around the pixel."""
    view = some_view(scene, rng)
    ((u, v, metres),) = _surface_points(view, rng, 1)
    text = pick(
        rng,
        (
            "How far in front of the camera, along its viewing direction, is the point marked 1? Answer in metres.",
            "What is the depth of the point marked 1, in metres?",
        ),
    )
    return Question(
        "number", text, (draw_marks(view.frame.rgb, [(u, v, "1")]),), f"{metres:.1f}", (), Accepts(unit="m")
    )


@question("metric.nearest_point", "apartment")
def nearest_point(scene: Scene, slot: Slot, rng: np.random.Generator) -> Question:
    """Which of four marked points has the least depth; the next is at least 20% deeper."""
    view = some_view(scene, rng)
    points = sorted(_surface_points(view, rng, 4), key=lambda p: p[2])
    if points[1][2] < _NEARER_BY * points[0][2]:
        raise LeftOut("two points equally near")
    order = shuffled(rng, range(4))
    marks = [(points[k][0], points[k][1], str(i + 1)) for i, k in enumerate(order)]
    right, wrong = f"point {order.index(0) + 1}", [f"point {i + 1}" for i in range(4) if order[i] != 0]
    # The mark's number is balanced too: it is random, while the letter comes from the slot.
    text = "Four points are marked. Which of them is nearest to the camera?"
    return choice(text, (draw_marks(view.frame.rgb, marks),), right, wrong, slot, rng)


@question("metric.distance", "apartment")
def distance(scene: Scene, slot: Slot, rng: np.random.Generator) -> Question:
    """Distance on the floor plan between the centres of two marked pieces of furniture, metres."""
    view = some_view(scene, rng)
    objects = [o for o in clear_objects(view) if is_whole(view, o, 0.6)]
    if len(objects) < 2:
        raise LeftOut("fewer than two whole objects")
    a, b = shuffled(rng, objects)[:2]
    metres = float(np.linalg.norm(ground(a) - ground(b)))
    if metres < 0.4:
        raise LeftOut("too close to measure")
    text = "How far apart are the middles of the two marked pieces of furniture, measured along the floor, in metres?"
    return Question("number", text, (marked(view, (a, b), ("1", "2")),), f"{metres:.1f}", (), Accepts(unit="m"))


@question("metric.table_distance", "tabletop")
def table_distance(scene: Scene, slot: Slot, rng: np.random.Generator) -> Question:
    """Distance on the table between the centres of two named objects, centimetres."""
    view = some_view(scene, rng)
    pairs = list(itertools.permutations(table_objects(view), 2))
    if not pairs:
        raise LeftOut("fewer than two clear objects")
    a, b = pick(rng, pairs)
    centimetres = 100 * float(np.linalg.norm(ground(a) - ground(b)))
    text = f"How far is the {a.name} from the {b.name}, middle to middle, in centimetres?"
    return Question("number", text, (view.frame.rgb,), f"{centimetres:.0f}", (), Accepts(unit="cm"))


@question("metric.height", "apartment")
def height(scene: Scene, slot: Slot, rng: np.random.Generator) -> Question:
    """Height of a marked piece of furniture from the floor to its top, centimetres; all of it is visible."""
    view = some_view(scene, rng)
    objects = [o for o in clear_objects(view) if is_whole(view, o)]
    if not objects:
        raise LeftOut("nothing whole in view")
    target = pick(rng, objects)
    top = float(target.T_map_object.translation[2] + target.size_m[2] / 2)
    text = "How tall is the marked piece of furniture, in centimetres?"
    return Question("number", text, (marked(view, (target,), ("1",)),), f"{100 * top:.0f}", (), Accepts(unit="cm"))


@question("metric.farther_object", "apartment")
def farther_object(scene: Scene, slot: Slot, rng: np.random.Generator) -> Question:
    """Which of two marked pieces has its centre farther from the camera on the floor plan, by at least 25%."""
    view = some_view(scene, rng)
    objects = some_of(rng, clear_objects(view), 2)
    ranges = [float(np.hypot(*in_camera(view, o)[[0, 2]])) for o in objects]
    if max(ranges) < 1.25 * min(ranges):
        raise LeftOut("equally far")
    far = objects[int(np.argmax(ranges))]
    near = objects[int(np.argmin(ranges))]
    label = slot.content(2)  # the far one's number
    order = (far, near) if label == 0 else (near, far)
    image = marked(view, order, ("1", "2"))
    text = "Two pieces of furniture are marked. Which is farther from the camera?"
    return balanced_choice(text, (image,), ("piece 1", "piece 2"), label, slot, rng)
