"""The files of a benchmark's results."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, ClassVar, Protocol, TypeVar

from pydantic import TypeAdapter, ValidationError

from si_embodied.evaluation.report import without_nan
from si_embodied.runs import OR_ELSEWHERE, broken_line, write_json, write_text

Row = TypeVar("Row")


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


def typed_rows(kind: type[Row], path: Path, rows: Sequence[Mapping[str, Any]]) -> list[Row]:
    """The rows of a run's file of JSON lines as values of a dataclass.

    Raises:
        ConfigError: a line is none; the message names it.
    """
    try:
        return TypeAdapter(list[kind]).validate_python(rows)  # type: ignore[valid-type]
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place, *within = first["loc"]
        why = f"{'.'.join(map(str, within))}: {first['msg']}"
        raise broken_line(path, int(place) + 1, rows[int(place)], why, also=OR_ELSEWHERE) from error


def markdown_rows(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """The lines of a Markdown table."""
    return [f"| {' | '.join(cells)} |" for cells in (head, ["---"] * len(head), *rows)]
