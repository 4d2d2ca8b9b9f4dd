"""Transfer: does a checkpoint with better scores on spatial questions also succeed more often in the closed loop?

Several checkpoints answer the same questions about images and play the same episodes. The rank correlation of score
and success tells whether the questions predict success (`correlation`).
"""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias

import numpy as np
from pydantic import TypeAdapter

from si_embodied.benchmarking.report import SpatialReport
from si_embodied.data.questions.base import CAPABILITIES
from si_embodied.errors import ConfigError, RecordError
from si_embodied.evaluation.config import model_fingerprint
from si_embodied.evaluation.statistics import Z_95
from si_embodied.runs import JsonLines
from si_embodied.studies import own_questions as own
from si_embodied.studies.asking import as_posed, ask_all
from si_embodied.studies.correlation import Outcomes, RankCorrelation, Reported, rank_correlation
from si_embodied.studies.playing import Played, evaluation, play
from si_embodied.studies.plots import COLOURS, bars, percent_axis
from si_embodied.studies.results import Rate, Results, Score, markdown
from si_embodied.studies.settings import PlannerRun, QuestionsRun, TransferRun
from si_embodied.training.measure import verdicts
from si_embodied.training.scenes import digest

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from si_embodied.studies.results import Say

_FEWEST = 3  # checkpoints: two are always in the same order or in opposite ones
_LEVEL = 0.05  # of the p values that the headline counts
_ANSWERS_FILE = "own-answers.jsonl"


@dataclass(frozen=True, slots=True)
class ModelRow:
    """One checkpoint."""

    model: str  # its name and a digest of its files
    scores: dict[str, Rate]  # by kind of question
    success: dict[str, Rate]  # by task, as "Tabletop-v0:base"


@dataclass(frozen=True, slots=True)
class Link:
    """How one score goes with success at one task, over all checkpoints."""

    score: str
    task: str
    correlation: RankCorrelation | None  # None if all checkpoints tie


_Column: TypeAlias = tuple[list[Rate], Outcomes | Reported]
"""One score, or the success at one task, of each checkpoint: as tables show it, and to draw from."""


# --- measuring ------------------------------------------------------------------------------------------------------


def study(run: TransferRun, results: Path, *, report: Say = lambda _: None) -> TransferResults:
    """Ask and play what was not asked and played before, and write `transfer.json`.

    Raises:
        ConfigError: there are too few checkpoints, or no questions; or results are of other checkpoints or settings.
        DataError: the data set is broken.
        RecordError: a folder holds no results of `benchmark spatial`.
        UnknownNameError: there is no such world or task.
    """
    models = _checkpoints(run)
    scores = _answers(run, models, report) | _reported(run.benchmark_results, list(models))
    success = {task: _success(run, models, task, report) for task in run.tasks}
    rows = [
        ModelRow(
            model,
            {name: rates[number] for name, (rates, _) in scores.items()},
            {task: rates[number] for task, (rates, _) in success.items()},
        )
        for number, model in enumerate(models)
    ]
    links = [
        Link(name, task, rank_correlation(score, won))
        for task, (_, won) in success.items()
        for name, (_, score) in scores.items()
    ]
    return TransferResults(run.settings(), tuple(rows), links=tuple(links)).write(results / "transfer.json")


def _checkpoints(run: TransferRun) -> dict[str, Path]:
    """The checkpoints by name and digest."""
    if missing := [str(path) for path in run.models if not path.is_dir()]:
        raise ConfigError(f"no checkpoint in {', '.join(missing)}: give folders of checkpoints as --models")
    models = {model_fingerprint(path): path for path in run.models}
    if len(models) < _FEWEST:
        raise ConfigError(
            f"expected at least {_FEWEST} different checkpoints to rank, got: {len(models)}; give --models DIR DIR DIR"
        )
    if run.shards is None and run.data is None and not run.benchmark_results:
        raise ConfigError("no questions to score: give --shards, --data or --benchmark-results, or several of them")
    return models


