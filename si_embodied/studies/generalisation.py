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

    from numpy.typing import NDArray

    from si_embodied.training.examples import Labelled

NAME = "generalisation"
PLACES = {"trained in": "train", "new": "held_out"}
"""Where the shards of each kind of place lie."""


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
        for place, part in PLACES.items():
            tests = _first(run.data / part, world, run.images)
            questions = questions_by(model.mean, tests)
            rows.append({"what": "places", "world": world, "place": place, "questions": questions})
            report(f"{world}, places {place}: {sum(len(chosen) for _, chosen in tests)} images")
    return rows


def _first(shards: Path, world: str, count: int) -> list[tuple[Labelled, NDArray[np.int64]]]:
    """The first `count` images of a world, shard by shard: all of training's would not fit in memory."""
    tests: list[tuple[Labelled, NDArray[np.int64]]] = []
    for file in sorted(shards.glob(f"{world}-*.json")):
        if count <= 0:
            break
        data = load_shards(shards, file.stem)
        tests.append((data, np.arange(min(count, len(data)))))
        count -= len(data)
    return tests
