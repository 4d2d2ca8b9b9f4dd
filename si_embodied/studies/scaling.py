"""Scaling: the same training on more and more images, and what each amount is worth.

Trainings from scratch on tables only, each for the same number of steps. Some (colour, shape) pairs are on no training
image, so that the same trainings show how well a planner generalises to unseen combinations (`generalisation`).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np

from si_embodied.studies import own_questions as own
from si_embodied.studies.checkpoints import play, train_checkpoint
from si_embodied.studies.plots import BLACK, COLOURS, bars, percent_axis
from si_embodied.studies.results import Results, Score, markdown, total
from si_embodied.studies.settings import ScalingRun
from si_embodied.training.nano import Recipe, Training

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from si_embodied.studies.results import Say
    from si_embodied.training.examples import Labelled

SEEN, UNSEEN = "seen", "unseen"
"""Whether training showed the (colour, shape) pairs that a question or an episode names."""
_ROW_FILE = "measured.json"


@dataclass(frozen=True, slots=True)
class SizeRow:
    """What a training on some number of images is worth."""

    images: int
    steps: int
    minutes: float
    questions: tuple[own.KindScore, ...]  # grouped by seen and unseen pairs
    episodes: dict[str, Score]  # planner success by seen and unseen pairs
    what: Literal["pairs"] = "pairs"  # `generalisation` has rows of places, too

    def success(self, pair: str | None = None) -> Score:
        """Planner success, in all episodes or in those that name objects of seen or unseen pairs."""
        return total(score for name, score in self.episodes.items() if pair in (None, name))


# --- measuring ------------------------------------------------------------------------------------------------------


def study(run: ScalingRun, results: Path, *, report: Say = lambda _: None) -> ScalingResults:
    """Train, measure, and write `scaling.json`; what was done before is not repeated."""
    return ScalingResults(run.settings(), measured_sizes(run, report=report)).write(results / "scaling.json")


def measured_sizes(run: ScalingRun, *, report: Say = lambda _: None) -> tuple[SizeRow, ...]:
    """Train and measure what is missing; returns a row per number of images.

    Raises:
        ConfigError: the folder holds trainings with other settings, or there are too few images.
    """
    run.claim()

    @cache
    def shards(part: str) -> Labelled:
        return own.load_shards(run.data / part, "tabletop-*")

    rows = []
    for count in sorted(run.images):
        row = _known(run, count)
        if row is None:
            data, held_out = own.without_unseen_pairs(shards("train"), count), shards("held_out")
            tests = (held_out, own.with_unseen_pairs(shards("train"), run.test_images))
            row = _measured(run, data, tests, report)
            ScalingResults(run.settings(), (row,)).write(_folder(run, count) / _ROW_FILE)
        rows.append(row)
    return tuple(rows)


def _folder(run: ScalingRun, count: int) -> Path:
    return run.out / f"images-{count}"


def _known(run: ScalingRun, count: int) -> SizeRow | None:
    """The row that was measured before with the same settings."""
    file = _folder(run, count) / _ROW_FILE
    if file.is_file() and (found := ScalingResults.read(file)).settings == run.settings():
        return found.rows[0]
    return None


def _measured(run: ScalingRun, data: Labelled, tests: tuple[Labelled, Labelled], report: Say) -> SizeRow:
    """Train on some images, ask about others, and play."""
    folder = _folder(run, len(data))
    recipe = run.recipe or Recipe(cycle="ttd", seed=run.seed, threads=run.threads)
    notes = f"Trained on {len(data)} tables by `si-embodied study scaling`: not for use."
    trained, checkpoint = train_checkpoint(
        run, folder, lambda: Training(recipe), lambda: (data, tests[0]), notes=notes, report=report
    )
    asked = [(test, np.arange(min(run.test_images, len(test)))) for test in tests]
    questions = own.score_questions(trained.mean, asked, lambda question: _pair(own.names_unseen_pair(question)))
    played = play(checkpoint, run.episodes, folder / f"{run.episodes.task}.jsonl", report=report)
    won: dict[str, list[bool]] = {}
    for episode in played:
        won.setdefault(_pair(own.mentions_unseen_pair(episode.instruction)), []).append(episode.success)
    episodes = {pair: Score.of(values) for pair, values in won.items()}
    return SizeRow(len(data), trained.step, round(trained.seconds / 60, 2), questions, episodes)


def _pair(unseen: bool) -> str:
    return UNSEEN if unseen else SEEN


# --- reporting ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ScalingResults(Results):
    """Rows by number of images."""

    name: ClassVar[str] = "scaling"
    rows: tuple[SizeRow, ...]

    def headline(self) -> str:
        """Planner success on the fewest and the most images."""
        first, last = self.rows[0], self.rows[-1]
        few, many = (100 * row.success().mean for row in (first, last))
        times = last.images / first.images
        return f"With {times:.0f} times the pictures, planner success goes from {few:.0f}% to {many:.0f}%"

    def table(self) -> list[str]:
        """A line per kind of question, and one for planner success."""
        kinds = own.kinds_in(one for row in self.rows for one in row.questions)
        body = [
            [own.KINDS[kind], *(str(own.together(row.questions, kind, SEEN)) for row in self.rows)] for kind in kinds
        ]
        body.append(["**planner success**", *(f"**{row.success()}**" for row in self.rows)])
        return markdown(["", *(f"{row.images:,} pictures" for row in self.rows)], body)

    def draw(self, figure: Any) -> None:
        """Questions on the left, planner success on the right."""
        figure.set_size_inches(11, 5.4)
        left, right = figure.subplots(1, 2, width_ratios=[3, 2], sharey=True)
        self._draw_questions(left)
        percent_axis(left, "right, % (95% interval)")
        figure.legend(loc="outside lower center", ncols=4)
        self._draw_success(right)
        for axes in (left, right):
            sizes_axis(axes, self.rows)
        right.margins(x=0.2)

    def _draw_questions(self, axes: Any) -> None:
        kinds = own.kinds_in(one for row in self.rows for one in row.questions if one.group == SEEN)
        for number, kind in enumerate(kinds):
            scores = [own.together(row.questions, kind, SEEN) for row in self.rows]
            means, reach = bars(scores)
            beside = [row.images * 1.02 ** (number - len(kinds) // 2) for row in self.rows]
            axes.errorbar(
                beside, means, reach, marker="o^sDvP*"[number % 7], color=COLOURS[number % 7], capsize=2,
                elinewidth=0.8, linestyle="--" if kind in own.POINTING else "-",
                label=f"{own.KINDS[kind]} (n = {scores[-1].count})",
            )  # fmt: skip
        axes.set_title("held-out questions answered without a mistake", loc="left")

    def _draw_success(self, axes: Any) -> None:
        scores, sizes = [row.success() for row in self.rows], [row.images for row in self.rows]
        means, reach = bars(scores)
        axes.errorbar(sizes, means, reach, marker="o", color=BLACK, capsize=4, linewidth=2)
        for size, mean, score in zip(sizes, means, scores, strict=True):
            axes.annotate(f"{score.total:.0f} of {score.count}", (size, mean), (9, 9), textcoords="offset points")
        episodes = self.settings["episodes"]
        axes.set_title(f"planner success, Tabletop {episodes['task']}, seeds from {episodes['seed']:,}", loc="left")


def sizes_axis(axes: Any, rows: Sequence[SizeRow]) -> None:
    """Number the x axis by training images."""
    axes.set_xscale("log")
    axes.set_xticks([row.images for row in rows], [f"{row.images:,}" for row in rows])
    axes.minorticks_off()
    axes.set_xlabel("training pictures (the same number of steps each)")
