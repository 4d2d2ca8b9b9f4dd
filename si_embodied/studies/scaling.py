"""Scaling: the same training on more and more pictures, and what each amount is worth.

Trainings from nothing on tables only, the same number of steps each; some (colour, shape) pairs are on no training
picture, so that the same runs say how well what is learned goes over to unseen combinations (`generalisation`).
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from si_embodied.runs import claim
from si_embodied.studies.episodes import Episodes, play
from si_embodied.studies.results import SETTINGS_FILE, Score, read_results, write_results
from si_embodied.studies.tabletops import (
    load_shards,
    mentions_unseen_pair,
    names_unseen_pair,
    with_unseen_pairs,
    without_unseen_pairs,
)
from si_embodied.training.export import Story, export
from si_embodied.training.forward import CELLS
from si_embodied.training.measure import verdicts
from si_embodied.training.nano import STATE, Budget, Recipe, Training, train
from si_embodied.training.scenes import digest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from numpy.typing import NDArray

    from si_embodied.training.examples import Labelled
    from si_embodied.training.questions import Question

NAME = "scaling"
SEEN, UNSEEN = "seen", "unseen"
"""Whether training showed the (colour, shape) pairs that a question or an episode names."""
_ROW_FILE = "measured.json"
_MEASURE_EVERY_S = 180.0


@dataclass(frozen=True, slots=True)
class SizesRun:
    """Trainings on several amounts of pictures, and how they are measured."""

    data: Path  # the shards of `train nano`: `train/` and `held_out/`
    out: Path
    images: tuple[int, ...] = (150, 600, 2400)
    steps: int | None = 1200  # of each training
    minutes: float | None = None  # of each training, in place of steps
    test_images: int = 240  # new tables, and as many with unseen pairs
    episodes: Episodes = field(default_factory=Episodes)
    threads: int = 1
    seed: int = 0
    recipe: Recipe | None = None  # by default that of the small planner, on tables alone

    def training_settings(self) -> dict[str, Any]:
        """What the trained models are a function of, besides the number of pictures."""
        return {
            "steps": self.steps, "minutes": self.minutes, "seed": self.seed, "threads": self.threads,
            "data": digest(self.data / "train"),
        }  # fmt: skip

    def settings(self) -> dict[str, Any]:
        """What a row of the results is a function of, besides the number of pictures."""
        return {**self.training_settings(), "test_images": self.test_images, "episodes": asdict(self.episodes)}


def study(run: SizesRun, results: Path, *, report: Callable[[str], None] = lambda _: None) -> dict[str, Any]:
    """Train, measure, and write `scaling.json`; what is there already is not done again."""
    rows = measured_sizes(run, report=report)
    return write_results(results / f"{NAME}.json", NAME, run.settings(), rows)


def measured_sizes(run: SizesRun, *, report: Callable[[str], None] = lambda _: None) -> list[dict[str, Any]]:
    """A row for each amount of pictures: scores by kind of question and of episodes, by seen and unseen pairs.

    Raises:
        ConfigError: the folder has trainings of other settings, or there are too few pictures.
    """
    claim(run.out / SETTINGS_FILE, run.training_settings())
    missing = [count for count in run.images if _known(run, count) is None]
    if missing:
        data, held_out = (load_shards(run.data / part, "tabletop-*") for part in ("train", "held_out"))
        for count in sorted(missing):
            _measure(
                run, without_unseen_pairs(data, count), (held_out, with_unseen_pairs(data, run.test_images)), report
            )
    return [row for count in sorted(run.images) if (row := _known(run, count))]


def _known(run: SizesRun, count: int) -> dict[str, Any] | None:
    """The row of a size that was measured before with the same settings."""
    file = run.out / f"images-{count}" / _ROW_FILE
    if file.is_file() and (found := read_results(file))["settings"] == run.settings():
        return dict(found["rows"][0])
    return None


def _measure(run: SizesRun, data: Labelled, tests: tuple[Labelled, Labelled], report: Callable[[str], None]) -> None:
    """Train on some pictures, ask about others, play, and write the row of this size."""
    folder = run.out / f"images-{len(data)}"
    trained, checkpoint = _trained(run, data, tests[0], report)
    asked = [(test, np.arange(min(run.test_images, len(test)))) for test in tests]
    questions = questions_by(trained.mean, asked, lambda question: _pair(names_unseen_pair(question)))
    played = play(checkpoint, run.episodes, folder / f"{run.episodes.task}.jsonl", report=report)
    episodes = _tally((_pair(mentions_unseen_pair(one.instruction)), one.success) for one in played)
    row = {
        "images": len(data), "steps": trained.step, "minutes": round(trained.seconds / 60, 2), "questions": questions,
        "episodes": {pair: score.to_json() for pair, score in episodes.items()},
    }  # fmt: skip
    write_results(folder / _ROW_FILE, NAME, run.settings(), [row])


def _trained(
    run: SizesRun, data: Labelled, held_out: Labelled, report: Callable[[str], None]
) -> tuple[Training, Path]:  # fmt: skip
    """One training, from its last state on if there is one, and its checkpoint."""
    folder = run.out / f"images-{len(data)}"
    state, budget = folder / "run" / STATE, Budget(run.steps, run.minutes, 60.0, _MEASURE_EVERY_S)
    recipe = run.recipe or Recipe(cycle="ttd", seed=run.seed, threads=run.threads)
    trained = Training.load(state, threads=run.threads) if state.exists() else Training(recipe)
    if budget.progress(trained.step, trained.seconds) < 1:
        report(f"{len(data)} images: training from step {trained.step}")
        train(trained, data, held_out, folder / "run", budget, report=report)
    story = Story(
        {"tabletop": len(data)}, run.training_settings()["data"], trained.recipe.seed, trained.step,
        trained.seconds / 60, notes="One of the trainings of `si-embodied study scaling`: not for use.",
    )  # fmt: skip
    return trained, export(trained.mean, folder / "checkpoint", story)


def questions_by(
    model: Any,
    tests: Iterable[tuple[Labelled, NDArray[np.int64]]],
    group: Callable[[Question], str] = lambda _: "all",
    cells: int = CELLS,
) -> list[dict[str, Any]]:
    """How many questions of each kind are answered without a mistake, in groups.

    Args:
        model: of the small planner's architecture.
        tests: pictures, and which of them.
        group: names a question's group.
        cells: how much of a picture the model sees, as in `verdicts`.
    """
    found = (
        ((verdict.question.kind, group(verdict.question)), verdict.right)
        for data, rows in tests
        for verdict in verdicts(model, data, rows, cells=cells)
    )
    return [{"kind": kind, "group": name, **score.to_json()} for (kind, name), score in sorted(_tally(found).items())]


def _tally(found: Iterable[tuple[Any, bool]]) -> dict[Any, Score]:
    hits: dict[Any, list[bool]] = defaultdict(list)
    for key, right in found:
        hits[key].append(right)
    return {key: Score.of(values) for key, values in hits.items()}


def _pair(unseen: bool) -> str:
    return UNSEEN if unseen else SEEN
