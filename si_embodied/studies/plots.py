"""One figure a study, drawn from its results alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from si_embodied.errors import extra
from si_embodied.studies import generalisation, reasoning, scaling, shortcuts
from si_embodied.studies.asking import SIGHTS
from si_embodied.studies.figures import (
    KINDS,
    PAIRS,
    SIGHT_NAMES,
    Found,
    arm_score,
    arm_tokens,
    by_reasoning,
    capability_groups,
    chance,
    own_groups,
    own_score,
    plan_kinds,
    shown,
    success,
    tasks,
)  # fmt: skip
from si_embodied.studies.report import headline

with extra("train"):
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt
    from matplotlib.lines import Line2D

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from si_embodied.studies.results import Score

_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#777777")
"""Okabe and Ito's, which the colour-blind tell apart."""
_BLACK, _GREY = "#222222", "#999999"
_LOOKS: dict[str, Any] = {
    sight: {"marker": marker, "color": colour}
    for sight, marker, colour in zip(
        (*SIGHTS, shortcuts.CIRCULAR), "osxD", (*_COLOURS[:2], _BLACK, _COLOURS[2]), strict=True
    )
}
_STYLE: Any = {
    "font.size": 10, "axes.spines.top": False, "axes.spines.right": False, "axes.grid": True, "grid.color": "#e6e6e6",
    "axes.axisbelow": True, "figure.titlesize": 12, "figure.titleweight": "bold", "axes.titlesize": 10,
    "legend.frameon": False, "legend.fontsize": 9, "svg.hashsalt": "studies",
}  # fmt: skip


def draw(found: Found, file: Path) -> None:
    """Draw a study's figure as a PNG."""
    with plt.rc_context(_STYLE):
        figure = _DRAW[found["study"]](found)
        figure.suptitle(headline(found), x=0.01, ha="left", wrap=True)
        file.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(file, dpi=130, metadata={"Software": None})
        plt.close(figure)


def _bars(scores: Sequence[Score]) -> tuple[list[float], list[list[float]]]:
    """Means in percent, and how far their intervals reach below and above."""
    means = [100 * score.mean for score in scores]
    low = [100 * (score.mean - score.interval[0]) for score in scores]
    high = [100 * (score.interval[1] - score.mean) for score in scores]
    return means, [low, high]


def _percent(axes: Any, label: str) -> None:
    axes.set_ylim(-2, 102)
    axes.set_ylabel(label)


def _sizes_axis(axes: Any, rows: Sequence[Found]) -> None:
    axes.set_xscale("log")
    axes.set_xticks([row["images"] for row in rows], [f"{row['images']:,}" for row in rows])
    axes.minorticks_off()
    axes.set_xlabel("training pictures (the same number of steps each)")


def _scaling(found: Found) -> Any:
    figure, (left, right) = plt.subplots(
        1, 2, figsize=(11, 5.4), width_ratios=[3, 2], layout="constrained", sharey=True
    )
    rows = found["rows"]
    sizes = [row["images"] for row in rows]
    kinds = [kind for kind in KINDS if any(own_score(row, [kind], scaling.SEEN).count for row in rows)]
    for number, kind in enumerate(kinds):
        scores = [own_score(row, [kind], scaling.SEEN) for row in rows]
        means, reach = _bars(scores)
        beside = [size * 1.02 ** (number - len(kinds) // 2) for size in sizes]
        left.errorbar(
            beside, means, reach, marker="o^sDvP*"[number % 7], color=_COLOURS[number % 7], capsize=2, elinewidth=0.8,
            linestyle="--" if kind.startswith("point") else "-", label=f"{KINDS[kind]} (n = {scores[-1].count})",
        )  # fmt: skip
    left.set_title("held-out questions answered without a mistake", loc="left")
    _percent(left, "right, % (95% interval)")
    figure.legend(loc="outside lower center", ncols=4)
    scores = [success(row) for row in rows]
    means, reach = _bars(scores)
    right.errorbar(sizes, means, reach, marker="o", color=_BLACK, capsize=4, linewidth=2)
    for size, mean, score in zip(sizes, means, scores, strict=True):
        right.annotate(f"{score.total:.0f} of {score.count}", (size, mean), (9, 9), textcoords="offset points")
    episodes = found["settings"]["episodes"]
    right.set_title(f"planner success, Tabletop {episodes['task']}, seeds from {episodes['seed']:,}", loc="left")
    for axes in (left, right):
        _sizes_axis(axes, rows)
    right.margins(x=0.2)
    return figure


def _generalisation(found: Found) -> Any:
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.6), layout="constrained", sharey=True)
    rows = [row for row in found["rows"] if row["what"] == "pairs"]
    sizes = [row["images"] for row in rows]
    for pair, colour in zip(PAIRS, _COLOURS, strict=False):
        for what, style in (("point at a thing", "--"), ("plans", "-")):
            scores = [own_score(row, ["point pick"] if style == "--" else plan_kinds(row), pair) for row in rows]
            means, reach = _bars(scores)
            label = f"{what}, {pair} pairs (n = {scores[-1].count})"
            left.errorbar(sizes, means, reach, marker="o", linestyle=style, color=colour, capsize=3, label=label)
    left.set_title("colour-shape pairs that training showed, and six that it did not", loc="left")
    _sizes_axis(left, rows)
    _percent(left, "right, % (95% interval)")
    left.legend(loc="best")
    _places(right, [row for row in found["rows"] if row["what"] == "places"])
    return figure


