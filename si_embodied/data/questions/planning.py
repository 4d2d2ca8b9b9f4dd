"""Planning: what the robot should do next, in the planner's own schema."""

from __future__ import annotations

from typing import TYPE_CHECKING

from si_embodied.data.questions.base import LeftOut, Question, Slot, pick, question
from si_embodied.data.records import Accepts
from si_embodied.skills import Explore, Goto, Pick, Place

if TYPE_CHECKING:
    import numpy as np

    from si_embodied.data.demonstrations import Demonstration
    from si_embodied.data.scenes import Scene

_TOLERANCE = 30  # of a plan's first point in x and y, of 1000


def _planned(demonstration: Demonstration) -> Question:
    text = f"Task: {demonstration.instruction}\nSo far:\n{demonstration.memory}\nPlan:"
    subgoals, box = demonstration.plan.subgoals, None
    if isinstance(subgoals[0], (Goto, Pick, Place)):
        x, y = subgoals[0].point
        box = (x - _TOLERANCE, y - _TOLERANCE, x + _TOLERANCE, y + _TOLERANCE)
    accepts = Accepts(tuple(s.skill for s in subgoals), box=box)
    return Question("plan", text, (demonstration.image,), demonstration.text, (), accepts)


@question("planning.table", "tabletop plans")
def table(scene: Scene, slot: Slot, rng: np.random.Generator) -> Question:
    """What to pick and where to place it, from the oracle's next step, or going home if the arm hides the view."""
    if not scene.demonstrations:
        raise LeftOut("the head camera does not show enough")
    return _planned(pick(rng, scene.demonstrations))


@question("planning.room", "apartment plans")
def room(scene: Scene, slot: Slot, rng: np.random.Generator) -> Question:
    """Drive to the target if 40 pixels of it are visible, explore if none are; each half of the time."""
    explores = bool(slot.content(2))
    fitting = [d for d in scene.demonstrations if isinstance(d.plan.subgoals[0], Explore) == explores]
    if not fitting:
        raise LeftOut("the target is never in view" if not explores else "the target is always in view")
    return _planned(pick(rng, fitting))
