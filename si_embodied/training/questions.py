"""Instructions about an image and the plans that answer them, drawn anew each time the image is shown."""

from __future__ import annotations

import itertools
import json
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeVar

from si_embodied.memory import NOTHING_YET, outcome_words
from si_embodied.training.annotations import ApartmentAnnotation, TabletopAnnotation
from si_embodied.training.reasoning import with_reasoning
from si_embodied.types import Code

if TYPE_CHECKING:
    import numpy as np

    from si_embodied.training.annotations import Annotation, Container, VisibleObject

_T = TypeVar("_T")

MIN_VISIBLE_PX = 40
"""Furniture with fewer visible pixels is not asked for, because neither "goto" nor "explore" is clearly right."""
NEAR_M = 2.3
"""The task ends once the robot has driven up to the target and stands within this distance of its centre. Otherwise the
robot looks again on arrival, so that one wrong guess does not end the task in the wrong place."""

_SEEN_SHARE = 0.5
"""Share of apartment instructions whose target is in view, if anything is."""
_RESEMBLING_SHARE = 0.6
"""Share of the others that ask for something that resembles an object in view."""

_VERBS = ("find", "go to", "drive to", "look for")
_PUT = ("put the {0} in the {1}", "pick up the {0} and put it in the {1}", "place the {0} into the {1}")
_STACK = ("stack the {0} on the {1}", "put the {0} on top of the {1}", "set the {0} down on the {1}")
_BESIDE = {
    "left": "put the {0} to the left of the {1}, close to it, as seen from where you stand",
    "right": "put the {0} to the right of the {1}, close to it, as seen from where you stand",
    "front": "put the {0} in front of the {1}, on your side of it, close to it",
    "behind": "put the {0} behind the {1}, on the far side of it from you, close to it",
}
_CODES = tuple(code for code in Code if code not in (Code.NO_TRANSFORM, Code.EMERGENCY_STOP))
"""Without the codes that only a real robot reports: they were added later, and with them the recipe of the shipped
checkpoint would draw different examples."""
FLAT = ("cube", "cylinder", "hexagonal prism")  # shapes that another object can be stacked on
_RANGE_STEP_M, _SIDE_STEP_M, _RANK_STEP_M = 0.06, 0.12, 0.05
"""How much two containers must differ in range or sideways, and the first two objects in an order."""


@dataclass(frozen=True, slots=True)
class Question:
    """One instruction and the plan that answers it; without an instruction, a pointing fragment."""

    instruction: str | None
    answer: str  # the plan's JSON; a fragment stops after the point's y
    kind: str  # accuracy is reported by kind
    last: str = NOTHING_YET  # what the robot did before, as `Memory.last` says it
    earlier: tuple[str, ...] = ()  # what it did before that
    absent: bool = False  # a fragment that asks for the point of an object that is not in view
    glance: bool = False  # stop after the instruction: is its target in view, and where?

    def answer_in(self, view: int) -> str:
        """The answer in a prompt that gives the image the number `view`."""
        return self.answer.replace('"view":0', f'"view":{view}')

    def step(self, rng: np.random.Generator) -> Question:
        """One step of the plan, after the steps before it, for a prompt that shows what was tried.

        Such a prompt asks again after each step, and `done` is an answer of its own.
        """
        if self.instruction is None:
            return self
        plan = json.loads(self.answer)
        subgoals = plan["subgoals"]
        if plan["done"] and self.last != NOTHING_YET:  # what it drove up to is in front of it
            return replace(self, answer=plan_json([], done=True))
        number = int(rng.integers(len(subgoals)))
        tried = [f"{one['skill']} {one['object']}: {outcome_words(Code.OK)}" for one in subgoals[:number]]
        *earlier, last = tried or [self.last]
        return replace(self, answer=plan_json([subgoals[number]], done=False), last=last, earlier=tuple(earlier))


@dataclass(frozen=True, slots=True)
class QuestionCounts:
    """How many questions to draw about one image."""

    fragments: int
    plans: int
    glances: int = 0  # apartments only


def subgoal(skill: str, name: str, point: Sequence[int]) -> dict[str, Any]:
    """A subgoal that points into the first view."""
    return {"skill": skill, "object": name, "view": 0, "point": point}


def plan_json(subgoals: list[dict[str, Any]], *, done: bool) -> str:
    """A plan as the schema's serializer writes it."""
    return json.dumps({"subgoals": subgoals, "done": done}, separators=(",", ":"))


def fragment(skill: str, name: str, point: Sequence[int]) -> Question:
    """Where the named object is, without an instruction: a plan that stops after its first point."""
    text = plan_json([subgoal(skill, name, point)], done=True)
    return Question(None, text[: text.index("]")], f"point {skill}")


def absent_fragment(skill: str, name: str) -> Question:
    """The same question about an object that is not in view: the plan stops where the point would begin."""
    text = fragment(skill, name, [0, 0]).answer
    return Question(None, text[: text.rindex("[") + 1], f"absent {skill}", absent=True)


