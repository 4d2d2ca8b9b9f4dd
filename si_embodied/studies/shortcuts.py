"""Shortcuts: how much of a model's score survives without looking, and with the options moved round.

Any checkpoint and any data set of `si-embodied data generate`; and the small planner's own pointing and plans. An
answer with circular options counts only if it is right wherever the right option stands (MMBench, arXiv 2307.06281).
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from si_embodied.backends.local import LocalBackend
from si_embodied.data.audit import audit_type, score
from si_embodied.data.records import read_dataset
from si_embodied.errors import DataError
from si_embodied.evaluation.config import model_fingerprint
from si_embodied.evaluation.statistics import mcnemar
from si_embodied.models.checkpoints import inspect_checkpoint
from si_embodied.runs import JsonLines, claim
from si_embodied.studies.asking import SIGHTS, Asked, Sight
from si_embodied.studies.results import SETTINGS_FILE, Score, write_results
from si_embodied.studies.scaling import questions_by
from si_embodied.studies.tabletops import blanked, load_shards
from si_embodied.training.conversations import fingerprint, load_image, read_records
from si_embodied.training.forward import CELLS
from si_embodied.training.nano import Recipe, Training

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path


NAME = "shortcuts"
CIRCULAR = "circular"
_ANSWERS_FILE = "answers.jsonl"
_DEADLINE_S = 600.0
_IN_PIXELS = "qwen2_5_vl"  # points and boxes in pixels of the resized image: not asked for
_FOR_A_CONSTANT = 10  # questions of a type that `audit_type` needs


@dataclass(frozen=True, slots=True)
class QuestionsRun:
    """Questions to a checkpoint."""

    model: Path
    data: Path  # a folder of `si-embodied data generate`
    out: Path
    count: int | None = None  # the first questions of the data set; types alternate there
    threads: int = 1  # on a CPU
    device: str = "auto"
    dtype: str = "auto"


@dataclass(frozen=True, slots=True)
class OwnRun:
    """The small planner's own pointing and plans, on held-out shards of `train nano`."""

    model: Path
    shards: Path
    images: int = 120  # of each world
    threads: int = 1
    recipe: Recipe | None = None  # for checkpoints of other sizes than the shipped one


def study(
    questions: QuestionsRun | None,
    own: OwnRun | None,
    results: Path,
    *,
    report: Callable[[str], None] = lambda _: None,
) -> dict[str, Any]:
    """Ask what was not asked yet, and write `shortcuts.json`.

    Raises:
        DataError: the data set is broken or empty.
        ConfigError: the folder has another model's answers, or there are no shards.
    """
    settings: dict[str, Any] = {}
    rows: list[dict[str, Any]] = []
    if questions is not None:
        settings |= {"model": model_fingerprint(questions.model), "data": fingerprint([questions.data])}
        rows += asked_questions(questions, report=report)
    if own is not None:
        settings |= {"own_model": model_fingerprint(own.model), "own_images": own.images}
        rows += own_questions(own, report=report)
    return write_results(results / f"{NAME}.json", NAME, settings, rows)


def asked_questions(run: QuestionsRun, *, report: Callable[[str], None] = lambda _: None) -> list[dict[str, Any]]:
    """A row for each type: scores by what was seen, with circular options, and the score of not looking."""
    settings = {"model": model_fingerprint(run.model), "data": fingerprint([run.data]), "dtype": run.dtype}
    claim(run.out / SETTINGS_FILE, settings)
    questions = list(_questions(run))
    lines = JsonLines(run.out / _ANSWERS_FILE)
    known = _scores(lines)
    backend: LocalBackend | None = None
    for number, one in enumerate(questions, start=1):
        for sight, rotation in _conditions(one):
            key = one.labels.id, sight, rotation
            if key in known:
                continue
            if backend is None:
                torch.set_num_threads(run.threads)
                backend = LocalBackend(run.model, device=run.device, dtype=run.dtype)
            rotated = one.rotated(rotation)
            said = backend.generate(rotated.prompt(sight, backend.family), deadline_s=_DEADLINE_S).text
            known[key] = score(said, rotated.labels)
            lines.append({"id": key[0], "sight": sight, "rotation": rotation, "answer": said, "score": known[key]})
        if number % 100 == 0:
            report(f"{number} of {len(questions)} questions")
    groups: dict[str, list[Asked]] = defaultdict(list)
    for one in questions:
        groups[one.labels.type].append(one)
    return [_type_row(name, group, known) for name, group in sorted(groups.items())]


