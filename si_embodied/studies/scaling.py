"""Scaling: the same training on more and more images, and what each amount is worth.

Trainings from scratch on tables only, each for the same number of steps. Each number of images is trained on several
times with different seeds, because when a small planner learns to point is partly luck. Some (colour, shape) pairs are
on no training image, so that the same trainings show how well a planner generalises to unseen combinations
(`generalisation`).
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np

from si_embodied.studies import own_questions as own
from si_embodied.studies.checkpoints import play_checkpoint, train_checkpoint
from si_embodied.studies.plots import BLACK, COLOURS, GREY, bars, percent_axis
from si_embodied.studies.results import OverSeeds, Results, Score, markdown, total
from si_embodied.studies.settings import ScalingRun
from si_embodied.training.nano import Recipe, Training
from si_embodied.training.nano_settings import IMAGE_PROMPTS

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence
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
    seed: int = 0  # of the training

    def success(self, pair: str | None = None) -> Score:
        """Planner success, in all episodes or in those that name objects of seen or unseen pairs."""
        return total(score for name, score in self.episodes.items() if pair in (None, name))


@dataclass(frozen=True, slots=True)
class Size:
    """A number of images: a point of the curves, and a column of the table."""

    images: int
    rows: tuple[SizeRow, ...]  # one per seed

    def answers(self, kinds: str | Collection[str], pair: str) -> OverSeeds:
        """The score of some kinds of questions about seen or unseen pairs."""
        return OverSeeds(tuple(own.together(row.questions, kinds, pair) for row in self.rows))

    def success(self, pair: str | None = None) -> OverSeeds:
        """Planner success; see `SizeRow.success`."""
        return OverSeeds(tuple(row.success(pair) for row in self.rows))


def by_images(rows: Iterable[SizeRow]) -> list[Size]:
    """The rows grouped by number of images, in their order."""
    groups: dict[int, list[SizeRow]] = {}
    for row in rows:
        groups.setdefault(row.images, []).append(row)
    return [Size(images, tuple(group)) for images, group in groups.items()]


# --- measuring ------------------------------------------------------------------------------------------------------


def study(run: ScalingRun, results: Path, *, report: Say = lambda _: None) -> ScalingResults:
    """Train, measure, and write `scaling.json`; what was done before is not repeated."""
    return ScalingResults(run.settings(), measured_sizes(run, report=report)).write(results / "scaling.json")


def measured_sizes(run: ScalingRun, *, report: Say = lambda _: None) -> tuple[SizeRow, ...]:
    """Train and measure what is missing; returns a row per number of images and seed.

    Raises:
        ConfigError: the folder holds trainings with other settings, or there are too few images.
    """
    run.claim()

    @cache
    def shards(part: str) -> Labelled:
        return own.load_shards(run.data / part, "tabletop-*")

    rows = []
    for count, one in itertools.product(sorted(run.images), run.by_seed()):
        row = _known(one, count)
        if row is None:
            data, held_out = own.without_unseen_pairs(shards("train"), count), shards("held_out")
            tests = (held_out, own.with_unseen_pairs(shards("train"), one.test_images))
            row = _measured(one, data, tests, report)
            ScalingResults(one.settings(), (row,)).write(_folder(one, count) / _ROW_FILE)
        rows.append(row)
    return tuple(rows)


def _folder(run: ScalingRun, count: int) -> Path:
    return run.out / f"images-{count}-seed-{run.seed}"


def _known(run: ScalingRun, count: int) -> SizeRow | None:
    """The row that was measured before with the same settings."""
    file = _folder(run, count) / _ROW_FILE
    if file.is_file() and (found := ScalingResults.read(file)).settings == run.settings():
        return found.rows[0]
    return None


def _measured(run: ScalingRun, data: Labelled, tests: tuple[Labelled, Labelled], report: Say) -> SizeRow:
    """Train on some images, ask about others, and play."""
    folder = _folder(run, len(data))
    recipe = run.recipe or Recipe(cycle="ttd", prompts=IMAGE_PROMPTS, seed=run.seed, threads=run.threads)
    notes = f"Trained on {len(data)} tables by `si-embodied study scaling`: not for use."
    trained, checkpoint = train_checkpoint(
        run, folder, lambda: Training(recipe), lambda: (data, tests[0]), notes=notes, report=report
    )
    asked = [(test, np.arange(min(run.test_images, len(test)))) for test in tests]
    questions = own.score_questions(trained.mean, asked, lambda question: _pair(own.names_unseen_pair(question)))
    played = play_checkpoint(checkpoint, run.episodes, folder / f"{run.episodes.task}.jsonl", report=report)
    won: dict[str, list[bool]] = {}
    for episode in played:
        won.setdefault(_pair(own.mentions_unseen_pair(episode.instruction)), []).append(episode.success)
    episodes = {pair: Score.of(values) for pair, values in won.items()}
    return SizeRow(len(data), trained.step, round(trained.seconds / 60, 2), questions, episodes, seed=run.seed)


def _pair(unseen: bool) -> str:
    return UNSEEN if unseen else SEEN


# --- reporting ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ScalingResults(Results):
    """Rows by number of images and seed."""

    name: ClassVar[str] = "scaling"
    rows: tuple[SizeRow, ...]

    @property
    def sizes(self) -> list[Size]:
        """The rows by number of images."""
        return by_images(self.rows)

    def headline(self) -> str:
        """Planner success on the fewest and the most images."""
        first, last = self.sizes[0], self.sizes[-1]
        few, many = (100 * size.success().mean for size in (first, last))
        times = last.images / first.images
        return f"With {times:.0f} times the pictures, planner success goes from {few:.0f}% to {many:.0f}%"

    def table(self) -> list[str]:
        """A line per kind of question, and one for planner success."""
        kinds = own.kinds_in(one for row in self.rows for one in row.questions)
        body = [[own.KINDS[kind], *(str(size.answers(kind, SEEN)) for size in self.sizes)] for kind in kinds]
        body.append(["**planner success**", *(f"**{size.success()}**" for size in self.sizes)])
        return markdown(["", *(f"{size.images:,} pictures" for size in self.sizes)], body)

    def draw(self, figure: Any) -> None:
        """Questions on the left, planner success on the right."""
        figure.set_size_inches(11, 5.4)
        left, right = figure.subplots(1, 2, width_ratios=[3, 2], sharey=True)
        self._draw_questions(left)
        percent_axis(left, "right, % (95% interval)")
        figure.legend(loc="outside lower center", ncols=4)
        self._draw_success(right)
        for axes in (left, right):
            sizes_axis(axes, self.sizes)
        right.margins(x=0.2)

    def _draw_questions(self, axes: Any) -> None:
        kinds = own.kinds_in(one for row in self.rows for one in row.questions if one.group == SEEN)
        for number, kind in enumerate(kinds):
            scores = [size.answers(kind, SEEN) for size in self.sizes]
            means, reach = bars(scores)
            beside = [size.images * 1.02 ** (number - len(kinds) // 2) for size in self.sizes]
            axes.errorbar(
                beside, means, reach, marker="o^sDvP*"[number % 7], color=COLOURS[number % 7], capsize=2,
                elinewidth=0.8, linestyle="--" if kind in own.POINTING else "-",
                label=f"{own.KINDS[kind]} (n = {scores[-1].scores[0].count})",
            )  # fmt: skip
        axes.set_title("held-out questions answered without a mistake", loc="left")

    def _draw_success(self, axes: Any) -> None:
        images, scores = [size.images for size in self.sizes], [size.success() for size in self.sizes]
        means, reach = bars(scores)
        axes.errorbar(images, means, reach, marker="o", color=BLACK, capsize=4, linewidth=2)
        for count, mean, score in zip(images, means, scores, strict=True):
            together = total(score.scores)
            text = f"{together.total:.0f} of {together.count}"
            axes.annotate(text, (count, mean), (9, 9), textcoords="offset points")
        episodes = self.settings["episodes"]
        title = f"planner success, Tabletop {episodes['task']}, seeds from {episodes['seed']:,}"
        if len(self.rows) > len(images):
            each = [100 * row.success().mean for row in self.rows]
            axes.plot([row.images for row in self.rows], each, "x", color=GREY, zorder=3)
            title += "; x: one training"
        axes.set_title(title, loc="left")


def sizes_axis(axes: Any, sizes: Sequence[Size]) -> None:
    """Number the x axis by training images."""
    axes.set_xscale("log")
    axes.set_xticks([size.images for size in sizes], [f"{size.images:,}" for size in sizes])
    axes.minorticks_off()
    axes.set_xlabel("training pictures (the same number of steps each)")
