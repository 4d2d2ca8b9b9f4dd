"""Runs a suite in a folder: every row's records, one table, one file of results."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from si_embodied.errors import ConfigError
from si_embodied.evaluation.report import conditions, versions, without_nan
from si_embodied.evaluation.session import RECORDS, Session
from si_embodied.live.episodes import live_episodes
from si_embodied.parallel.placement import HERE, Place
from si_embodied.progress import track
from si_embodied.run_lock import locked
from si_embodied.runs import write_json, write_text
from si_embodied.suites.rows import SuiteRow, check_rows
from si_embodied.wording import seeds_in_words

if TYPE_CHECKING:
    from si_embodied.evaluation.report import Comparison, Report
    from si_embodied.evaluation.statistics import PairedComparison
    from si_embodied.suites.settings import Suite

RESULTS, TABLE, ROWS = "results.json", "results.md", "rows"
FORMAT = 1


@dataclass(frozen=True, slots=True)
class Scored:
    """One line of a suite's results: a row, or one of its controls."""

    name: str  # the row's, with the control's behind it
    records: str  # its records, relative to the suite's folder
    report: Report
    paired: PairedComparison | None = None  # of a control: its row's policy first, the control second


@dataclass(frozen=True, slots=True)
class SuiteReport:
    """What a suite came to."""

    suite: Suite
    scores: tuple[Scored, ...]  # those of a row follow each other, the row's own first
    rows: int  # that the suite has; fewer are done if it was interrupted

    @property
    def interrupted(self) -> bool:
        """Whether rows or episodes are missing."""
        done = sum(score.paired is None for score in self.scores)
        return done < self.rows or any(score.report.interrupted for score in self.scores)

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        from dataclasses import asdict

        plain: dict[str, Any] = without_nan({
            "format": FORMAT, "suite": asdict(self.suite), "interrupted": self.interrupted, "versions": versions(),
            "rows": [asdict(score) for score in self.scores],
        })  # fmt: skip
        return plain

    def table(self) -> list[str]:
        """The lines of a Markdown table, and below it what the figures depend on."""
        from si_embodied.benchmarking.results import markdown_rows

        head = ("task", "policy", "n", "success [95%]", "p", "SPL", "steps", "plans", "holds", "plan ms p50")
        suite, seeds = self.suite, range(self.suite.seed, self.suite.seed + self.suite.episodes)
        models = dict.fromkeys(str(score.report.model) for score in self.scores if score.report.model)
        about = f"suite {suite.name}, seeds {seeds_in_words(seeds)}; models: {', '.join(models) or 'none'}"
        more = ["", "interrupted: repeat the command to continue"] if self.interrupted else []
        return [*markdown_rows(head, map(_cells, self.scores)), "", about, *more]


def run_suite(
    suite: Suite, rows: Sequence[SuiteRow], out: Path, *, placement: Place = HERE, videos: int = 0
) -> SuiteReport:
    """Run the episodes that the folder lacks, and write the results after each row.

    Args:
        suite: what to run.
        rows: those that it consists of (`rows_of`).
        out: the folder.
        placement: where the episodes run. Rows with measured latency run here, one episode at a time: workers would
            slow each other's planner down.
        videos: how many to keep of each row, failures first.

    Raises:
        ConfigError: the folder has records with other settings, or rows that the suite lacks; another run is writing
            into it; or a world does not take an argument.
        UnknownNameError: there is no such task.
        EvaluationError: episodes could not be run; those before are recorded.
    """
    check_rows(rows)
    scores: list[Scored] = []
    _check_rows_kept(suite, rows, out)
    with (
        locked(out), track(f"suite {suite.name}", len(rows), unit="rows") as work, placement.kept() as place
    ):  # fmt: skip
        for row in rows:
            where = HERE if row.config.latency == "measured" else place
            folder = out / ROWS / row.folder
            shown = partial(live_episodes, folder)
            session = Session(folder, videos, traces=True, placement=where, audiences=(shown,))
            own, controls = session.run_with_controls(row.config, row.controls)
            scores += _scored(row, own, controls)
            report = SuiteReport(suite, tuple(scores), len(rows))
            _conclude(report, out)
            if own.interrupted or any(each.report.interrupted for each in controls):
                break
            work.advance()
    return report


def records_of(folder: Path) -> dict[str, Path]:
    """The records of each row of a suite's run, by the row's name.

    Raises:
        ConfigError: the folder is not that of a suite's run.
    """
    try:
        results = json.loads((folder / RESULTS).read_text(encoding="utf-8"))
        if isinstance(results, dict) and "rows" not in results:
            raise ConfigError(
                f"{str(folder)!r} is not a suite's run: its {RESULTS} has no rows, as that of `si-embodied eval` and "
                "`report`; give the folder of `si-embodied suite run`"
            )
        return {str(row["name"]): folder / str(row["records"]) for row in results["rows"]}
    except OSError as error:
        raise ConfigError(
            f"{str(folder)!r} is not a suite's run ({RESULTS}: {error.strerror or error}); give the folder of "
            "`si-embodied suite run`"
        ) from error
    except (ValueError, KeyError, TypeError) as error:
        if isinstance(error, ConfigError):
            raise
        raise ConfigError(
            f"{str(folder / RESULTS)!r} is not a suite's results ({error!r}); `si-embodied suite run` writes it again "
            "if it is removed"
        ) from error


def _check_rows_kept(suite: Suite, rows: Sequence[SuiteRow], out: Path) -> None:
    """Refuse to leave out of the results what an earlier run of the folder has measured."""
    if not (out / RESULTS).exists():
        return
    names = {name for row in rows for name in (row.name, *(_control(row, each) for each in row.controls))}
    gone = [name for name in records_of(out) if name not in names]
    if gone:
        raise ConfigError(
            f"{str(out)!r} has results of rows that the suite {suite.name!r} does not have now: {'; '.join(gone)}. "
            "Put them back into the suite, or choose another --out"
        )


def _control(row: SuiteRow, name: str) -> str:
    return f"{row.name}, {name}"


def _scored(row: SuiteRow, own: Report, controls: Sequence[Comparison]) -> list[Scored]:
    folder = f"{ROWS}/{row.folder}"
    stem, _, ending = RECORDS.partition(".")
    return [Scored(row.name, f"{folder}/{RECORDS}", own)] + [
        Scored(_control(row, each.name), f"{folder}/{stem}-{each.name}.{ending}", each.report, each.paired)
        for each in controls
    ]


def _conclude(report: SuiteReport, out: Path) -> None:
    """Write what a suite came to: the one place where its results leave for the disk, also as a page to look at."""
    write_json(out / RESULTS, report.to_json())
    write_text(out / TABLE, "\n".join(report.table()) + "\n")
    if report.suite.protocol:
        from si_embodied.suites.protocol import write_protocol_results

        write_protocol_results(report, out)


def _cells(score: Scored) -> Sequence[str]:
    report = score.report
    low, high = report.wilson95
    world = report.env.rpartition("/")[2].partition("-v")[0]
    return (
        f"{world} {report.task}", ", ".join([report.title, *conditions(report)]), str(report.episodes),
        f"{report.success_rate:.2f} [{low:.2f}, {high:.2f}]" if report.episodes else "–",
        "" if score.paired is None else f"{score.paired.p_value:.2g}",
        "–" if math.isnan(report.spl) else f"{report.spl:.2f}",
        "–" if math.isnan(report.mean_steps) else f"{report.mean_steps:.0f}",
        str(report.plans), str(sum(report.holds.values())),
        f"{report.plan_latency_ms.p50:.0f}" if report.plans else "–",
    )  # fmt: skip
