"""The question types, one file per capability; importing this package registers them all.

To add one, write a function (scene, slot, rng) -> Question in its capability's file, below
`@question("capability.name", source)`; it raises `LeftOut` if the scene has no clear case, like `relation.taller`.
Derive its answer by a second method in `tests/data/test_questions.py`, and run `si-embodied data audit` on 300 of them.
"""

from __future__ import annotations

from collections.abc import Sequence

from si_embodied.data.questions import (  # noqa: F401  (each registers its types)
    assembly,
    grounding,
    metric,
    perspective,
    planning,
    reasoning,
    reconstruction,
    relation,
)  # fmt: skip
from si_embodied.data.questions.base import CAPABILITIES, LETTERS, REGISTERED, LeftOut, Question, QuestionType, Slot
from si_embodied.errors import UnknownNameError

__all__ = ["CAPABILITIES", "LETTERS", "LeftOut", "Question", "QuestionType", "Slot", "question_types"]


def question_types(kinds: Sequence[str] = ()) -> tuple[QuestionType, ...]:
    """The types with the given names or capabilities, or all types, sorted by name.

    Raises:
        UnknownNameError: one of `kinds` is neither a type nor a capability.
    """
    for kind in kinds:
        if kind not in REGISTERED and kind not in CAPABILITIES:
            raise UnknownNameError("kind of question", kind, [*CAPABILITIES, *REGISTERED])
    chosen = (t for t in REGISTERED.values() if not kinds or t.name in kinds or t.capability in kinds)
    return tuple(sorted(chosen, key=lambda t: t.name))
