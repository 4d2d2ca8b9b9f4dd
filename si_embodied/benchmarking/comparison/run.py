"""`si-embodied compare`: ask both models the same, play the same episodes, and report."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, replace
from typing import TYPE_CHECKING

from si_embodied.benchmarking.comparison.asking import RECORDS, pairs_of_episodes, pairs_of_recording
from si_embodied.benchmarking.comparison.report import ComparisonReport, Success, distance_of, shift_of, side_of
from si_embodied.benchmarking.comparison.verdict import Criterion, criteria_of
from si_embodied.benchmarking.latency.cold import peak_memory
from si_embodied.errors import BackendError, DataError
from si_embodied.evaluation.records import RecordFile
from si_embodied.evaluation.report import Comparison, compare, make_report, versions
from si_embodied.evaluation.runner import evaluate
from si_embodied.progress import track
from si_embodied.runs import claim, write_json, write_text

if TYPE_CHECKING:
    from si_embodied.backends.config import BackendConfig
    from si_embodied.benchmarking.comparison.decisions import Pair
    from si_embodied.benchmarking.comparison.settings import ComparisonRun
    from si_embodied.benchmarking.latency.memory import Memory
    from si_embodied.evaluation.report import Report

AGAINST_RECORDS = RECORDS.replace(".", "-against.")


def run_comparison(run: ComparisonRun, say: Callable[[str], None] = lambda _: None) -> ComparisonReport:
    """Compare, or continue an interrupted comparison, and write the report.

    Args:
        run: the settings; both models are located on this machine.
        say: takes lines of progress.

    Raises:
        ConfigError: the folder holds another comparison, or a model cannot be asked about a recording.
        DataError: neither model decided anything, or anything in time.
        KeyboardInterrupt: Ctrl-C; finished episodes are kept, and the same command continues.
    """
    claim(run.out / "settings.json", run.identity())
    if run.recording is not None:
        pairs, kind = pairs_of_recording(run)
    else:
        with track("the first model, with the second asked beside it", run.evaluation.episodes) as work:
            pairs, kind = pairs_of_episodes(run, lambda _: work.advance())
    if not pairs:
        raise DataError("the first model made no decision, so that there is nothing to compare; run more --episodes")
    pairs = _decided(pairs, say)
    criteria = criteria_of(pairs, run.thresholds, kind)
    success = None
    if run.recording is None and not run.decisions_only:
        first, second = _success(run)
        success = Success.of(first, second)
        criteria += (Criterion.of_success(second.paired, second.episodes, run.thresholds.margin),)
    say("measuring memory" if not run.no_memory else "memory is not measured")
    memory = [None if run.no_memory else _memory(each, say) for each in (run.model, run.against)]
    report = ComparisonReport(
        side_of([pair.first for pair in pairs], memory[0]), side_of([pair.second for pair in pairs], memory[1]),
        sum(pair.same_plan for pair in pairs), len(pairs), distance_of(pairs), shift_of(pairs),
        success, criteria,
        {**run.identity(), "thresholds": asdict(run.thresholds), "episodes": run.evaluation.episodes,
         "seed": run.evaluation.seed},
    )  # fmt: skip
    write_json(run.out / "results.json", report.to_json())
    write_text(run.out / "results.md", "\n".join(report.table()) + "\n")
    return report


def _decided(pairs: list[Pair], say: Callable[[str], None]) -> list[Pair]:
    """The pairs without those in which both models were late.

    Raises:
        DataError: they were in all of them.
    """
    decided = [pair for pair in pairs if not pair.late]
    if len(decided) < len(pairs):
        words = f"both models missed the deadline in {len(pairs) - len(decided)} of {len(pairs)} decisions"
        if not decided:
            raise DataError(f"{words}, so that there is nothing to compare: give a --config with a longer deadline_s")
        say(f"{words}, which are left out; a --config with a longer deadline_s lets them count")
    return decided


def _memory(backend: BackendConfig, say: Callable[[str], None]) -> Memory | None:
    """The model's peak memory; None if it cannot be measured, which must not cost the comparison."""
    try:
        return peak_memory(backend)
    except BackendError as error:
        say(f"memory is not measured: {error}")
        return None


def _success(run: ComparisonRun) -> tuple[Report, Comparison]:
    """The first model's episodes, and the second one's own on the same seeds, played if the folder lacks them."""
    theirs = replace(run.evaluation, backend=run.against)
    played = []
    for config, name, whose in (
        (run.evaluation, RECORDS, "the first model's episodes"),
        (theirs, AGAINST_RECORDS, "the second model's own episodes"),
    ):
        records = RecordFile(run.out / name, config.identity(), versions())
        played.append(evaluate(config, records, label=whose))
        if played[-1].interrupted:
            raise KeyboardInterrupt
    return make_report(played[0]), compare("against", *played)
