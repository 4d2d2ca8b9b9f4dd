"""Tabletop tasks in EmbodiedBench's categories, each unambiguous in the scene drawn for it.

Directions are the robot's: left is the map's y, far is the map's x.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np

from si_embodied.envs.scenes.tabletop import (
    COLOURS,
    CONTAINER_RADIUS_M,
    FLAT_SHAPES,
    SHAPES,
    SORTER_HOLES,
    TALL_HEIGHT_M,
    USUAL_HEIGHT_M,
    Container,
    ContainerKind,
    Layout,
    Shape,
    TableObject,
    TabletopScene,
    radius,
)
from si_embodied.errors import SceneError, UnknownNameError

Direction: TypeAlias = Literal["left", "right", "front", "behind"]

DIRECTIONS: dict[Direction, tuple[float, float]] = {
    "left": (0.0, 1.0), "right": (0.0, -1.0), "front": (-1.0, 0.0), "behind": (1.0, 0.0)
}  # fmt: skip
BESIDE_DISTANCE_M = 0.12
"""Distance at which the oracle puts an object beside another, so that the fingers clear both."""


@dataclass(frozen=True, slots=True)
class Inside:
    """An object lies in a bowl or a bin."""

    object: str
    container: str  # its key


@dataclass(frozen=True, slots=True)
class InHole:
    """An object lies in one hole of the shape sorter."""

    object: str
    container: str
    hole: int  # index into SORTER_HOLES


@dataclass(frozen=True, slots=True)
class OnTop:
    """An object stands on another."""

    object: str
    support: str


@dataclass(frozen=True, slots=True)
class Beside:
    """An object stands on the table beside another, in a direction as seen by the robot."""

    object: str
    anchor: str
    direction: Direction


Condition: TypeAlias = Inside | InHole | OnTop | Beside


@dataclass(frozen=True, slots=True)
class TabletopTask:
    """An instruction, its scene, and its conditions in the order in which to fulfil them."""

    category: str
    instruction: str
    scene: TabletopScene
    conditions: tuple[Condition, ...]


class _Draft:
    """A scene under construction."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng
        self.layout = Layout(rng)
        self.objects: list[TableObject] = []
        self.containers: list[Container] = []

    def choose(self, options: tuple[str, ...] | list[str]) -> str:
        return options[int(self.rng.integers(len(options)))]

    def kinds(
        self, count: int, shapes: tuple[Shape, ...] = SHAPES, taken: tuple[tuple[str, str], ...] = ()
    ) -> list[tuple[Shape, str]]:
        """Distinct pairs of shape and colour, none of them in `taken`."""
        pairs = [(shape, colour) for shape in shapes for colour in COLOURS if (shape, colour) not in taken]
        return [pairs[int(k)] for k in self.rng.permutation(len(pairs))[:count]]

    def add(
        self, shape: Shape, colour: str, at: tuple[float, float] | None = None, height_m: float = USUAL_HEIGHT_M
    ) -> TableObject:
        if at is None:
            at = self.layout.place(radius(shape))
        elif not self.layout.take(*at, radius(shape)):
            raise SceneError("no room at the required position of an object")
        yaw = float(self.rng.uniform(-math.pi, math.pi))
        item = TableObject(f"{colour} {shape}", shape, colour, *at, yaw, height_m)
        self.objects.append(item)
        return item

    def fill(self, total: int, shapes: tuple[Shape, ...] = SHAPES, colours: tuple[str, ...] = tuple(COLOURS)) -> None:
        """Add other objects, all of them different, until there are `total`."""
        present = {(item.shape, item.colour) for item in self.objects}
        pairs = [(s, c) for s in shapes for c in colours if (s, c) not in present]
        for k in self.rng.permutation(len(pairs))[: max(0, total - len(self.objects))]:
            self.add(*pairs[int(k)])

    def contain(self, kind: ContainerKind, colour: str) -> Container:
        at = self.layout.take_sorter() if kind == "shape sorter" else self.layout.place(CONTAINER_RADIUS_M[kind])
        name = kind if kind == "shape sorter" else f"{colour} {kind}"
        container = Container(name, f"{kind} {len(self.containers)}", kind, colour, *at)
        self.containers.append(container)
        return container

    def total(self) -> int:
        """A number of objects: three to six, fewer with more containers."""
        most = 6 - len(self.containers)
        return int(self.rng.integers(3, most + 1))

    def task(self, category: str, instruction: str, *conditions: Condition) -> TabletopTask:
        # Shuffled: objects are drawn in the order of their role, and a policy must not learn that the first is meant.
        objects = tuple(self.objects[int(k)] for k in self.rng.permutation(len(self.objects)))
        return TabletopTask(category, instruction, TabletopScene(objects, tuple(self.containers)), conditions)


