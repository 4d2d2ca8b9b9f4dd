"""The files of a benchmark's results."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, ClassVar, Protocol

from si_embodied.evaluation.report import without_nan
from si_embodied.runs import write_json, write_text


class Tabular(Protocol):
    """A dataclass that a table can be made of."""

    __dataclass_fields__: ClassVar[dict[str, Any]]

    def table(self) -> list[str]:
        """The lines of a Markdown table, and below it what the figures depend on."""


def write_results(folder: Path, report: Tabular) -> None:
    """Write `results.json` and `results.md`.

    Raises:
        RecordError: a file cannot be written.
    """
    write_json(folder / "results.json", without_nan(asdict(report)))
    write_text(folder / "results.md", "\n".join(report.table()) + "\n")


def markdown_rows(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """The lines of a Markdown table."""
    return [f"| {' | '.join(cells)} |" for cells in (head, ["---"] * len(head), *rows)]
