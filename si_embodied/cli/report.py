"""`si-embodied report`: evaluation runs as one HTML page."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from typing_extensions import Doc
from tyro.conf import Positional, arg

from si_embodied.cli.output import say


@dataclass(frozen=True, slots=True)
class Report:
    """Write one self-contained HTML page about evaluation runs, and their results as JSON beside it.

    Runs of one task under the same conditions are compared with each other.
    """

    runs: Annotated[
        Positional[tuple[Path, ...]],
        Doc("folders that `eval` or `demo` wrote, or that contain such folders"),
        arg(metavar="RUN [RUN ...]"),
    ]
    out: Annotated[Path | None, Doc("the page; default: report.html in the first folder"), arg(metavar="FILE")] = None
    card: Annotated[bool, Doc("also write a results card (Markdown) beside the page")] = False

    def run(self) -> int:
        """Write the page and print its path."""
        from si_embodied.evaluation.page import write_card, write_report

        say(f"report: {write_report(self.runs, self.out)}")
        if self.card:
            say(f"card: {write_card(self.runs, self.out)}")
        return 0