def _colour(draft: _Draft, *, but: tuple[str, ...] = ()) -> str:
    return draft.choose([colour for colour in COLOURS if colour not in but])


def _bowl_or_bin(draft: _Draft, *, but: tuple[str, ...] = ()) -> Container:
    kind: ContainerKind = "bowl" if draft.rng.random() < 0.5 else "bin"
    return draft.contain(kind, _colour(draft, but=but))


def _base(draft: _Draft) -> TabletopTask:
    container = _bowl_or_bin(draft)
    (kind,) = draft.kinds(1)
    item = draft.add(*kind)
    draft.fill(draft.total())
    words = draft.choose(
        ["put the {0} in the {1}", "pick up the {0} and put it in the {1}", "place the {0} into the {1}"]
    )
    return draft.task("base", words.format(item.name, container.name), Inside(item.name, container.key))


def _stackable(draft: _Draft) -> tuple[TableObject, TableObject]:
    (below,) = draft.kinds(1, FLAT_SHAPES)
    (above,) = draft.kinds(1, tuple(s for s in SHAPES if s != "ball"), (below,))
    return draft.add(*above), draft.add(*below)


def _stack(draft: _Draft) -> TabletopTask:
    above, below = _stackable(draft)
    draft.fill(int(draft.rng.integers(3, 7)))
    words = draft.choose(["stack the {0} on the {1}", "put the {0} on top of the {1}", "set the {0} down on the {1}"])
    return draft.task("stack", words.format(above.name, below.name), OnTop(above.name, below.name))


def _sort(draft: _Draft) -> TabletopTask:
    if draft.rng.random() < 0.5:
        sorter = draft.contain("shape sorter", "wood")
        hole = int(draft.rng.integers(len(SORTER_HOLES)))
        shape = SORTER_HOLES[hole].shape
        item = draft.add(shape, _colour(draft))
        draft.fill(draft.total(), tuple(s for s in SHAPES if s != shape))
        words = draft.choose(
            ["put the {0} into its hole of the {1}", "put the {0} into the hole of the {1} that fits its shape"]
        )
        condition = InHole(item.name, sorter.key, hole)
        return draft.task("sort", words.format(item.shape, sorter.name), condition)
    first = draft.contain("bin", _colour(draft))
    second = draft.contain("bin", _colour(draft, but=(first.colour,)))
    fitting = [shape for shape in SHAPES if shape != "long block"]  # two of them fit side by side in a bin
    shapes = [fitting[int(k)] for k in draft.rng.permutation(len(fitting))]
    colours = [first.colour, second.colour]
    if draft.rng.random() < 0.5:
        colours.append(draft.choose(colours))
    items = [draft.add(shape, colour) for shape, colour in zip(shapes, colours, strict=False)]
    if len(items) < 3:
        draft.add(shapes[2], _colour(draft, but=(first.colour, second.colour)))
        words = "put the objects that have the colour of a bin in the bin of their colour"
    else:
        words = "put each object in the bin of its colour"
    bins = {first.colour: first.key, second.colour: second.key}
    return draft.task("sort", words, *(Inside(item.name, bins[item.colour]) for item in items))


def _spatial(draft: _Draft) -> TabletopTask:
    drawers = (_spatial_beside, _spatial_container, _spatial_object)
    return drawers[int(draft.rng.integers(len(drawers)))](draft)


_BESIDE_WORDS: dict[Direction, str] = {
    "left": "to the left of the {1}",
    "right": "to the right of the {1}",
    "front": "in front of the {1}, on your side of it",
    "behind": "behind the {1}, on the far side of it from you",
}


