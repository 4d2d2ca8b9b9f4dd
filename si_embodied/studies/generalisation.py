"""Generalisation: trained on some (colour, shape) pairs and some places, tested on others.

Pairs: the trainings of `scaling`, by whether training showed what a question names. Places: a finished checkpoint in
the apartments and at the tables that it was trained on, and in new ones.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from si_embodied.evaluation.config import model_fingerprint
from si_embodied.studies import own_questions as own
from si_embodied.studies.plots import COLOURS, bars, grouped_bars, percent_axis
from si_embodied.studies.results import Results, markdown
from si_embodied.studies.scaling import SEEN, UNSEEN, Size, SizeRow, by_images, measured_sizes, sizes_axis
from si_embodied.studies.settings import PlannerRun, ScalingRun

if TYPE_CHECKING:
    from pathlib import Path

    from si_embodied.studies.results import Say, Score

PLACES = {"trained in": "train", "new": "held_out"}
"""The folder with the shards of each kind of place."""
_POINT = "point pick"


@dataclass(frozen=True, slots=True)
class PlaceRow:
    """What a checkpoint scores in one kind of place of one world."""

    world: str  # one of `own.WORLDS`
    place: str  # one of `PLACES`
    questions: tuple[own.KindScore, ...]
    what: Literal["places"] = "places"


# --- measuring ------------------------------------------------------------------------------------------------------


def study(
    sizes: ScalingRun, places: PlannerRun, results: Path, *, report: Say = lambda _: None
) -> GeneralisationResults:
    """Measure what was not measured before, and write `generalisation.json`."""
    rows: tuple[SizeRow | PlaceRow, ...] = measured_sizes(sizes, report=report)
    rows += measured_places(places, report=report)
    settings = {
        **sizes.settings(), "unseen_pairs": list(own.UNSEEN_PAIRS), "model": model_fingerprint(places.model),
        "place_images": places.images,
    }  # fmt: skip
    return GeneralisationResults(settings, rows).write(results / "generalisation.json")


def measured_places(run: PlannerRun, *, report: Say = lambda _: None) -> tuple[PlaceRow, ...]:
    """A row per world and kind of place.

    Raises:
        ConfigError: the checkpoint does not have the recipe's sizes, or there are no such shards.
    """
    model = run.load()
    rows = []
    for world in own.WORLDS:
        for place, part in PLACES.items():
            tests = own.first_images(run.shards / part, world, run.images)
            rows.append(PlaceRow(world, place, own.score_questions(model, tests, prompts=run.prompts)))
            report(f"{world}, places {place}: {sum(len(chosen) for _, chosen in tests)} images")
    return tuple(rows)


# --- reporting ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class GeneralisationResults(Results):
    """Pairs by number of training images, then places by world."""

    name: ClassVar[str] = "generalisation"
    rows: tuple[SizeRow | PlaceRow, ...]

    def headline(self) -> str:
        """Pointing at seen and at unseen pairs, of the largest training."""
        last = self._pairs()[-1]
        seen, unseen = (100 * last.answers(_POINT, pair).mean for pair in (SEEN, UNSEEN))
        return f"Pointing: {seen:.0f}% for colour-shape pairs seen in training, {unseen:.0f}% for pairs never seen"

    def table(self) -> list[str]:
        """Scores with what was seen in training beside scores with what was not."""
        body = []
        for size in self._pairs():
            scores = {
                "point at a thing": [size.answers(_POINT, pair) for pair in (SEEN, UNSEEN)],
                "plans": [size.answers(own.PLANS, pair) for pair in (SEEN, UNSEEN)],
                "planner success": [size.success(pair) for pair in (SEEN, UNSEEN)],
            }
            body += [[f"pairs, {size.images:,} pictures: {what}", *map(str, both)] for what, both in scores.items()]
        for world, places in self._places().items():
            for kind in own.kinds_in(one for row in places for one in row.questions):
                both = [own.together(row.questions, kind) for row in places]
                body.append([f"places, {world}: {own.KINDS[kind]}", *map(str, both)])
        return markdown(["", "seen in training", "not seen"], body)

    def draw(self, figure: Any) -> None:
        """Pairs on the left, places on the right."""
        figure.set_size_inches(11, 4.6)
        left, right = figure.subplots(1, 2, sharey=True)
        self._draw_pairs(left)
        self._draw_places(right)

    def _pairs(self) -> list[Size]:
        return by_images(row for row in self.rows if isinstance(row, SizeRow))

    def _places(self) -> dict[str, list[PlaceRow]]:
        """By world, in the order of `PLACES`."""
        rows = [row for row in self.rows if isinstance(row, PlaceRow)]
        worlds = dict.fromkeys(row.world for row in rows)
        return {w: [row for place in PLACES for row in rows if (row.world, row.place) == (w, place)] for w in worlds}

    def _draw_pairs(self, axes: Any) -> None:
        sizes = self._pairs()
        for pair, colour in zip((SEEN, UNSEEN), COLOURS, strict=False):
            for what, kinds, style in (("point at a thing", _POINT, "--"), ("plans", own.PLANS, "-")):
                scores = [size.answers(kinds, pair) for size in sizes]
                means, reach = bars(scores)
                label = f"{what}, {pair} pairs (n = {scores[-1].scores[0].count})"
                axes.errorbar(
                    [size.images for size in sizes], means, reach, marker="o", linestyle=style, color=colour, capsize=3,
                    label=label,
                )  # fmt: skip
        axes.set_title("colour-shape pairs that training showed, and six that it did not", loc="left")
        sizes_axis(axes, sizes)
        percent_axis(axes, "right, % (95% interval)")
        axes.legend(loc="best")

    def _draw_places(self, axes: Any) -> None:
        """Bars for a finished checkpoint where it was trained, and elsewhere."""
        places = self._places()
        for number, place in enumerate(PLACES):
            scores: list[Score] = [
                own.together(rows[number].questions, kinds)
                for rows in places.values()
                for kinds in (own.POINTING, own.PLANS)
            ]
            grouped_bars(axes, scores, number, f"places {place}", [f"{score.count:,}" for score in scores])
        labels = [f"{world}\n{what}" for world in places for what in ("points", "plans")]
        axes.set_xticks(range(len(labels)), labels)
        axes.set_title("the finished planner, in old places and new ones (n in the bars)", loc="left")
        axes.grid(axis="x", visible=False)
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.12), ncols=2)
