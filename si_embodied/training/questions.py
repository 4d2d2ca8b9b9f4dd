"""A question about one image, and the plan that answers it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeVar

from si_embodied.memory import NOTHING_YET, outcome_words
from si_embodied.types import Code

if TYPE_CHECKING:
    import numpy as np

_T = TypeVar("_T")

MIN_VISIBLE_PX = 40
"""Furniture with fewer visible pixels is not asked for, because neither "goto" nor "explore" is clearly right."""


@dataclass(frozen=True, slots=True)
class Question:
    """One instruction and the plan that answers it; without an instruction, a pointing fragment."""

    instruction: str | None
    answer: str  # the plan's JSON; a fragment stops after the point's y, and a step without a point after its name
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
        if self.instruction is None or not self.answer.endswith("}"):  # a fragment, or a part of one step
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


def choose(rng: np.random.Generator, options: Sequence[_T]) -> _T:
    """One of the options, at random."""
    return options[int(rng.integers(len(options)))]
