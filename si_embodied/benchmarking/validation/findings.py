"""What a stage of a validation came to, kept in a file, so that an interrupted validation continues."""

from __future__ import annotations

import json
import re
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, TypeAlias

from pydantic import TypeAdapter

from si_embodied.errors import MissingExtraError, SiEmbodiedError
from si_embodied.evaluation.report import without_nan
from si_embodied.processes import run_alone
from si_embodied.runs import write_json

State: TypeAlias = Literal["done", "failed", "impossible"]


@dataclass(frozen=True, slots=True)
class Finding:
    """What a stage came to."""

    state: State  # "impossible": this machine lacks what the stage needs
    summary: str  # the figure in one line, or what failed and why
    lines: tuple[str, ...] = ()  # its part of the report, Markdown
    data: Mapping[str, Any] = field(default_factory=dict)  # the same as JSON values
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Stage:
    """One measurement. It runs in a process of its own: its memory is freed, and a crash costs this stage alone."""

    part: str
    name: str
    settings: Mapping[str, Any]  # that its finding depends on, besides those that the folder is claimed with
    work: Callable[..., Finding]
    arguments: tuple[Any, ...]
    optional: bool = False  # whether an error says that this machine cannot do it, rather than that something is broken

    def file(self, folder: Path) -> Path:
        """Where its finding is kept."""
        return folder / "stages" / f"{slug(f'{self.part} {self.name}')}.json"


def slug(text: str) -> str:
    """A name that is fit for a file."""
    return re.sub(r"[^a-z0-9.]+", "-", text.lower()).strip("-")


def kept_finding(stage: Stage, folder: Path) -> Finding | None:
    """The finding of an earlier run, if the stage was done with these settings; others are repeated."""
    try:
        row = json.loads(stage.file(folder).read_text(encoding="utf-8"))
        finding: Finding = TypeAdapter(Finding).validate_python(row["finding"])
    except (OSError, ValueError, KeyError, TypeError):  # a file that is damaged or of another version counts as none
        return None
    same = row["settings"] == json.loads(json.dumps(stage.settings))
    return finding if same and finding.state == "done" else None


def carry_out(stage: Stage, folder: Path) -> Finding:
    """Run the stage in a process of its own, and keep its finding."""
    file = stage.file(folder)
    file.unlink(missing_ok=True)
    code = run_alone(perform, stage, folder)
    try:
        finding: Finding = TypeAdapter(Finding).validate_python(json.loads(file.read_text(encoding="utf-8"))["finding"])
    except (OSError, ValueError):
        killed = f"was killed by signal {-code}; memory may have run out" if code < 0 else f"ended with code {code}"
        finding = Finding("failed", f"its process {killed}; its last lines on the terminal may say more")
        _keep(stage, folder, finding)
    return finding


def perform(stage: Stage, folder: Path) -> None:
    """Run the stage in this process; an error is a finding, too."""
    started = time.perf_counter()
    try:
        finding = stage.work(*stage.arguments)
    except SiEmbodiedError as error:
        lacking = stage.optional or isinstance(error, MissingExtraError)
        finding = Finding("impossible" if lacking else "failed", " ".join(str(error).split()))
    except Exception as error:  # noqa: BLE001 - whatever it is, it is reported, and the other stages go on
        trace = traceback.format_exc().splitlines()
        finding = Finding("failed", f"{type(error).__name__}: {error}", ("```text", *trace[-20:], "```"))
    _keep(stage, folder, replace(finding, seconds=round(time.perf_counter() - started, 1)))


def _keep(stage: Stage, folder: Path, finding: Finding) -> None:
    row = {"settings": stage.settings, "finding": without_nan(asdict(finding))}
    write_json(stage.file(folder), row)
