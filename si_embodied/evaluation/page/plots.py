"""The page's charts: matplotlib's SVG, made to follow the page's colours and fonts."""

from __future__ import annotations

import io
import itertools
import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from si_embodied.errors import extra
from si_embodied.evaluation.failures import FAILURE_KINDS
from si_embodied.evaluation.page.groups import Group, Row, Share
from si_embodied.evaluation.statistics import mean

COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#8C8C8C", "#B79F00")
"""Okabe and Ito's colours without black, which a dark page hides, and a second yellow."""
_INK, _FAINT = "#010203", "#040506"  # replaced by the page's own colours
_WIDTH_IN = 5.0  # on a phone, the text is then as large as the page's
_ROW_IN, _LEGEND_COLUMNS = 0.42, 3
_INSIDE_GENERATE = ("queue", "vision", "prefill", "think", "decode")
"""Parts of a plan's time that `generate`, the whole call of the model, contains if the model reports them."""
_REST = "generate, other"
_STYLE: Any = {
    "font.size": 10, "svg.fonttype": "none", "text.parse_math": False, "axes.spines.top": False,
    "axes.spines.right": False, "axes.spines.left": False, "text.color": _INK, "axes.labelcolor": _INK,
    "axes.edgecolor": _FAINT, "xtick.color": _INK, "ytick.color": _INK, "xtick.major.size": 0, "ytick.major.size": 0,
    "axes.grid": True, "axes.grid.axis": "x", "grid.color": _FAINT, "grid.linewidth": 0.6, "axes.axisbelow": True,
    "legend.frameon": False, "legend.fontsize": 9,
}  # fmt: skip


def success_chart(groups: Sequence[Group]) -> str:
    """Success of every run, with its interval, as SVG."""
    labels: list[str] = []
    shares: list[tuple[Share, int]] = []
    for group in groups:
        for number, row in enumerate(group.rows):
            prefix = f"{group.title}: " if len(groups) > 1 else ""
            labels.append(f"{prefix}{row.report.title}")
            won = sum(e.success for e in row.run.episodes if e.ended != "lost")
            shares.append((Share(labels[-1], won, row.report.episodes), 0 if number == 0 else 6))
    return _intervals(labels, shares)


def difficulty_chart(group: Group) -> str:
    """Success of the main run by difficulty, as SVG."""
    shares = group.main.difficulty
    return _intervals([f"{share.label} (n = {share.episodes})" for share in shares], [(share, 0) for share in shares])


def latency_chart(rows: Sequence[tuple[str, Row]]) -> str:
    """The mean time of a plan by part, stacked without overlap, for each run that plans; as SVG."""
    means = [_means_ms(row) for _, row in rows]
    parts = list(dict.fromkeys(part for each in means for part in each))

    def draw(axes: Any) -> None:
        _stacked(axes, [name for name, _ in rows], {part: [each.get(part, 0.0) for each in means] for part in parts})
        axes.set_xlabel("mean time of a plan, ms")

    return _svg(draw, rows=len(rows), legend=len(parts))


def _means_ms(row: Row) -> dict[str, float]:
    """The mean milliseconds of each part of a plan; together they are the plan but for what no part covers."""
    plans = [plan.record.latency_s for episode in row.run.episodes for plan in episode.plans]
    found = {part: mean([1000 * plan.get(part, 0.0) for plan in plans]) for part in row.report.latency_ms_by_part}
    found.pop("total", None)
    if "generate" in found:
        inside = sum(found.get(part, 0.0) for part in _INSIDE_GENERATE)
        found[_REST] = max(0.0, found.pop("generate") - inside)
    return found


def failure_chart(rows: Sequence[tuple[str, Row]]) -> str:
    """How many episodes of each run failed, by kind, stacked; as SVG."""
    kinds = [kind for kind in FAILURE_KINDS if any(kind in row.failures for _, row in rows)]

    def draw(axes: Any) -> None:
        _stacked(axes, [name for name, _ in rows], {k: [row.failures.get(k, 0) for _, row in rows] for k in kinds})
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.set_xlabel("failed episodes")

    return _svg(draw, rows=len(rows), legend=len(kinds))


def _stacked(axes: Any, names: Sequence[str], widths: Mapping[str, Sequence[float]]) -> None:
    """Bars of one colour for each part, and the colours' meaning below."""
    left = [0.0] * len(names)
    for (part, values), colour in zip(widths.items(), itertools.cycle(COLOURS)):
        axes.barh(range(len(names)), values, 0.6, left=left, color=colour, label=part)
        left = [start + value for start, value in zip(left, values, strict=True)]
    _named(axes, names)
    axes.figure.legend(loc="outside lower left", ncols=_LEGEND_COLUMNS)


def _intervals(labels: Sequence[str], shares: Sequence[tuple[Share, int]]) -> str:
    """A point with its interval for each share; the number with it is its colour's."""

    def draw(axes: Any) -> None:
        for place, (share, colour) in enumerate(shares):
            if share.episodes:
                low, high = (100 * bound for bound in share.interval)
                axes.plot([low, high], [place, place], color=COLOURS[colour], linewidth=2.5, solid_capstyle="round")
                axes.plot([100 * share.rate], [place], "o", color=COLOURS[colour], markersize=7)
        _named(axes, labels)
        axes.set_xlim(-2, 102)
        axes.set_xlabel("success, %, with its 95% interval")

    return _svg(draw, rows=len(labels))


def _named(axes: Any, labels: Sequence[str]) -> None:
    """Name the rows, the first at the top; the world and the policy on a line each."""
    axes.set_yticks(range(len(labels)), [label.replace(": ", ":\n") for label in labels])
    axes.set_ylim(len(labels) - 0.5, -0.5)


def _svg(draw: Callable[[Any], None], *, rows: int, legend: int = 0) -> str:
    """A figure of so many rows, and so many words in its legend, as an SVG element.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    with extra("sim"):
        import matplotlib as mpl
        from matplotlib.figure import Figure
    data = io.StringIO()
    with mpl.rc_context(_STYLE):
        height_in = _ROW_IN * rows + 0.6 + 0.2 * math.ceil(legend / _LEGEND_COLUMNS)
        figure = Figure(figsize=(_WIDTH_IN, height_in), layout="constrained")
        draw(figure.add_subplot())
        figure.savefig(data, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    return _for_a_page(data.getvalue())


def _for_a_page(svg: str) -> str:
    """Without prologue, metadata, fixed size and names: several figures in one page must not share them."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", svg, count=1)
    svg = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", svg, count=1)
    used = set(re.findall(r'(?:url\(#|href="#)([\w-]+)', svg))
    svg = re.sub(r' id="([\w-]+)"', lambda found: found.group(0) if found.group(1) in used else "", svg)
    svg = svg.replace(_INK, "currentColor").replace(_FAINT, "var(--faint)")
    return re.sub(r"\n\s*", "\n", svg)
