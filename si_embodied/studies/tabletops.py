"""The tabletop pictures that studies train and measure on, and which (colour, shape) pairs training never shows."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from si_embodied.errors import ConfigError
from si_embodied.training.annotations import Annotation, TabletopAnnotation
from si_embodied.training.architecture import GRID
from si_embodied.training.examples import Labelled, load
from si_embodied.training.questions import Question
from si_embodied.training.vocabulary import CATEGORIES, COLOURS

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

UNSEEN_PAIRS = (
    "red cube", "green cylinder", "blue triangular prism", "yellow hexagonal prism", "purple long block",
    "orange cross",
)  # fmt: skip
"""Of 42 pairs, one with each colour: the colour is known from other shapes, the shape from other colours."""


def load_shards(directory: Path, pattern: str) -> Labelled:
    """The shards of a pattern, labelled in the small model's words.

    Raises:
        ConfigError: there is none.
    """
    return load(directory, CATEGORIES, COLOURS, GRID, pattern)


def take(data: Labelled, rows: NDArray[np.int64]) -> Labelled:
    """Some images, in the order of `rows`."""
    arrays = {name: getattr(data, name)[rows] for name in ("world", "images", "instances", "labels")}
    return replace(data, **arrays, annotations=tuple(data.annotations[row] for row in rows))


def blanked(data: Labelled) -> Labelled:
    """The same questions about black images."""
    return replace(data, images=np.zeros_like(data.images))


def shows_unseen_pair(note: Annotation) -> bool:
    """Whether a thing of a held-out pair stands on the table, in sight or not."""
    return any(thing.name in UNSEEN_PAIRS for thing in note.objects) or (
        isinstance(note, TabletopAnnotation) and any(name in UNSEEN_PAIRS for name in note.pick)
    )


def names_unseen_pair(question: Question) -> bool:
    """Whether the question, or the plan that answers it, is about a thing of a held-out pair."""
    return mentions_unseen_pair(f"{question.instruction or ''} {question.answer}")


def mentions_unseen_pair(text: str) -> bool:
    """Whether a held-out pair is named in a text."""
    return any(pair in text for pair in UNSEEN_PAIRS)


def without_unseen_pairs(data: Labelled, count: int) -> Labelled:
    """The first `count` images with no held-out pair on the table: smaller sets are parts of larger ones.

    Raises:
        ConfigError: there are not so many.
    """
    rows = np.array([row for row, note in enumerate(data.annotations) if not shows_unseen_pair(note)], dtype=np.int64)
    if count > len(rows):
        raise ConfigError(
            f"{count} images without the held-out pairs are asked for, of {len(data)} there are {len(rows)}: render "
            "more (`si-embodied train nano --tabletops N`), or give fewer --images"
        )
    return take(data, rows[:count])


def with_unseen_pairs(data: Labelled, count: int) -> Labelled:
    """The first `count` images, or as many as there are, with a held-out pair on the table."""
    rows = [row for row, note in enumerate(data.annotations) if shows_unseen_pair(note)]
    return take(data, np.array(rows[:count], dtype=np.int64))
