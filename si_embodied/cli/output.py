"""What commands print."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from si_embodied.findings import Report


def say(*lines: str) -> None:
    """Print lines neither wrapped nor coloured, so that programs can read them."""
    from rich.console import Console

    console = Console(highlight=False, soft_wrap=True)
    for line in lines:
        console.print(line, markup=False)


def print_findings(report: Report, *, json_too: bool) -> int:
    """Print what a check found, with `json_too` also in one line of JSON, and return the exit code."""
    say(*report.lines())
    if json_too:
        print_findings_json(report)
    return 0 if report.verdict == "fine" else 1


def print_findings_json(report: Report) -> None:
    """Print what a check found in one line of JSON."""
    from si_embodied.evaluation.report import without_nan

    findings = [asdict(each) for each in report.findings]
    plain = without_nan({"verdict": report.verdict, "findings": findings, **report.figures})
    say(json.dumps(plain, allow_nan=False))


def print_properties(rows: Iterable[tuple[str, str]], *, title: str | None = None) -> None:
    """Print a table of names and values, in which rich's markup has its meaning."""
    from rich.console import Console
    from rich.table import Table

    table = Table(title=title, title_justify="left", title_style="bold", show_header=False)
    table.add_column(style="cyan", no_wrap=True)
    table.add_column(overflow="fold")
    for row in rows:
        table.add_row(*row)
    Console(highlight=False).print(table)


def print_table(columns: Mapping[str, str], rows: Iterable[Sequence[str]], *, title: str = "", note: str = "") -> None:
    """Print a table; its columns are `left` or `right`, which are never cut, or `wrap`."""
    from rich.console import Console
    from rich.table import Table

    table = Table(title=title, title_justify="left", caption=note)
    for name, kind in columns.items():
        table.add_column(name, justify="right" if kind == "right" else "left", no_wrap=kind != "wrap")
    for row in rows:
        table.add_row(*row)
    Console(highlight=False).print(table)
