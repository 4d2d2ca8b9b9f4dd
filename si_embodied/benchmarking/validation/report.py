"""The report of a validation: Markdown to read, JSON to compute with, and an archive to send."""

from __future__ import annotations

import zipfile
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from si_embodied.benchmarking.results import markdown_rows
from si_embodied.benchmarking.validation.settings import VARIANTS, ValidationRun
from si_embodied.runs import replacing, write_json, write_text

if TYPE_CHECKING:
    from si_embodied.benchmarking.validation.findings import Finding, Stage

REPORT, ARCHIVE = "report.md", "send-back.zip"
_SENT = (".md", ".json", ".jsonl", ".xml", ".log")
_KEPT_BACK = "exports"
TITLES: Mapping[str, str] = {
    "machine": "Machine and checkpoint",
    "tests": "Tests marked gpu",
    "latency": "What a plan costs",
    "precisions": "Fewer bits and other runtimes: the same decisions?",
    "worlds": "Episodes",
}


@dataclass(frozen=True, slots=True)
class ValidationReport:
    """What every stage came to, so far."""

    run: ValidationRun
    findings: tuple[tuple[Stage, Finding], ...]
    stages: int  # in all

    @property
    def failed(self) -> bool:
        """Whether anything is broken; what this machine cannot do is not."""
        return any(finding.state == "failed" for _, finding in self.findings)

    @property
    def counts(self) -> str:
        """How many stages came to what."""
        counts = Counter(finding.state for _, finding in self.findings)
        words = ", ".join(f"{counts[state]} {state}" for state in ("done", "failed", "impossible"))
        missing = self.stages - len(self.findings)
        return f"{words} of {self.stages} stages" + (f"; {missing} not run yet" if missing else "")

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        rows = [{"part": stage.part, "name": stage.name, **asdict(finding)} for stage, finding in self.findings]
        return {"failed": self.failed, "counts": self.counts, "stages": rows}

    def lines(self) -> list[str]:
        """The report as Markdown."""
        name = self.findings[0][1].data.get("checkpoint", Path(self.run.backend.model).name)
        rows = [
            (f"{stage.part}: {stage.name}", each.state, each.summary.replace("|", "\\|"), f"{each.seconds:.0f}")
            for stage, each in self.findings
        ]
        parts = dict.fromkeys(stage.part for stage, _ in self.findings)
        return [
            f"# Validation of {name}", "", f"**{self.counts}.** Intervals in brackets are of 95%.", "",
            *self._broken(), *markdown_rows(("stage", "state", "result", "s"), rows), "",
            *(line for part in parts for line in self._part(part)), *self._to_send(),
        ]  # fmt: skip

    def _broken(self) -> list[str]:
        """What failed, and what this machine cannot do, with the reasons."""
        words = {"failed": "What failed", "impossible": "What this machine cannot do"}
        lines: list[str] = []
        for state, title in words.items():
            own = [(stage, each) for stage, each in self.findings if each.state == state]
            found = [f"- **{stage.part}: {stage.name}**: {each.summary}" for stage, each in own]
            lines += [f"## {title}", "", *found, ""] if found else []
        return [*lines, "## All stages", ""]

    def _part(self, part: str) -> list[str]:
        own = [(stage, finding) for stage, finding in self.findings if stage.part == part]
        lines = [f"## {TITLES[part]}", ""]
        if part == "worlds":
            lines += [*_score_rows([finding for _, finding in own]), ""]
        for stage, finding in own:
            about = f": {VARIANTS[stage.name].about}" if part == "precisions" else ""
            title = [f"### {stage.name}{about}", ""] if len(own) > 1 else []
            lines += [*title, f"{finding.state}: {finding.summary}", "", *finding.lines, ""]
        return lines

    def _to_send(self) -> list[str]:
        sent = (
            f"`{self.run.out / ARCHIVE}`: this report, its JSON, and the records of every stage, without weights and "
            "pictures. It names this machine's GPU, system and package versions, and the paths of the checkpoint and "
            "of this folder; look through it before you publish it."
        )
        return ["## What to send back", "", sent]


def write_report(report: ValidationReport) -> None:
    """Write `report.md`, `report.json` and the archive.

    Raises:
        RecordError: a file cannot be written.
    """
    out = report.run.out
    write_text(out / REPORT, "\n".join(report.lines()) + "\n")
    write_json(out / "report.json", report.to_json())
    found = (file for file in sorted(out.rglob("*")) if file.suffix in _SENT)
    files = [file for file in found if _KEPT_BACK not in file.relative_to(out).parts]
    with replacing(out / ARCHIVE) as part, zipfile.ZipFile(part, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in files:
            archive.write(file, file.relative_to(out))


def _score_rows(findings: list[Finding]) -> list[str]:
    """One table of all tasks that were played."""
    head = ("task", "n", "success [95%]", "SPL", "steps", "plans", "holds", "median plan, ms", "99%")
    return markdown_rows(head, [_score_row(each.data) for each in findings if each.state == "done"])


def _score_row(row: Mapping[str, Any]) -> list[str]:
    low, high = row["wilson95"]
    took = row["plan_latency_ms"]
    return [
        f"{row['env'].rpartition('/')[2]} {row['task']}", str(row["episodes"]),
        f"{row['success_rate']:.2f} [{low:.2f}, {high:.2f}]", _number(row["spl"], ".2f"),
        _number(row["mean_steps"], ".0f"),
        str(row["plans"]), str(sum(row["holds"].values())), _number(took["p50"], ".0f"), _number(took["p99"], ".0f"),
    ]  # fmt: skip


def _number(value: float | None, form: str) -> str:
    return "–" if value is None else format(value, form)