def questions(
    annotation: Annotation,
    rng: np.random.Generator,
    counts: QuestionCounts,
    *,
    reasoning: bool = False,
    longer: bool = False,
) -> list[Question]:
    """Draw questions about one image.

    Args:
        annotation: what the image shows.
        rng: draws the questions.
        counts: how many of them.
        reasoning: whether plans begin with where the objects are.
        longer: whether plans may have more steps than an answer may, for `Question.step`.
    """
    if isinstance(annotation, TabletopAnnotation):
        from si_embodied.training.longer_questions import LongerQuestions

        tabletop = LongerQuestions if longer else TabletopQuestions
        draw: TabletopQuestions | _ApartmentQuestions = tabletop(annotation, rng)
    else:
        draw = _ApartmentQuestions(annotation, rng)
    pointing = draw.fragments()
    drawn = [pointing[int(index)] for index in rng.permutation(len(pointing))[: counts.fragments]]
    plans = [draw.plan() for _ in range(counts.plans + max(0, counts.fragments - len(pointing)))]
    drawn += [plan for plan in plans if plan]
    glances = [draw.plan() for _ in range(counts.glances)]
    drawn += [replace(plan, glance=True, kind="glance") for plan in glances if plan]
    return [_reasoned(question, annotation.objects) for question in drawn] if reasoning else drawn


def _reasoned(question: Question, objects: Sequence[VisibleObject]) -> Question:
    if question.instruction is None:  # a pointing fragment is no plan
        return question
    return replace(question, answer=with_reasoning(question.answer, question.instruction, objects))


def choose(rng: np.random.Generator, options: Sequence[_T]) -> _T:
    """One of the options, at random."""
    return options[int(rng.integers(len(options)))]


def _arrived(name: str) -> str:
    return f"goto {name}: {outcome_words(Code.OK)}"


class _ApartmentQuestions:
    """Questions about an image of an apartment."""

    def __init__(self, annotation: ApartmentAnnotation, rng: np.random.Generator) -> None:
        self._rng, self._visible = rng, annotation.objects
        alike = Counter(o.name for o in self._visible)
        self._seen = [o for o in self._visible if alike[o.name] == 1 and o.pixels >= MIN_VISIBLE_PX]
        self._elsewhere = [name for name in annotation.scene_names if name not in alike]
        self._scene_names = annotation.scene_names
        self._camera_xy = annotation.camera_xy

    def fragments(self) -> list[Question]:
        present = [fragment("goto", o.name, o.point) for o in self._seen]
        return present + [absent_fragment("goto", name) for _ in present if (name := self._absent())]

    def plan(self) -> Question | None:
        rng = self._rng
        verb = choose(rng, _VERBS)
        if self._seen and rng.random() < _SEEN_SHARE:
            target = choose(rng, self._seen)
            near = math.dist(target.xy, self._camera_xy) < NEAR_M
            last = self._last(target.name, arrived_share=0.6 if near else 0.15)
            done = near and last == _arrived(target.name)
            answer = plan_json([subgoal("goto", target.name, target.point)], done=done)
            return Question(f"{verb} the {target.name}", answer, "goto", last)
        if not (name := self._absent()):
            return None
        answer = plan_json([{"skill": "explore"}], done=False)
        return Question(f"{verb} the {name}", answer, "explore", self._last(name, arrived_share=0.25))

    def _absent(self) -> str | None:
        """A plausible name for an object that is not in view, or None."""
        resembling = self._rng.random() < _RESEMBLING_SHARE
        pools = (self._resembling(), self._elsewhere) if resembling else (self._elsewhere, self._resembling())
        return next((choose(self._rng, pool) for pool in pools if pool), None)

    def _last(self, name: str, *, arrived_share: float) -> str:
        """A plausible last attempt: drove up to what it took for `name`, explored, failed, or nothing yet."""
        rng = self._rng
        if rng.random() < arrived_share:
            return _arrived(name)
        what, code = choose(rng, ("explore", f"goto {name}", "plan")), choose(rng, _CODES)
        failed = f"{what}: {outcome_words(code)}" if code is not Code.OK else NOTHING_YET
        return choose(rng, (f"explore: {outcome_words(Code.OK)}",) * 3 + (NOTHING_YET, NOTHING_YET, failed))

    def _resembling(self) -> list[str]:
        """Names of objects that are not in view but share their colour or category with one that is.

        The model can only tell them apart from what is in view if its glance binds a colour to its object.
        """
        from si_embodied.envs.scenes.furniture import COLOURS
        from si_embodied.envs.scenes.tasks import family

        visible = {(family(o.category), o.colour) for o in self._visible}
        coloured = [name.split(" ", 1) for name in self._scene_names if name.split(" ")[0] in COLOURS]
        colours = {o.colour for o in self._visible}, {colour for colour, _ in coloured}
        categories = {category for _, category in coloured}, {o.category for o in self._visible}
        pairs = set(itertools.product(colours[0], categories[0])) | set(itertools.product(colours[1], categories[1]))
        return sorted(f"{colour} {category}" for colour, category in pairs if (family(category), colour) not in visible)


class TabletopQuestions:
    """Questions about an image of a table, in the wording of the tabletop tasks."""

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