def _measured(outcomes: Sequence[Sequence[float]]) -> _Column:
    """A checkpoint's outcomes per row, of the same questions or seeds."""
    return [Rate.of(row) for row in outcomes], Outcomes(np.asarray(outcomes, np.float64))


def _answers(run: TransferRun, models: Mapping[str, Path], report: Say) -> dict[str, _Column]:
    """The checkpoints' answers by kind of question."""
    lines = JsonLines(run.out / _ANSWERS_FILE)
    found: dict[str, list[Sequence[float]]] = defaultdict(list)
    for model, path in models.items():
        asked = _own_answers(run, run.shards, path, model, lines) if run.shards else {}
        if run.data:
            questions = QuestionsRun(path, run.data, run.out / model, run.questions, run.threads)
            asked |= _data_answers(questions, report)
        for name, values in asked.items():
            found[name].append(values)
            report(f"{model}, {name}: {Score.of(values)}")
    return {name: _measured(rows) for name, rows in found.items()}


def _own_answers(run: TransferRun, shards: Path, path: Path, model: str, lines: JsonLines) -> dict[str, list[float]]:
    """The small planner's pointing and plans in each world; 1 where nothing in an answer is wrong."""
    key = {"model": model, "shards": digest(shards), "images": run.images}
    for line in lines.rows:
        if key.items() <= {name: line.get(name) for name in key}.items():
            return dict(line["answers"])
    planner = PlannerRun(path, shards, run.images, run.threads, run.recipe)
    loaded = planner.load()
    answers: dict[str, list[float]] = defaultdict(list)
    for world in own.WORLDS:
        for data, rows in own.first_images(shards, world, run.images):
            for verdict in verdicts(loaded, data, rows, prompts=planner.prompts):
                what = "pointing" if verdict.question.kind in own.POINTING else "plans"
                answers[f"{what}, {world}"].append(int(verdict.right))
    if not answers:
        raise ConfigError(
            f"no shards of `train nano` in {str(shards)!r}: give a folder such as runs/nano/data/held_out"
        )
    lines.append({**key, "answers": answers})
    return answers


def _data_answers(run: QuestionsRun, report: Say) -> dict[str, list[float]]:
    """The data engine's questions by capability."""
    questions, scores = ask_all(run, controls=False, report=report)
    answers: dict[str, list[float]] = defaultdict(list)
    for one in questions:
        answers[CAPABILITIES[one.labels.capability]].append(scores[as_posed(one)])
    return answers


def _reported(folders: Sequence[Path], models: Sequence[str]) -> dict[str, _Column]:
    """The benchmarks' scores with images."""
    reports = _reports(folders, models) if folders else []
    found: dict[str, list[Rate]] = defaultdict(list)
    for each in reports:
        for row in each.rows:
            if row.sight == "images":
                found[row.task].append(Rate(row.scored, row.score / 100, row.low / 100, row.high / 100))
    if reports and not found:
        raise ConfigError("the benchmark results have no scores with images: run the benchmark with --sights images")
    columns: dict[str, _Column] = {}
    for task, rates in found.items():
        if len(rates) < len(models):
            raise ConfigError(f"{len(rates)} of {len(models)} benchmark results have {task!r}: run it for each of them")
        errors = np.array([(rate.high - rate.low) / (2 * Z_95) for rate in rates])
        columns[task] = rates, Reported(np.array([rate.mean for rate in rates]), errors)
    return columns


def _reports(folders: Sequence[Path], models: Sequence[str]) -> list[SpatialReport]:
    """A report for each checkpoint, in their order, all with the same settings."""
    found = {folder: _read_report(folder) for folder in folders}
    by_model = {str(report.settings.get("model")): report for report in found.values()}
    if sorted(by_model) != sorted(models) or len(found) != len(models):
        raise ConfigError(
            f"expected benchmark results of each of {sorted(models)} once, got those of "
            f"{[str(report.settings.get('model')) for report in found.values()]}"
        )
    settings = [{**report.settings, "model": None} for report in found.values()]
    if any(each != settings[0] for each in settings):
        raise ConfigError(f"expected benchmark results with the same settings, got: {settings}")
    return [by_model[model] for model in models]


