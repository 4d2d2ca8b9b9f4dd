"""Generalisation: trained on some colour-shape pairs and rooms, tested on others.

Pairs: the trainings of `scaling`, by whether training showed what a question names. Rooms: a finished checkpoint in the
apartments that it was trained in, and in new ones.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from si_embodied.evaluation.config import model_fingerprint
from si_embodied.studies.results import write_results
from si_embodied.studies.scaling import SizesRun, measured_sizes, questions_by
from si_embodied.studies.tabletops import UNSEEN_PAIRS, load_shards
from si_embodied.training.nano import Recipe, Training

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

NAME = "generalisation"
PLACES = {"trained in": ("train", "{}-000?0-*"), "new": ("held_out", "{}-*")}
"""Shards of the places: the first apartments or tables of training, and those that are held out."""


@dataclass(frozen=True, slots=True)
class PlacesRun:
    """A checkpoint in places that its training showed, and in new ones."""

    model: Path
    data: Path  # the shards that the checkpoint was trained on, and those held out
    images: int = 240  # of each
    threads: int = 1
    recipe: Recipe | None = None  # for checkpoints of other sizes than the shipped one


def study(
    sizes: SizesRun, places: PlacesRun, results: Path, *, report: Callable[[str], None] = lambda _: None
) -> dict[str, Any]:
    """Measure what is not measured yet, and write `generalisation.json`."""
    rows = [{"what": "pairs", **row} for row in measured_sizes(sizes, report=report)]
    rows += measured_places(places, report=report)
    settings = {
        **sizes.settings(), "unseen_pairs": list(UNSEEN_PAIRS), "model": model_fingerprint(places.model),
        "place_images": places.images,
    }  # fmt: skip
    return write_results(results / f"{NAME}.json", NAME, settings, rows)


def measured_places(run: PlacesRun, *, report: Callable[[str], None] = lambda _: None) -> list[dict[str, Any]]:
    """A row for each world and kind of place: scores by kind of question.

    Raises:
        ConfigError: the checkpoint is of other sizes than the recipe's, or there are no such shards.
    """
    model = Training(run.recipe or Recipe(threads=run.threads))
    model.start_from(run.model)
    rows = []
    for world in ("tabletop", "apartment"):
        for place, (part, pattern) in PLACES.items():
            data = load_shards(run.data / part, pattern.format(world))
            chosen = np.linspace(0, len(data) - 1, min(run.images, len(data))).round().astype(np.int64)
            rows.append(
                {"what": "places", "world": world, "place": place,
                 "questions": questions_by(model.mean, [(data, chosen)])}
            )  # fmt: skip
            report(f"{world}, places {place}: {len(chosen)} images")
    return rows
