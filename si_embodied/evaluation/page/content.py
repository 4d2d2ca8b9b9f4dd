"""What the page says, as values: the template only lays them out."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from si_embodied import __version__
from si_embodied.evaluation.failures import FAILURE_KINDS
from si_embodied.evaluation.page.conditions import AllConditions, conditions_of, seeds, stretches
from si_embodied.evaluation.page.episodes import Budget, EpisodeList, episode_lists
from si_embodied.evaluation.page.groups import Group, Row
from si_embodied.evaluation.page.plots import difficulty_chart, failure_chart, latency_chart, success_chart
from si_embodied.evaluation.report import UNITS
from si_embodied.reasons import MEANINGS
from si_embodied.types import Code

_NONE = "–"


@dataclass(frozen=True, slots=True)
class ScoreRow:
    """A run in the table of scores, as text."""

    title: str
    n: str
    success: str
    spl: str
    steps: str
    plans: str
    holds: str
    latency: str
    tokens: str
    alone: str
    p: str


@dataclass(frozen=True, slots=True)
class ScoreGroup:
    """Runs that are compared."""

    title: str
    rows: tuple[ScoreRow, ...]


@dataclass(frozen=True, slots=True)
class Table:
    """A table whose rows begin with a name."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True)
class Chart:
    """A chart, and what it shows in words."""

    title: str
    words: str
    chart: str  # SVG


@dataclass(frozen=True, slots=True)
class HoldLine:
    """How often a run held for a reason."""

    run: str
    number: int
    name: str
    count: int
    share: str
    meaning: str


@dataclass(frozen=True, slots=True)
class LatencyLine:
    """How long a part of a plan took."""

    part: str
    p50: str
    p90: str
    p99: str
    largest: str


@dataclass(frozen=True, slots=True)
class LatencyGroup:
    """How long the plans of a run took, the whole plan first."""

    run: str
    parts: tuple[LatencyLine, ...]


@dataclass(frozen=True, slots=True)
class PageContent:
    """The page."""

    title: str
    subtitle: str
    notes: tuple[str, ...]
    groups: tuple[ScoreGroup, ...]
    success_chart: str
    difficulties: tuple[Chart, ...]
    metrics: tuple[Table, ...]  # one for each group that has any
    failures: Table
    failure_chart: str
    holds: tuple[HoldLine, ...]
    latencies: tuple[LatencyGroup, ...]
    latency_chart: str
    episodes: tuple[EpisodeList, ...]
    conditions: AllConditions
    results_name: str
    version: str = __version__


def make_content(groups: Sequence[Group], page: Path, results_name: str) -> PageContent:
    """Everything that the page shows.

    Args:
        groups: the runs.
        page: the file that will be written, for links to videos.
        results_name: of the JSON file beside it.
    """
    rows = [(_name(group, row, groups), row) for group in groups for row in group.rows]
    failed = [(name, row) for name, row in rows if row.failures]
    planning = [(name, row) for name, row in rows if row.report.plans]
    episodes = sum(row.report.episodes for _, row in rows)
    worlds = ", ".join(dict.fromkeys(group.title for group in groups))
    return PageContent(
        title=f"Evaluation: {worlds}",
        subtitle=f"{len(rows)} {'run' if len(rows) == 1 else 'runs'}, {episodes} episodes",
        notes=tuple(_notes(rows)),
        groups=tuple(score_group(group) for group in groups),
        success_chart=success_chart(groups),
        difficulties=tuple(_difficulty(group) for group in groups if group.main.difficulty),
        metrics=tuple(table for group in groups for table in _metrics(group)),
        failures=_failures(failed),
        failure_chart=failure_chart(failed) if failed else "",
        holds=tuple(line for name, row in planning for line in _holds(name, row)),
        latencies=tuple(LatencyGroup(name, tuple(_latencies(row))) for name, row in planning),
        latency_chart=latency_chart(planning) if planning else "",
        episodes=tuple(episode_lists(groups, page, Budget())),
        conditions=conditions_of(groups),
        results_name=results_name,
    )


def _name(group: Group, row: Row, groups: Sequence[Group]) -> str:
    return row.report.title if len(groups) == 1 else f"{group.title}: {row.report.title}"


