"""`benchmark embodied`: evaluate a model on each subset, with controls on the same seeds, and report."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from si_embodied.backends.opening import located
from si_embodied.benchmarking.embodied.registration import ORACLE
from si_embodied.benchmarking.embodied.report import ProtocolReport, ProtocolRow, make_row
from si_embodied.benchmarking.results import write_results
from si_embodied.evaluation.report import versions
from si_embodied.evaluation.session import Session
from si_embodied.live.episodes import live_episodes
from si_embodied.parallel.placement import HERE, Place
from si_embodied.progress import track

if TYPE_CHECKING:
    from si_embodied.benchmarking.embodied.settings import Control, EmbodiedRun


def run_embodied(
    run: EmbodiedRun, controls: Sequence[Control] = (), *, placement: Place = HERE
) -> ProtocolReport:  # fmt: skip
    """Run the episodes that the folder lacks, and write the report.

    Args:
        run: what to measure.
        controls: "blank" for black pictures, "oracle" for answers from ground truth.
        placement: where the episodes run.

    Raises:
        ConfigError: the folder holds another run, or the prompt file is not a prompt.
        CheckpointError: the model cannot be found or loaded.
        BackendError: the model or its server failed; the episodes before are recorded, and the same call continues.
    """
    if not run.oracle:
        run = replace(run, backend=located(run.backend))
    names = [ORACLE if control == "oracle" else control for control in controls]
    rows: list[ProtocolRow] = []
    settings: dict[str, Any] = {}
    interrupted = False
    subsets = tuple(run.subset or run.subsets())
    with track("benchmark embodied", len(subsets), unit="subsets") as work, placement.kept() as place:
        for subset in subsets:
            config = run.evaluation(subset)
            folder = run.folder / subset
            session = Session(folder, placement=place, audiences=(partial(live_episodes, folder),))
            report, comparisons = session.run_with_controls(config, names)
            rows.append(make_row(subset, report))
            rows += [make_row(subset, each.report, each.paired) for each in comparisons]
            settings[subset] = config.identity()
            interrupted = report.interrupted or any(each.report.interrupted for each in comparisons)
            if interrupted:
                break
            work.advance()
    result = ProtocolReport(run.env, run.seed, run.episodes, settings, versions(), tuple(rows), interrupted)
    write_results(run.folder, result)
    return result
