"""The report on a run: a row per task and sight, with interval, control, cost and prompts; as JSON and as a table."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from si_embodied.benchmarking.answering import Answer
from si_embodied.benchmarking.benchmarks import Benchmark, Task
from si_embodied.benchmarking.circular import joined
from si_embodied.benchmarking.harness import Scored
from si_embodied.benchmarking.messages import SIGHTS, Sight
from si_embodied.benchmarking.results import markdown_rows
from si_embodied.benchmarking.scores import Piece, interval, mean_of
from si_embodied.evaluation.statistics import mean, percentiles, sign_flip
from si_embodied.models.registry import find_release

ALL_PARTS = "all parts"
"""The task in the row of a benchmark that has several."""

_SHOWN: Mapping[Sight, str] = {"images": "images", "blank": "blank images", "none": "no images"}


@dataclass(frozen=True, slots=True)
class Row:
    """What a model scores on one task with one sight; scores are in percent."""

    benchmark: str
    task: str
    metric: str
    sight: Sight
    questions: int  # that were asked
    scored: int  # of which an interval was made: the rotations of a question are one
    score: float
    low: float  # 95% interval
    high: float
    interval: str  # how it was made
    seconds_p50: float  # per question
    seconds_p99: float
    prompt_tokens: float  # mean
    completion_tokens: float  # mean
    prompts_sha256: str  # of all prompts, in the data set's order
    chance: float | None = None  # the score of random letters in percent, where each question is right or wrong
    p_value: float | None = None  # of the images' score being equal, on the same questions; None: not comparable


@dataclass(frozen=True, slots=True)
class Measured:
    """A row, and what it was made of."""

    row: Row
    pieces: tuple[Piece, ...]
    answers: tuple[Answer, ...]


def measure(name: str, task: Task, sight: Sight, scored: Scored, answers: Sequence[Answer]) -> Measured:
    """One task with one sight.

    Raises:
        RecordError: lmms-eval's files lack the metric.
        DataError: they contradict each other.
    """
    score = scored.metric(task.metric) / (100 if task.percent else 1)
    samples = sorted(scored.samples, key=lambda sample: int(sample["doc_id"]))
    pieces = tuple(task.pieces(samples, score))
    return Measured(
        _row(name, task.name, task.metric, sight, len(samples), score, pieces, answers), pieces, (*answers,)
    )


def measure_circular(
    name: str, task: Task, sight: Sight, scored: Scored, counts: Sequence[int], answers: Sequence[Answer]
) -> tuple[Measured, Measured]:  # fmt: skip
    """A task's multiple-choice questions as the data set has them, and in every rotation of their options.

    A question counts as right if lmms-eval scores every rotation as right.

    Args:
        name: the benchmark.
        task: whose questions were rotated.
        sight: what the model saw.
        scored: lmms-eval's scores of the rotations.
        counts: the number of options of each question.
        answers: to all rotations.

    Raises:
        DataError: a rotation is missing.
    """
    samples = sorted(scored.samples, key=lambda sample: int(sample["doc_id"]))
    asked = joined(task.pieces(samples, math.nan), counts)
    first = {each.first for each in asked}

    def counted(kind: str, right: list[bool], chance: list[float], given: Sequence[Answer]) -> Measured:
        pieces = tuple(Piece(float(each)) for each in right)
        row = _row(name, f"{task.name}, {kind}", kind, sight, len(given), mean_of(pieces), pieces, given)
        return Measured(replace(row, chance=100 * mean(chance)), pieces, (*given,))

    return (
        counted(
            "once", [each.right[0] for each in asked], [each.chance for each in asked],
            [answer for answer in answers if answer.document in first],
        ),
        counted("circular", [all(each.right) for each in asked], [each.chance_of_all for each in asked], answers),
    )  # fmt: skip


def join(parts: Sequence[Measured]) -> Measured:
    """The parts of a benchmark as one score: that of all their questions together.

    For chance-adjusted accuracy this is what was gained in all parts, of what could be gained in all (SITE-Bench,
    arXiv 2505.05456), so that each part counts by its questions.

    Args:
        parts: of one benchmark, with one sight.
    """
    pieces = tuple(piece for part in parts for piece in part.pieces)
    answers = tuple(answer for part in parts for answer in part.answers)
    first, asked = parts[0].row, sum(part.row.questions for part in parts)
    row = _row(first.benchmark, ALL_PARTS, first.metric, first.sight, asked, mean_of(pieces), pieces, answers)
    return Measured(row, pieces, answers)


def _row(
    name: str, task: str, metric: str, sight: Sight, asked: int, score: float, pieces: tuple[Piece, ...],
    answers: Sequence[Answer],
) -> Row:  # fmt: skip
    bounds = interval(pieces, score)
    took = percentiles([answer.seconds for answer in answers])
    prompts = "".join(answer.prompt for answer in sorted(answers, key=lambda each: (each.task, each.document)))
    return Row(
        name, task, metric, sight, asked, len(pieces), 100 * score, 100 * bounds.low, 100 * bounds.high,
        bounds.method, took.p50, took.p99, mean([answer.prompt_tokens for answer in answers]),
        mean([answer.completion_tokens for answer in answers]), hashlib.sha256(prompts.encode()).hexdigest(),
    )  # fmt: skip


def compare(found: Mapping[Sight, Measured]) -> list[Row]:
    """A row per sight; each control is compared with the images, question by question, if questions have a score."""
    images = found.get("images")
    rows = []
    for sight, measured in found.items():
        row = measured.row
        if images is not None and sight != "images" and _same(images, measured):
            gained = [[piece.gained for piece in each.pieces] for each in (images, measured)]
            row = replace(row, p_value=sign_flip(*gained).p_value)
        rows.append(row)
    return rows


def _same(images: Measured, control: Measured) -> bool:
    """Whether both have a score of each question, which lmms-eval does not log for MMBench."""
    asked = images.row.questions if images.row.chance is None else images.row.scored
    return len(images.pieces) == len(control.pieces) == asked


@dataclass(frozen=True, slots=True)
class SpatialReport:
    """All rows, and what they depend on."""

    model: str
    kernel: str
    dtype: str
    settings: Mapping[str, Any]
    versions: Mapping[str, str]  # in lmms-eval's environment
    published: Mapping[str, tuple[str, ...]]  # by benchmark: figures of the paper and the model's card
    rows: tuple[Row, ...]

    def table(self) -> list[str]:
        """A Markdown table, and below it the published figures and what the scores depend on."""
        head = ("task", "sight", "n", "score, % [95% interval]", "chance, %", "p", "s per question", "tokens in, out")
        lines = markdown_rows(head, map(_cells, self.rows))
        figures = [f"- {name}: {figure}" for name, given in self.published.items() for figure in given]
        made = ", ".join(f"{name} {version}" for name, version in self.versions.items())
        about = f"{self.model}, attention kernel {self.kernel}, {self.dtype}; greedy; {made}"
        return [*lines, "", "Published, not measured here:", *figures, "", about]


def published(benchmarks: Mapping[str, Benchmark], model: str) -> dict[str, tuple[str, ...]]:
    """The figures to set beside the scores: the paper's, and the mean on the card of a released model."""
    figures = {name: benchmark.published for name, benchmark in benchmarks.items()}
    if (release := find_release(model.rpartition("/")[2].partition("@")[0])) is not None:
        figures["EASI-8 mean"] = (f"{release.easi8} (model card of {release.hub_id})",)
    return figures


def in_order(rows: Sequence[Row]) -> tuple[Row, ...]:
    """Rows by task, each with the images first."""
    tasks = list(dict.fromkeys(row.task for row in rows))
    return tuple(sorted(rows, key=lambda row: (tasks.index(row.task), SIGHTS.index(row.sight))))


def _cells(row: Row) -> list[str]:
    p = "" if row.p_value is None else f"{row.p_value:.3g}"
    n = str(row.scored) if row.scored == row.questions else f"{row.scored} ({row.questions} asked)"
    score = f"{row.score:.1f} [{row.low:.1f}, {row.high:.1f}] {row.interval}"
    chance = "" if row.chance is None else f"{row.chance:.3g}"
    tokens = f"{row.prompt_tokens:.0f}, {row.completion_tokens:.1f}"
    return [f"{row.benchmark}: {row.task}", _SHOWN[row.sight], n, score, chance, p, f"{row.seconds_p50:.2f}", tokens]
