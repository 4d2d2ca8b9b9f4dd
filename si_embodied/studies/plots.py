"""Drawing a study's figure, and what the figures share: colours, error bars and axes in percent."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from si_embodied.errors import extra

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from si_embodied.studies.results import OverSeeds, Rate, Results, Score

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#777777")
"""The colour-blind-safe palette of Okabe and Ito."""
BLACK, GREY = "#222222", "#999999"
_STYLE: Any = {
    "font.size": 10, "axes.spines.top": False, "axes.spines.right": False, "axes.grid": True, "grid.color": "#e6e6e6",
    "axes.axisbelow": True, "figure.titlesize": 12, "figure.titleweight": "bold", "axes.titlesize": 10,
    "legend.frameon": False, "legend.fontsize": 9, "svg.hashsalt": "studies",
}  # fmt: skip


def draw(results: Results, file: Path) -> Any:
    """Write a study's figure as a PNG, and return it.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    with extra("train"):
        import matplotlib as mpl
        from matplotlib.figure import Figure
    with mpl.rc_context(_STYLE):
        figure = Figure(layout="constrained")
        results.draw(figure)
        figure.suptitle(results.headline(), x=0.01, ha="left", wrap=True)
        file.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(file, dpi=130, metadata={"Software": None})
    return figure


def bars(scores: Sequence[Score] | Sequence[OverSeeds] | Sequence[Rate]) -> tuple[list[float], list[list[float]]]:
    """Means in percent, and how far their intervals reach below and above."""
    means = [100 * score.mean for score in scores]
    low = [100 * (score.mean - score.interval[0]) for score in scores]
    high = [100 * (score.interval[1] - score.mean) for score in scores]
    return means, [low, high]


def grouped_bars(axes: Any, scores: Sequence[Score], number: int, label: str, texts: Sequence[str]) -> list[float]:
    """Draw the left (`number` 0) or right (1) bar of each group, a text at its foot; returns the bars' x positions."""
    where = [index + 0.4 * (number - 0.5) for index in range(len(scores))]
    means, reach = bars(scores)
    axes.bar(where, means, 0.36, yerr=reach, capsize=4, color=COLOURS[number], label=label)
    for x, text in zip(where, texts, strict=True):
        axes.annotate(text, (x, 2), ha="center", color="white", size=8)
    return where


def percent_axis(axes: Any, label: str) -> None:
    """Show 0 to 100% upwards."""
    axes.set_ylim(-2, 102)
    axes.set_ylabel(label)