def _spatial_beside(draft: _Draft) -> TabletopTask:
    direction: Direction = tuple(DIRECTIONS)[int(draft.rng.integers(4))]
    moved, anchored = draft.kinds(2, tuple(s for s in SHAPES if s != "ball"))
    anchor = draft.add(*anchored)
    x, y = (
        here + BESIDE_DISTANCE_M * step
        for here, step in zip((anchor.x_m, anchor.y_m), DIRECTIONS[direction], strict=True)
    )
    if not draft.layout.take(x, y, 0.035):
        raise SceneError("no room beside the anchor")
    item = draft.add(*moved)
    draft.fill(int(draft.rng.integers(3, 6)))
    words = f"put the {{0}} {_BESIDE_WORDS[direction]}, close to it, as seen from where you stand"
    if direction in ("front", "behind"):
        words = f"put the {{0}} {_BESIDE_WORDS[direction]}, close to it"
    condition = Beside(item.name, anchor.name, direction)
    return draft.task("spatial", words.format(item.name, anchor.name), condition)


def _spatial_container(draft: _Draft) -> TabletopTask:
    kind: ContainerKind = "bowl" if draft.rng.random() < 0.5 else "bin"
    colour = _colour(draft)
    one, other = draft.contain(kind, colour), draft.contain(kind, colour)
    item = draft.add(*draft.kinds(1)[0])
    draft.fill(int(draft.rng.integers(3, 5)))
    distances = [math.hypot(c.x_m, c.y_m) for c in (one, other)]
    if draft.rng.random() < 0.5:
        where = draft.choose(["farthest from you", "nearest to you"])
        if abs(distances[0] - distances[1]) < 0.06:
            raise SceneError("two containers at the same distance")
        far, near = (one, other) if distances[0] > distances[1] else (other, one)
        target = far if where.startswith("far") else near
    else:
        where = draft.choose(["on your left", "on your right"])
        if abs(one.y_m - other.y_m) < 0.12:
            raise SceneError("neither container is clearly to the left of the other")
        left, right = (one, other) if one.y_m > other.y_m else (other, one)
        target = left if where.endswith("left") else right
    words = f"put the {item.name} in the {kind} that is {where}"
    return draft.task("spatial", words, Inside(item.name, target.key))


def _spatial_object(draft: _Draft) -> TabletopTask:
    container = _bowl_or_bin(draft)
    draft.fill(draft.total(), tuple(s for s in SHAPES if s != "ball"))
    where = draft.choose(["farthest to the left", "farthest to the right", f"nearest to the {container.name}"])

    def rank(item: TableObject) -> float:
        if where.endswith("left"):
            return -item.y_m
        if where.endswith("right"):
            return item.y_m
        return math.hypot(item.x_m - container.x_m, item.y_m - container.y_m)

    ranked = sorted(draft.objects, key=rank)
    if rank(ranked[1]) - rank(ranked[0]) < 0.05:
        raise SceneError("two objects that are equally far")
    words = f"as seen from where you stand, put the object {where} in the {container.name}"
    if where.startswith("nearest"):
        words = f"put the object {where} into it"
    return draft.task("spatial", words, Inside(ranked[0].name, container.key))


LOOKS: dict[Shape, str] = {
    "triangular prism": "the {0} object with three corners",
    "hexagonal prism": "the {0} object with six sides",
    "cross": "the {0} object shaped like a plus sign",
    "ball": "the {0} object that can roll in every direction",
    "long block": "the {0} object that is longer than it is wide",
}
LIKE: dict[str, str] = {
    "red": "a ripe tomato", "green": "grass", "blue": "the deep sea", "yellow": "a lemon", "purple": "a plum",
    "orange": "a carrot",
}  # fmt: skip


def _visual(draft: _Draft) -> TabletopTask:
    container = _bowl_or_bin(draft)
    drawers = (_by_looks, _by_likeness, _by_height, _by_roundness)
    item, description = drawers[int(draft.rng.integers(len(drawers)))](draft)
    words = f"put {description} in the {container.name}"
    return draft.task("visual", words, Inside(item.name, container.key))


def _by_looks(draft: _Draft) -> tuple[TableObject, str]:
    """An object by a description of its shape, among others of its colour and others of its shape."""
    shape = tuple(LOOKS)[int(draft.rng.integers(len(LOOKS)))]
    colour = _colour(draft)
    item = draft.add(shape, colour)
    draft.add("cube", colour)
    draft.add(shape, _colour(draft, but=(colour,)))
    draft.fill(draft.total(), ("cube",))
    return item, LOOKS[shape].format(colour)


