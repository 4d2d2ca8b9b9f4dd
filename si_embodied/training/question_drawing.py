"""Questions about an image, drawn anew each time the image is shown."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from si_embodied.training.annotations import HouseholdAnnotation, TabletopAnnotation
from si_embodied.training.apartment_questions import ApartmentQuestions
from si_embodied.training.household_questions import HouseholdQuestions
from si_embodied.training.longer_questions import LongerQuestions
from si_embodied.training.reasoning import with_reasoning
from si_embodied.training.tabletop_questions import TabletopQuestions

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np

    from si_embodied.training.annotations import Annotation, VisibleObject
    from si_embodied.training.questions import Question, QuestionCounts


def draw_questions(
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
        tabletop = LongerQuestions if longer else TabletopQuestions
        draw: TabletopQuestions | ApartmentQuestions | HouseholdQuestions = tabletop(annotation, rng)
    elif isinstance(annotation, HouseholdAnnotation):
        draw = HouseholdQuestions(annotation, rng)
    else:
        draw = ApartmentQuestions(annotation, rng)
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
