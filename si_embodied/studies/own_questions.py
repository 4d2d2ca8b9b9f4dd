"""The small planner's own questions, on the shards of `si-embodied train nano`: pointing and plans, scored by kind.

Studies of generalisation keep some (colour, shape) pairs out of training: `UNSEEN_PAIRS`.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from si_embodied.errors import ConfigError
from si_embodied.studies.results import Score, total
from si_embodied.training.annotations import Annotation, TabletopAnnotation
from si_embodied.training.architecture import GRID
from si_embodied.training.examples import Labelled, load
from si_embodied.training.forward import CELLS
from si_embodied.training.measure import verdicts
from si_embodied.training.nano_settings import IMAGE_PROMPTS
from si_embodied.training.questions import Question
from si_embodied.training.vocabulary import CATEGORIES, COLOURS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from numpy.typing import NDArray

    from si_embodied.config import Prompts

WORLDS = ("tabletop", "apartment")
KINDS = {
    "point pick": "point at a thing",
    "point place": "point at a container",
    "base": "plan: into a container",
    "beside": "plan: beside a thing",
    "container": "plan: one of two containers",
    "extreme": "plan: the leftmost, nearest",
    "stack": "plan: stack",
    "point goto": "point at furniture",
    "goto": "plan: drive to it",
    "explore": "plan: look on",
}
"""The kinds of questions, as tables name them. A plan is right if nothing in it is wrong."""
POINTING = tuple(kind for kind in KINDS if kind.startswith("point"))
PLANS = tuple(kind for kind in KINDS if kind not in POINTING)
UNSEEN_PAIRS = (
    "red cube", "green cylinder", "blue triangular prism", "yellow hexagonal prism", "purple long block",
    "orange cross",
)  # fmt: skip
"""Six of 42 pairs, one per colour: training shows each colour on other shapes, and each shape in other colours."""


# --- scores ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class KindScore(Score):
    """The share of questions of one kind, in one group, that are answered without a mistake."""

    kind: str  # one of `KINDS`
    group: str  # "all", or whether training showed the pair


def score_questions(
    model: Any,
    tests: Iterable[tuple[Labelled, NDArray[np.int64]]],
    group: Callable[[Question], str] = lambda _: "all",
    cells: int = CELLS,
    prompts: Prompts = IMAGE_PROMPTS,
) -> tuple[KindScore, ...]:
    """Score a model's answers by kind and group.

    Args:
        model: of the small planner's architecture.
        tests: images, and which of their rows to ask about.
        group: names a question's group.
        cells: how many cells of an image the model sees, as in `verdicts`.
        prompts: those that it was trained with.
    """
    right: dict[tuple[str, str], list[bool]] = defaultdict(list)
    for data, rows in tests:
        for verdict in verdicts(model, data, rows, cells=cells, prompts=prompts):
            right[verdict.question.kind, group(verdict.question)].append(verdict.right)
    return tuple(
        KindScore(kind=kind, group=name, **asdict(Score.of(values))) for (kind, name), values in sorted(right.items())
    )


def together(
    questions: Iterable[KindScore], kinds: Iterable[str] | str | None = None, group: str | None = None
) -> Score:
    """The questions of some kinds, or of one group; all by default."""
    chosen = None if kinds is None else {kinds} if isinstance(kinds, str) else set(kinds)
    return total(one for one in questions if (chosen is None or one.kind in chosen) and group in (None, one.group))


def kinds_in(questions: Iterable[KindScore]) -> list[str]:
    """The kinds that were asked, in the order of `KINDS`."""
    asked = {one.kind for one in questions if one.count}
    return [kind for kind in KINDS if kind in asked]


# --- images ---------------------------------------------------------------------------------------------------------


def load_shards(directory: Path, pattern: str) -> Labelled:
    """Load the shards that match a pattern, labelled with the small model's vocabulary.

    Raises:
        ConfigError: there are none.
    """
    return load(directory, CATEGORIES, COLOURS, GRID, pattern)


def first_images(shards: Path, world: str, count: int) -> list[tuple[Labelled, NDArray[np.int64]]]:
    """The first `count` images of a world, shard by shard, because all training images would not fit in memory."""
    tests: list[tuple[Labelled, NDArray[np.int64]]] = []
    for file in sorted(shards.glob(f"{world}-*.json")):
        if count <= 0:
            break
        data = load_shards(shards, file.stem)
        tests.append((data, np.arange(min(count, len(data)))))
        count -= len(data)
    return tests


def blanked(data: Labelled) -> Labelled:
    """The same questions about black images."""
    return replace(data, images=np.zeros_like(data.images))


# --- unseen pairs ---------------------------------------------------------------------------------------------------


def without_unseen_pairs(data: Labelled, count: int) -> Labelled:
    """The first `count` images with no unseen pair on the table, so that smaller sets are part of larger ones.

    Raises:
        ConfigError: there are fewer.
    """
    rows = [row for row, note in enumerate(data.annotations) if not shows_unseen_pair(note)]
    if count > len(rows):
        raise ConfigError(
            f"{count} images without the unseen pairs were asked for, but of {len(data)} there are {len(rows)}: render "
            "more (`si-embodied train nano --tabletops N`), or give fewer --images"
        )
    return _take(data, rows[:count])


def with_unseen_pairs(data: Labelled, count: int) -> Labelled:
    """The first `count` images, or as many as there are, with an unseen pair on the table."""
    return _take(data, [row for row, note in enumerate(data.annotations) if shows_unseen_pair(note)][:count])


def _take(data: Labelled, rows: list[int]) -> Labelled:
    chosen = np.array(rows, dtype=np.int64)
    arrays = {name: getattr(data, name)[chosen] for name in ("world", "images", "instances", "labels")}
    return replace(data, **arrays, annotations=tuple(data.annotations[row] for row in rows))


def shows_unseen_pair(note: Annotation) -> bool:
    """Whether an object of an unseen pair stands on the table, visible or not."""
    hidden = note.pick if isinstance(note, TabletopAnnotation) else ()
    return any(name in UNSEEN_PAIRS for name in (*(one.name for one in note.objects), *hidden))


def names_unseen_pair(question: Question) -> bool:
    """Whether the question, or the plan that answers it, is about an object of an unseen pair."""
    return mentions_unseen_pair(f"{question.instruction or ''} {question.answer}")


def mentions_unseen_pair(text: str) -> bool:
    """Whether a text names an unseen pair."""
    return any(pair in text for pair in UNSEEN_PAIRS)