def _by_likeness(draft: _Draft) -> tuple[TableObject, str]:
    """An object by a description of its colour, which no other object has."""
    (kind,) = draft.kinds(1)
    item = draft.add(*kind)
    draft.fill(draft.total(), colours=tuple(c for c in COLOURS if c not in (item.colour, "orange", "yellow", "red")))
    return item, f"the object that has the colour of {LIKE[item.colour]}"


def _by_height(draft: _Draft) -> tuple[TableObject, str]:
    (kind,) = draft.kinds(1, ("cube", "cylinder", "hexagonal prism"))
    shape: Shape = "cylinder" if kind[0] == "cube" else kind[0]  # a tall cube is no cube
    item = draft.add(shape, kind[1], height_m=TALL_HEIGHT_M)
    draft.fill(draft.total())
    return item, "the tallest object"


def _by_roundness(draft: _Draft) -> tuple[TableObject, str]:
    colour = _colour(draft)
    shape: Shape = "cylinder" if draft.rng.random() < 0.5 else "ball"
    item = draft.add(shape, colour)
    draft.add("cube", colour)
    draft.add("cylinder", _colour(draft, but=(colour,)))
    draft.fill(draft.total(), ("cube", "triangular prism", "long block", "cross"))
    return item, f"the round {colour} thing"


def _complex(draft: _Draft) -> TabletopTask:
    drawers = (_tower, _two_containers, _contain_and_stack)
    return drawers[int(draft.rng.integers(len(drawers)))](draft)


def _tower(draft: _Draft) -> TabletopTask:
    """The order of the conditions matters: a tower is built from the bottom."""
    kinds = draft.kinds(3, FLAT_SHAPES)
    top, middle, bottom = (draft.add(*kind) for kind in kinds)
    draft.fill(int(draft.rng.integers(3, 6)))
    words = draft.choose(
        [
            "build a tower: the {2} at the bottom, the {1} on it, and the {0} on top",
            "stack the {1} on the {2}, then stack the {0} on the {1}",
        ]
    )
    conditions = (OnTop(middle.name, bottom.name), OnTop(top.name, middle.name))
    return draft.task("complex", words.format(top.name, middle.name, bottom.name), *conditions)


def _two_containers(draft: _Draft) -> TabletopTask:
    bowl = draft.contain("bowl", _colour(draft))
    box = draft.contain("bin", _colour(draft))
    first, second = (draft.add(*kind) for kind in draft.kinds(2))
    draft.fill(draft.total())
    words = f"put the {first.name} in the {bowl.name} and the {second.name} in the {box.name}"
    return draft.task("complex", words, Inside(first.name, bowl.key), Inside(second.name, box.key))


def _contain_and_stack(draft: _Draft) -> TabletopTask:
    container = _bowl_or_bin(draft)
    above, below = _stackable(draft)
    (kind,) = draft.kinds(
        1, tuple(s for s in SHAPES if s != "ball"), tuple((t.shape, t.colour) for t in (above, below))
    )
    item = draft.add(*kind)
    draft.fill(draft.total())
    words = f"stack the {above.name} on the {below.name}, and put the {item.name} in the {container.name}"
    return draft.task("complex", words, OnTop(above.name, below.name), Inside(item.name, container.key))


_DRAWERS: dict[str, Callable[[_Draft], TabletopTask]] = {
    "base": _base, "stack": _stack, "sort": _sort, "spatial": _spatial, "visual": _visual, "complex": _complex
}  # fmt: skip
TASKS: tuple[str, ...] = tuple(_DRAWERS)


def draw_task(category: str, rng: np.random.Generator) -> TabletopTask:
    """Draw a task of a category, with its scene, from the generator alone.

    Raises:
        UnknownNameError: unknown category.
        SceneError: 500 attempts failed; about one in three succeeds.
    """
    if category not in _DRAWERS:
        raise UnknownNameError("task", category, _DRAWERS)
    for _ in range(500):
        try:
            return _DRAWERS[category](_Draft(rng))
        except SceneError:
            continue
    raise SceneError(f"no scene for a {category!r} task in 500 attempts; this is a bug, please report it")
