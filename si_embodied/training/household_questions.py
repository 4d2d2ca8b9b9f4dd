"""Questions about an image of household objects on furniture: which are there, and where?"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

from si_embodied.training.questions import MIN_VISIBLE_PX, Question, absent_fragment, choose, fragment

if TYPE_CHECKING:
    import numpy as np

    from si_embodied.training.annotations import HouseholdAnnotation

MIN_ITEM_PX = 12
"""As `RearrangeGroundTruth` counts an object as visible: a mug two metres away."""


class HouseholdQuestions:
    """Questions about one image."""

    def __init__(self, annotation: HouseholdAnnotation, rng: np.random.Generator) -> None:
        self._rng = rng
        items = [one for one in annotation.objects if one.name in annotation.items]
        self._items = [one for one in items if one.pixels >= MIN_ITEM_PX]
        furniture = [one for one in annotation.objects if one.name not in annotation.items]
        self._furniture = [one for one in furniture if one.unique and one.pixels >= MIN_VISIBLE_PX]
        in_view = {one.name for one in items}
        mixed = itertools.product({one.colour for one in items}, {one.category for one in items})
        alike = {f"{colour} {category}" for colour, category in mixed}
        self._absent = sorted({*annotation.items, *alike} - in_view)

    def fragments(self) -> list[Question]:
        """Where everything is, what to put things on, and as many objects that are not in view as are."""
        picks = [fragment("pick", one.name, one.point) for one in self._items]
        absent = [absent_fragment("pick", choose(self._rng, self._absent)) for _ in picks if self._absent]
        return picks + absent + [fragment("place", one.name, one.point) for one in self._furniture]

    def plan(self) -> None:
        """None: what to do depends on what was tried, which decisions of episodes teach."""
        return
