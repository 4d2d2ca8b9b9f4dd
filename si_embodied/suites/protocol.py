"""EmbodiedBench's own metrics of a suite that follows its protocol, as `si-embodied benchmark embodied` writes them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from si_embodied.benchmarking.embodied.report import ProtocolReport, make_row
from si_embodied.benchmarking.results import write_results
from si_embodied.evaluation.report import versions

if TYPE_CHECKING:
    from pathlib import Path

    from si_embodied.suites.run import SuiteReport


def protocol_reports(report: SuiteReport) -> dict[str, ProtocolReport]:
    """The protocol's report of each world, by the world's name."""
    found: dict[str, ProtocolReport] = {}
    for env in dict.fromkeys(score.report.env for score in report.scores):
        scores = [score for score in report.scores if score.report.env == env]
        rows = tuple(make_row(score.report.task, score.report, score.paired) for score in scores)
        suite = report.suite
        world = env.rpartition("/")[2].partition("-v")[0]
        found[world.lower()] = ProtocolReport(
            env.partition(":")[2] or env, suite.seed, suite.episodes, {}, versions(), rows, report.interrupted
        )
    return found


def write_protocol_results(report: SuiteReport, out: Path) -> None:
    """Write `results.json` and `results.md` with the protocol's metrics into a folder for each world.

    Raises:
        RecordError: a file cannot be written.
    """
    for world, found in protocol_reports(report).items():
        write_results(out / "embodiedbench" / world, found)
