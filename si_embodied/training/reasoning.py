"""Plans that first say where the things are that they name: a short chain of thought, true by construction."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    from si_embodied.training.examples import Question

REASONING = "reasoning"
"""In an image's note, true: its plans begin with their reasoning. In a plan, the reasoning's key."""

_LEFT, _RIGHT, _NEAR = 400, 600, 500  # of 1000: a picture's middle fifth is the middle, its lower half is near


def where(point: Sequence[int]) -> str:
    """A point (x, y) of 0..1000 in words of the small model's vocabulary."""
    x, y = point
    side = "left" if x < _LEFT else "right" if x > _RIGHT else "middle"
    return f"{'near' if y >= _NEAR else 'far'} {side}"


def reasoned(question: Question, note: dict[str, Any]) -> Question:
    """The question with an answer that begins with where in the picture each named thing is.

    A pointing fragment, which is no plan, stays as it is.
    """
    if question.instruction is None:
        return question
    plan = json.loads(question.answer)
    named: dict[str, Sequence[int]] = {}
    for step in plan["subgoals"]:
        if step.get("object") == "table":  # beside another thing: that is where to look
            named |= {o["name"]: o["point"] for o in note["objects"] if o["name"] in question.instruction} | named
        elif "point" in step:
            named[step["object"]] = step["point"]
    said = ", ".join(f"{name} {where(point)}" for name, point in named.items()) or "nothing seen"
    return replace(question, answer=json.dumps({REASONING: said, **plan}, separators=(",", ":")))
