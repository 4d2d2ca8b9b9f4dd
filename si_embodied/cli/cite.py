"""`si-embodied cite`: how to cite this package, as BibTeX."""

from __future__ import annotations

from dataclasses import dataclass

from si_embodied.cli.output import say


@dataclass(frozen=True, slots=True)
class Cite:
    """Print BibTeX entries for this package and for the paper whose models it runs."""

    def run(self) -> int:
        """Print the entries."""
        from si_embodied.citation import bibtex

        say(*bibtex().splitlines())
        return 0
