"""`si-embodied validate`: every stage in turn, whatever becomes of the others, and one report."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from si_embodied.backends.opening import located
from si_embodied.benchmarking.validation.findings import Finding, Stage, carry_out, kept_finding
from si_embodied.benchmarking.validation.report import ValidationReport, write_report
from si_embodied.benchmarking.validation.settings import ValidationRun
from si_embodied.benchmarking.validation.stages import stages_of
from si_embodied.progress import track
from si_embodied.runs import claim


def run_validation(run: ValidationRun, say: Callable[[str], None]) -> ValidationReport:
    """Run the stages that the folder lacks, and write the report after each.

    Raises:
        CheckpointError: there is no such checkpoint.
        ConfigError: the folder holds the validation of another checkpoint, device, seed or planner's settings.
        MissingExtraError: gymnasium is not installed.
        KeyboardInterrupt: Ctrl-C; the same command continues.
    """
    run = replace(run, backend=located(run.backend))
    claim(run.out / "settings.json", run.identity())
    stages = stages_of(run, say)
    findings: list[tuple[Stage, Finding]] = []
    with track("validate", len(stages), unit="stages") as work:
        for number, stage in enumerate(stages, 1):
            finding = kept_finding(stage, run.out)
            earlier = " (from an earlier run)" if finding is not None else ""
            say(f"[{number}/{len(stages)}] {stage.part}: {stage.name}{earlier}")
            work.reach(number - 1, note=stage.name)
            if finding is None:
                finding = carry_out(stage, run.out)
            say(f"    {finding.state} in {finding.seconds:.0f} s: {finding.summary}")
            findings.append((stage, finding))
            report = ValidationReport(run, tuple(findings), len(stages))
            write_report(report)
    return report
