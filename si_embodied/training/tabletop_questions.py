"""Questions about an image of a table, in the wording of the tabletop tasks."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from si_embodied.training.questions import Question, choose, fragment, plan_json, subgoal

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np

    from si_embodied.training.annotations import Container, TabletopAnnotation, VisibleObject

_PUT = ("put the {0} in the {1}", "pick up the {0} and put it in the {1}", "place the {0} into the {1}")
_STACK = ("stack the {0} on the {1}", "put the {0} on top of the {1}", "set the {0} down on the {1}")
_BESIDE = {
    "left": "put the {0} to the left of the {1}, close to it, as seen from where you stand",
    "right": "put the {0} to the right of the {1}, close to it, as seen from where you stand",
    "front": "put the {0} in front of the {1}, on your side of it, close to it",
    "behind": "put the {0} behind the {1}, on the far side of it from you, close to it",
}
FLAT = ("cube", "cylinder", "hexagonal prism")  # shapes that another object can be stacked on
_RANGE_STEP_M, _SIDE_STEP_M, _RANK_STEP_M = 0.06, 0.12, 0.05
"""How much two containers must differ in range or sideways, and the first two objects in an order."""


class TabletopQuestions:
    """Put, stack, beside, one of two containers, and the farthest or nearest object."""

    def __init__(self, annotation: TabletopAnnotation, rng: np.random.Generator) -> None:
        self._rng, self._annotation, self._picks = rng, annotation, annotation.pick
        self._objects = {o.name: o for o in annotation.objects}
        self._openings = {key: point for key, point in annotation.into.items() if point is not None}
        self._containers = [c for c in annotation.containers if c.kind != "shape sorter" and c.key in self._openings]
        names = [c.name for c in annotation.containers]
        self._named = [c for c in self._containers if names.count(c.name) == 1]

    def fragments(self) -> list[Question]:
        """Where everything is that can be picked up or filled."""
        found = [fragment("pick", name, point) for name, point in self._picks.items()]
        return found + [fragment("place", c.name, self._openings[c.key]) for c in self._named]

    def plan(self) -> Question | None:
        """An instruction and its plan; None if there is nothing to pick up."""
        if not self._picks:
            return None
        drawers = (self._base, self._base, self._beside, self._beside, self._one_of_two, self._extreme, self._stack)
        for index in self._rng.permutation(len(drawers)):
            if question := drawers[int(index)]():
                return question
        return None

    def _move(self, name: str, onto: str, point: Sequence[int]) -> str:
        return plan_json([subgoal("pick", name, self._picks[name]), subgoal("place", onto, point)], done=True)

    def _into(self, instruction: str, name: str, container: Container, kind: str) -> Question:
        return Question(instruction, self._move(name, container.name, self._openings[container.key]), kind)

    def _base(self) -> Question | None:
        if not self._named:
            return None
        name, container = choose(self._rng, list(self._picks)), choose(self._rng, self._named)
        return self._into(choose(self._rng, _PUT).format(name, container.name), name, container, "base")

    def _stack(self) -> Question | None:
        onto = self._annotation.onto
        flat = [name for name in onto if name in self._objects and self._objects[name].category in FLAT]
        pairs = [(a, b) for b in flat for a in self._picks if a != b and self._objects[a].category != "ball"]
        if not pairs:
            return None
        above, below = choose(self._rng, pairs)
        return Question(choose(self._rng, _STACK).format(above, below), self._move(above, below, onto[below]), "stack")

    def _beside(self) -> Question | None:
        spots = [
            spot for spot in self._annotation.beside
            if spot.moved in self._picks and self._objects[spot.moved].category != "ball"
        ]  # fmt: skip
        if not spots:
            return None
        name, anchor, direction, point = choose(self._rng, spots)
        return Question(_BESIDE[direction].format(name, anchor), self._move(name, "table", point), "beside")

    def _one_of_two(self) -> Question | None:
        """Tell two containers of the same name apart by where they stand."""
        if len(self._containers) != 2 or self._containers[0].name != self._containers[1].name:
            return None
        one, other = self._containers
        options = []
        ranges = [math.hypot(*c.xy) for c in (one, other)]
        if abs(ranges[0] - ranges[1]) >= _RANGE_STEP_M:
            far, near = (one, other) if ranges[0] > ranges[1] else (other, one)
            options += [("farthest from you", far), ("nearest to you", near)]
        if abs(one.xy[1] - other.xy[1]) >= _SIDE_STEP_M:
            left, right = (one, other) if one.xy[1] > other.xy[1] else (other, one)
            options += [("on your left", left), ("on your right", right)]
        if not options:
            return None
        where, container = choose(self._rng, options)
        name = choose(self._rng, list(self._picks))
        return self._into(f"put the {name} in the {one.kind} that is {where}", name, container, "container")

    def _extreme(self) -> Question | None:
        """Ask for the object that is farthest to one side, or nearest to a container."""
        if not self._named or len(self._objects) < 3:
            return None
        container = choose(self._rng, self._named)
        objects = [o for o in self._objects.values() if o.category not in ("bowl", "bin", "shape sorter")]
        sides = ("farthest to the left", "farthest to the right", f"nearest to the {container.name}")
        where = choose(self._rng, sides)

        def rank(one: VisibleObject) -> float:
            if where.startswith("nearest"):
                return math.dist(one.xy, container.xy)
            return -one.xy[1] if where.endswith("left") else one.xy[1]

        ranked = sorted(objects, key=rank)
        if len(ranked) < 2 or rank(ranked[1]) - rank(ranked[0]) < _RANK_STEP_M or ranked[0].name not in self._picks:
            return None
        words = f"as seen from where you stand, put the object {where} in the {container.name}"
        if where.startswith("nearest"):
            words = f"put the object {where} into it"
        return self._into(words, ranked[0].name, container, "extreme")
