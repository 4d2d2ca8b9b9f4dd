"""The report as one self-contained HTML page, as JSON with a schema, and as a card: what `si-embodied report` writes.

`write_report` is the entry for everybody else. Nothing here runs an episode.
"""

from si_embodied.evaluation.page.writing import PAGE, write_card, write_report

__all__ = ["PAGE", "write_card", "write_report"]