def _notes(rows: Sequence[tuple[str, Row]]) -> Iterator[str]:
    """What a reader has to know before the figures."""
    few = [row for _, row in rows if 0 < row.report.episodes < 30]
    if few:
        yield "fewer than 30 episodes are a demonstration and not a measurement; look at the intervals."
    for name, row in rows:
        if len(stretches(row.run.seeds)) > 1:
            yield f"{name}: several commands ran into this folder, with seeds {seeds(row)}; n counts all of them."
        if row.report.lost:
            yield f"{name}: {row.report.lost} episodes were lost by the simulator and count nowhere."
        if row.report.episodes + row.report.lost < row.report.asked:
            yield f"{name}: {row.report.episodes} of {row.report.asked} episodes have been run."
    for name, row in rows:
        versus = row.comparison
        if versus is not None and row.report.control == "blank" and versus.paired.p_value >= 0.05:
            yield f"{name}: nothing shows that the planner beats its black images (p = {versus.paired.p_value:.2g})."


def score_group(group: Group) -> ScoreGroup:
    """A group's scores, as text."""
    return ScoreGroup(group.title, tuple(_score_row(row) for row in group.rows))


def _score_row(row: Row) -> ScoreRow:
    report, versus = row.report, row.comparison
    low, high = report.wilson95
    rate = f"{report.success_rate:.2f} [{low:.2f}, {high:.2f}]" if report.episodes else _NONE
    planned = report.plans > 0
    return ScoreRow(
        title=report.title,
        n=f"{report.episodes}",
        success=rate,
        spl=_number(report.spl, ".2f"),
        steps=_number(report.mean_steps, ".0f"),
        plans=f"{report.plans}" if planned else _NONE,
        holds=f"{sum(report.holds.values())}" if planned else _NONE,
        latency=f"{report.plan_latency_ms.p50:.0f} / {report.plan_latency_ms.p99:.0f}" if planned else _NONE,
        tokens=_number(report.completion_tokens, ".0f"),
        alone=_NONE if versus is None else f"{versus.paired.only_first} / {versus.paired.only_second}",
        p=_NONE if versus is None else f"{versus.paired.p_value:.2g}",
    )


def _difficulty(group: Group) -> Chart:
    shares = group.main.difficulty
    words = ", ".join(f"{share.label}: {share.successes} of {share.episodes}" for share in shares)
    return Chart(
        f"{group.title}, {group.main.report.title}", f"Successes by difficulty. {words}", difficulty_chart(group)
    )


def _metrics(group: Group) -> Iterator[Table]:
    """The worlds' other measures; each world has its own, so each group has a table."""
    names = tuple(dict.fromkeys(name for row in group.rows for name in row.report.metrics))
    lines = [
        (row.report.title, *(_number(row.report.metrics.get(name, math.nan), ".3g") for name in names))
        for row in group.rows
    ]
    if names:
        yield Table(
            group.title, tuple(f"{name}, {UNITS[name]}" if name in UNITS else name for name in names), tuple(lines)
        )


def _failures(rows: Sequence[tuple[str, Row]]) -> Table:
    kinds = tuple(kind for kind in FAILURE_KINDS if any(kind in row.failures for _, row in rows))
    lines = [(name, *(str(row.failures.get(kind, 0)) for kind in kinds)) for name, row in rows]
    return Table("", kinds, tuple(lines))


def _holds(name: str, row: Row) -> Iterator[HoldLine]:
    for code_name, count in row.report.holds.items():
        code = Code[code_name]
        yield HoldLine(name, int(code), code_name, count, f"{100 * count / row.report.plans:.0f}%", MEANINGS[code])


def _latencies(row: Row) -> Iterator[LatencyLine]:
    plans = [plan.record.latency_s for episode in row.run.episodes for plan in episode.plans]
    for part in sorted(row.report.latency_ms_by_part, key=lambda part: part != "total"):
        values = 1000 * np.array([latency[part] for latency in plans if part in latency])
        yield LatencyLine(part, *(f"{value:.1f}" for value in np.percentile(values, [50, 90, 99, 100])))


def _number(value: float, form: str) -> str:
    return _NONE if math.isnan(value) else format(value, form)