def _questions(run: QuestionsRun) -> Iterator[Asked]:
    in_pixels = inspect_checkpoint(run.model).model_type == _IN_PIXELS
    records = read_records([run.data])
    labels = [label for _, label in read_dataset(run.data)]
    for record, label in list(zip(records, labels, strict=True))[: run.count]:
        if not (in_pixels and label.form in ("point", "box")):
            yield Asked(record.conversation, label, tuple(load_image(record, path) for path in record.images))


def _conditions(one: Asked) -> Iterator[tuple[Sight, int]]:
    """Everything in the original order; with the pictures, all rotations of the options too."""
    yield from ((sight, 0) for sight in SIGHTS)
    yield from (("images", rotation) for rotation in range(1, one.rotations))


def _scores(lines: JsonLines) -> dict[tuple[str, str, int], float]:
    """The scores an earlier run left, by question, sight and rotation."""
    try:
        return {(row["id"], row["sight"], row["rotation"]): float(row["score"]) for row in lines.rows}
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"{str(lines.path)!r} has a line that is not an answer ({error!r}): remove it, or choose another --out"
        ) from None


def _type_row(name: str, group: Sequence[Asked], known: dict[tuple[str, str, int], float]) -> dict[str, Any]:
    labels = group[0].labels
    seen, blank, none = ([known[one.labels.id, sight, 0] for one in group] for sight in SIGHTS)
    scores: dict[str, Score] = {
        sight: Score.of(values) for sight, values in zip(SIGHTS, (seen, blank, none), strict=True)
    }
    row: dict[str, Any] = {"type": name, "capability": labels.capability, "form": labels.form}
    row["chance"] = _chance(group)
    if labels.form != "number":  # right or wrong, so that pairs can be compared
        paired = mcnemar([bool(value) for value in seen], [bool(value) for value in blank])
        row |= {"only_seeing": paired.only_first, "only_blank": paired.only_second}
    if circular := [one for one in group if one.rotations > 1]:
        scores[CIRCULAR] = Score.of(
            min(known[one.labels.id, "images", k] for k in range(one.rotations)) for one in circular
        )
        row["circular_chance"] = float(np.mean([one.rotations**-one.rotations for one in circular]))
    return {**row, "scores": {sight: one.to_json() for sight, one in scores.items()}}


def _chance(group: Sequence[Asked]) -> float | None:
    """The score of guessing: one of the options, or elsewhere the best constant, cross-validated."""
    labels = [one.labels for one in group]
    if labels[0].form == "choice":
        return float(np.mean([1 / len(label.options) for label in labels]))
    if len(group) < _FOR_A_CONSTANT:
        return None
    return audit_type(labels[0].type, [(one.conversation.question, one.labels) for one in group]).chance


def own_questions(run: OwnRun, *, report: Callable[[str], None] = lambda _: None) -> list[dict[str, Any]]:
    """A row for each world: scores of the planner's own questions by kind and by what was seen."""
    model = Training(run.recipe or Recipe(threads=run.threads))
    model.start_from(run.model)
    rows: list[dict[str, Any]] = []
    for world in ("tabletop", "apartment"):
        data = load_shards(run.shards, f"{world}-*")
        chosen = np.arange(min(run.images, len(data)))
        for sight in SIGHTS:
            shown = blanked(data) if sight == "blank" else data
            cells = 0 if sight == "none" else CELLS
            rows += [
                {"own": world, "sight": sight, **row}
                for row in questions_by(model.mean, [(shown, chosen)], cells=cells)
            ]
        report(f"own questions, {world}: {len(chosen)} images")
    return rows
