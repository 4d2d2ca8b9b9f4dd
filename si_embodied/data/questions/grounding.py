"""Grounding: locate a named object by a pixel, a box or a mark."""

from __future__ import annotations

from typing import TYPE_CHECKING

from si_embodied.data.questions.base import (
    LeftOut,
    Question,
    Slot,
    balanced_choice,
    pick,
    question,
    shuffled,
    some_view,
)
from si_embodied.data.questions.visibility import clear_objects, marked, named_objects, relative_1000
from si_embodied.data.records import Accepts, Box

if TYPE_CHECKING:
    import numpy as np

    from si_embodied.data.scenes import Scene
    from si_embodied.data.views import LabelledView, SeenObject

_TABLE_PX = 45


def box_1000(view: LabelledView, target: SeenObject) -> Box:
    """The box x0, y0, x1, y1 of the visible part in 0..1000 of the image; its edges are pixel edges."""
    width, height = view.frame.intrinsics.width, view.frame.intrinsics.height
    x0, y0, x1, y1 = target.box_px
    return round(1000 * x0 / width), round(1000 * y0 / height), round(1000 * x1 / width), round(1000 * y1 / height)


def _one(scene: Scene, rng: np.random.Generator, pixels_at_224: int) -> tuple[LabelledView, SeenObject]:
    view = some_view(scene, rng)
    objects = named_objects(view, pixels_at_224)
    if not objects:
        raise LeftOut("nothing named in view")
    return view, pick(rng, objects)


def _point(view: LabelledView, target: SeenObject, rng: np.random.Generator) -> Question:
    text = pick(
        rng,
        (
            f"Point at the {target.name}. Answer with [x, y], each from 0 to 1000 of the image.",
            f"Where is the {target.name}? Answer with one point [x, y] on it, from 0 to 1000.",
        ),
    )
    x, y = relative_1000(view, *target.point_px)
    return Question("point", text, (view.frame.rgb,), f"[{x}, {y}]", (), Accepts(box=box_1000(view, target)))


def _box(view: LabelledView, target: SeenObject) -> Question:
    box = box_1000(view, target)
    text = (
        "Please provide the bounding box coordinate of the region this sentence describes: "
        f"<ref>the {target.name}</ref>"
    )  # InternVL's wording
    return Question("box", text, (view.frame.rgb,), f"[[{', '.join(map(str, box))}]]", (), Accepts(box=box))


@question("grounding.point_room", "apartment")
def point_room(scene: Scene, slot: Slot, rng: np.random.Generator) -> Question:
    """A pixel well inside the largest visible part of a named piece of furniture."""
    return _point(*_one(scene, rng, 100), rng)


@question("grounding.point_table", "tabletop")
def point_table(scene: Scene, slot: Slot, rng: np.random.Generator) -> Question:
    """A pixel well inside the largest visible part of a named object on the table."""
    return _point(*_one(scene, rng, _TABLE_PX), rng)


@question("grounding.box_room", "apartment")
def box_room(scene: Scene, slot: Slot, rng: np.random.Generator) -> Question:
    """The box around the visible part of a named piece of furniture."""
    return _box(*_one(scene, rng, 150))


@question("grounding.box_table", "tabletop")
def box_table(scene: Scene, slot: Slot, rng: np.random.Generator) -> Question:
    """The box around the visible part of a named object on the table."""
    return _box(*_one(scene, rng, _TABLE_PX))


@question("grounding.which_mark", "apartment")
def which_mark(scene: Scene, slot: Slot, rng: np.random.Generator) -> Question:
    """Which of three marks is on the named piece of furniture."""
    view, target = _one(scene, rng, 150)
    others = [o for o in shuffled(rng, clear_objects(view)) if o.id != target.id][:2]
    if len(others) < 2:
        raise LeftOut("fewer than three clear objects")
    label = slot.content(3)
    image = marked(view, [*others[:label], target, *others[label:]], ("1", "2", "3"))
    names = ("mark 1", "mark 2", "mark 3")
    return balanced_choice(f"Which mark is on the {target.name}?", (image,), names, label, slot, rng)
