"""The question types, one file a capability; importing this registers them all."""

from si_embodied.data.questions import (
    assembly,
    grounding,
    metric,
    perspective,
    planning,
    reasoning,
    reconstruction,
    relation,
)
from si_embodied.data.questions.base import (
    CAPABILITIES,
    LETTERS,
    LeftOut,
    Question,
    QuestionType,
    Slot,
    question_types,
)

__all__ = [
    "CAPABILITIES",
    "LETTERS",
    "LeftOut",
    "Question",
    "QuestionType",
    "Slot",
    "assembly",
    "grounding",
    "metric",
    "perspective",
    "planning",
    "question_types",
    "reasoning",
    "reconstruction",
    "relation",
]