def _places(axes: Any, rows: Sequence[Found]) -> None:
    """Bars of a finished checkpoint where it was trained, and elsewhere."""
    labels = [(world, what) for world in dict.fromkeys(row["world"] for row in rows) for what in ("points", "plans")]
    for number, (place, colour) in enumerate(zip(generalisation.PLACES, _COLOURS, strict=False)):
        scores = []
        for world, what in labels:
            row = next(row for row in rows if (row["world"], row["place"]) == (world, place))
            plans = plan_kinds(row)
            scores.append(own_score(row, plans if what == "plans" else [kind for kind in KINDS if kind not in plans]))
        means, reach = _bars(scores)
        where = [index + 0.4 * (number - 0.5) for index in range(len(labels))]
        axes.bar(where, means, 0.36, yerr=reach, capsize=3, color=colour, label=f"places {place}")
        for x, score in zip(where, scores, strict=True):
            axes.annotate(f"{score.count:,}", (x, 2), ha="center", color="white", size=8)
    axes.set_xticks(range(len(labels)), [f"{world}\n{what}" for world, what in labels])
    axes.set_title("the finished planner, in old places and new ones (n in the bars)", loc="left")
    axes.grid(axis="x", visible=False)
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.12), ncols=2)


def _shortcuts(found: Found) -> Any:
    groups = [
        (name, {sight: shown(rows, sight) for sight in SIGHT_NAMES}, chance(rows))
        for name, rows in capability_groups(found).items()
    ]
    groups += [(name, scores, None) for name, scores in own_groups(found).items()]
    figure, axes = plt.subplots(figsize=(10, 1.6 + 0.5 * len(groups)), layout="constrained")
    for number, (_, scores, guess) in enumerate(groups):
        axes.axhspan(number - 0.5, number + 0.5, color="#f6f6f6" if number % 2 else "white", zorder=-1)
        for offset, (sight, look) in enumerate(_LOOKS.items()):
            if sight in scores and scores[sight].count:
                means, reach = _bars([scores[sight]])
                where = [number + 0.2 * (offset - 1.5)]
                axes.errorbar(means, where, xerr=reach, linestyle="", capsize=2, elinewidth=1, markersize=5, **look)
        if guess is not None:
            axes.plot([100 * guess] * 2, [number - 0.42, number + 0.42], color=_GREY, linewidth=3, zorder=0)
    handles = [Line2D([], [], label=SIGHT_NAMES[sight], **look) for sight, look in _LOOKS.items()]
    handles.append(Line2D([], [], color=_GREY, linewidth=3, label="chance, or the best constant"))
    names = [f"{name}\nn = {scores['images'].count}" for name, scores, _ in groups]
    axes.set_yticks(range(len(groups)), names)
    axes.set_xlim(-2, 102)
    axes.set_xlabel("score, % (95% interval); numbers by mean relative accuracy")
    axes.grid(axis="y", visible=False)
    axes.set_ylim(len(groups) - 0.5, -0.5)
    figure.legend(handles=handles, loc="outside lower center", ncols=5)
    return figure


def _reasoning(found: Found) -> Any:
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4.4), width_ratios=[3, 2], layout="constrained")
    named = tasks(found)
    for number, (arm, colour) in enumerate(zip((reasoning.WITHOUT, reasoning.WITH), _COLOURS, strict=False)):
        where = [index + 0.4 * (number - 0.5) for index in range(len(named))]
        scores = [arm_score(found, task, arm) for task in named]
        means, reach = _bars(scores)
        left.bar(where, means, 0.36, yerr=reach, capsize=4, color=colour, label=f"{arm} reasoning")
        for x, score in zip(where, scores, strict=True):
            left.annotate(f"{score.total:.0f} of {score.count}", (x, 2), ha="center", color="white", size=8)
        tokens = [arm_tokens(found, task, arm) for task in named]
        drawn = right.bar(where, tokens, 0.36, color=colour)
        right.bar_label(drawn, fmt="%.0f", padding=2)
    _percent(left, "success, % (95% interval)")
    left.set_xticks(range(len(named)), [f"{t}\np = {by_reasoning(found, t).p_value:.2g}" for t in named])
    left.set_title("Episodes on the same seeds; p by McNemar's test", loc="left")
    figure.legend(loc="outside lower center", ncols=2)
    right.set_xticks(range(len(named)), named)
    right.set_ylabel("tokens a plan (mean)")
    for axes in (left, right):
        axes.grid(axis="x", visible=False)
    return figure


_DRAW = {
    scaling.NAME: _scaling, generalisation.NAME: _generalisation, shortcuts.NAME: _shortcuts,
    reasoning.NAME: _reasoning,
}  # fmt: skip
