"""Plans that begin by saying where the objects they name are: a short chain of thought, correct by construction."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from si_embodied.training.annotations import VisibleObject

REASONING = "reasoning"
"""The key of the reasoning in a plan's JSON."""

_LEFT, _RIGHT, _NEAR = 400, 600, 500  # of 1000: the middle fifth of an image is "middle", its lower half is "near"


def where(point: Sequence[int]) -> str:
    """A point (x, y) in 0..1000 of an image, in words of the small model's vocabulary."""
    x, y = point
    side = "left" if x < _LEFT else "right" if x > _RIGHT else "middle"
    return f"{'near' if y >= _NEAR else 'far'} {side}"


def with_reasoning(plan_json: str, instruction: str, objects: Sequence[VisibleObject]) -> str:
    """The plan's JSON, preceded by where in the image each object it names is."""
    plan = json.loads(plan_json)
    named: dict[str, Sequence[int]] = {}
    for step in plan["subgoals"]:
        if step.get("object") == "table":  # a place beside another object: the model must look at that object
            named |= {one.name: one.point for one in objects if one.name in instruction} | named
        elif "point" in step:
            named[step["object"]] = step["point"]
    words = ", ".join(f"{name} {where(point)}" for name, point in named.items()) or "nothing seen"
    return json.dumps({REASONING: words, **plan}, separators=(",", ":"))
