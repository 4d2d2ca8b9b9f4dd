"""Questions about an image of an apartment: is the target in view, and where?"""

from __future__ import annotations

import itertools
import math
from collections import Counter
from typing import TYPE_CHECKING

from si_embodied.memory import NOTHING_YET, outcome_words
from si_embodied.training.questions import (
    MIN_VISIBLE_PX,
    Question,
    absent_fragment,
    choose,
    fragment,
    plan_json,
    subgoal,
)
from si_embodied.types import Code

if TYPE_CHECKING:
    import numpy as np

    from si_embodied.training.annotations import ApartmentAnnotation

NEAR_M = 2.3
"""The task ends once the robot has driven up to the target and stands within this distance of its centre. Otherwise the
robot looks again on arrival, so that one wrong guess does not end the task in the wrong place."""

_SEEN_SHARE = 0.5
"""Share of apartment instructions whose target is in view, if anything is."""
_RESEMBLING_SHARE = 0.6
"""Share of the others that ask for something that resembles an object in view."""
_VERBS = ("find", "go to", "drive to", "look for")
_CODES = tuple(code for code in Code if code not in (Code.NO_TRANSFORM, Code.EMERGENCY_STOP, Code.PROMPT_TOO_LONG))
"""Without the codes that only a real robot reports: they were added later, and with them the recipe of the shipped
checkpoint would draw different examples."""


class ApartmentQuestions:
    """Questions about an image of an apartment."""

    def __init__(self, annotation: ApartmentAnnotation, rng: np.random.Generator) -> None:
        self._rng, self._visible = rng, annotation.objects
        alike = Counter(o.name for o in self._visible)
        self._seen = [o for o in self._visible if alike[o.name] == 1 and o.pixels >= MIN_VISIBLE_PX]
        self._elsewhere = [name for name in annotation.scene_names if name not in alike]
        self._scene_names = annotation.scene_names
        self._camera_xy = annotation.camera_xy

    def fragments(self) -> list[Question]:
        """Where everything is, and as many objects that are not in view."""
        present = [fragment("goto", o.name, o.point) for o in self._seen]
        return present + [absent_fragment("goto", name) for _ in present if (name := self._absent())]

    def plan(self) -> Question | None:
        """An instruction and its plan; None if there is nothing to look for."""
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


def _arrived(name: str) -> str:
    return f"goto {name}: {outcome_words(Code.OK)}"