def _read_report(folder: Path) -> SpatialReport:
    file = folder / "results.json"
    try:
        return TypeAdapter(SpatialReport).validate_python(json.loads(file.read_text(encoding="utf-8")))
    except (OSError, ValueError) as error:
        raise RecordError(
            f"no results of `si-embodied benchmark spatial` in {str(file)!r} ({error}): run it with this --out first"
        ) from error


def _success(run: TransferRun, models: Mapping[str, Path], task: str, report: Say) -> _Column:
    """The checkpoints' success at a task, on the seeds that no checkpoint lost."""
    played = []
    for model, path in models.items():
        config = evaluation(replace(run, model=path), task, "planner")
        records = run.out / model / f"{config.world}-{config.task}.jsonl"
        played.append(Played.of(play(config, records, workers=run.workers)))
        report(f"{model}, {task}: {played[-1].score}")
    shared = sorted(set.intersection(*(set(one.seeds) for one in played)))
    return _measured([one.on(shared).success for one in played])


# --- reporting ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class TransferResults(Results):
    """Rows by checkpoint, and the correlations over them."""

    name: ClassVar[str] = "transfer"
    rows: tuple[ModelRow, ...]
    links: tuple[Link, ...] = ()

    def headline(self) -> str:
        """The range of the correlations, and how many of them are unlikely to be chance."""
        found = [link.correlation for link in self.links if link.correlation is not None]
        if not found:
            return f"Score and success over {len(self.rows)} checkpoints: all of them tie"
        least, most = min(each.tau for each in found), max(each.tau for each in found)
        unlikely = sum(each.p_value < _LEVEL for each in found)
        return (
            f"Score and success over {len(self.rows)} checkpoints: Kendall's tau from {least:.2f} to {most:.2f}; "
            f"{unlikely} of {len(found)} with p < {_LEVEL:g}"
        )

    def table(self) -> list[str]:
        """A line per checkpoint, then a line per score and task."""
        names, tasks = list(self.rows[0].scores), list(self.rows[0].success)
        models = [
            [row.model, *(str(row.scores[name]) for name in names), *(f"**{row.success[task]}**" for task in tasks)]
            for row in self.rows
        ]
        links = [[link.task, link.score, *_words(link.correlation)] for link in self.links]
        head = ("task", "score", "Kendall's tau (95% interval)", "p (permutation)")
        return [*markdown(["checkpoint", *names, *tasks], models), "", *markdown(head, links)]

    def draw(self, figure: Any) -> None:
        """A panel per task: success over score, a mark per checkpoint and score."""
        tasks, names = list(self.rows[0].success), list(self.rows[0].scores)
        figure.set_size_inches(4 * len(tasks) + 1, 5)
        panels = figure.subplots(1, len(tasks), sharey=True, squeeze=False)[0]
        for task, axes in zip(tasks, panels, strict=True):
            for number, name in enumerate(names):
                x, across = bars([row.scores[name] for row in self.rows])
                y, along = bars([row.success[task] for row in self.rows])
                axes.errorbar(
                    x, y, along, across, marker="o^sDvP*"[number % 7], color=COLOURS[number % 7], linestyle="",
                    elinewidth=0.6, label=name,
                )  # fmt: skip
            axes.set_title(task, loc="left")
            axes.set_xlim(-2, 102)
            axes.set_xlabel("score, % (95% interval)")
        percent_axis(panels[0], "success, % (95% interval)")
        figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=4)


def _words(found: RankCorrelation | None) -> tuple[str, str]:
    """A correlation and its p value, as tables show them."""
    if found is None:
        return "– (all tie)", "–"
    return f"{found.tau:.2f} ({found.low:.2f} to {found.high:.2f})", f"{found.p_value:.2g}"
