"""What a training run learns from, and the examples of each step: a function of the recipe's seed and the step."""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from si_embodied.errors import extra
from si_embodied.training.batches import Batch, make_batch
from si_embodied.training.camera_effects import like_cameras
from si_embodied.training.decision_batches import DecisionBatch, decision_batches
from si_embodied.training.questions import QuestionCounts
from si_embodied.training.scenes import WORLDS

with extra("models"):
    import torch

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from numpy.typing import NDArray

    from si_embodied.training.decisions import Taught, TaughtEpisode
    from si_embodied.training.examples import Labelled
    from si_embodied.training.nano import Recipe

STEPS = {
    "t": (0, "ask"), "d": (0, "cells"), "p": (0, "decide"),
    "a": (1, "ask"), "b": (1, "cells"), "q": (1, "decide"), "h": (2, "ask"),
}  # fmt: skip
"""World of the labelled images, and what the step trains: questions about them and their cells; their cells alone, with
three times as many images; or their cells and decisions of all tasks."""


class DecisionPool:
    """Decisions, drawn by the tasks' shares; within a task, those of frequent situations are drawn less often."""

    def __init__(self, episodes: Iterable[TaughtEpisode], shares: Mapping[str, float] | None = None) -> None:
        """Sort decisions by task and by situation: what was tried last, and whether a point to reach is known.

        Args:
            episodes: the decisions.
            shares: how often each task is drawn, relative to 1 for those that are not named.
        """
        self._shares = shares or {}
        self._by_task: dict[str, dict[str, list[Taught]]] = defaultdict(lambda: defaultdict(list))
        for episode in episodes:
            for decision in episode.decisions:
                self._by_task[f"{episode.env} {episode.task}"][_situation(decision)].append(decision)

    @property
    def tasks(self) -> list[str]:
        """The names of the tasks: "si_embodied/Apartment-v0 route"."""
        return sorted(self._by_task)

    def counts(self) -> dict[str, int]:
        """The number of decisions of each task."""
        return {task: sum(map(len, after.values())) for task, after in self._by_task.items()}

    def draw(self, rng: np.random.Generator, count: int, tasks: Sequence[str] = ()) -> list[Taught]:
        """`count` decisions of some tasks, by default of all by their shares, with replacement.

        Of a task's decisions, those of one situation are drawn in proportion to the square root of their number: most
        of an episode may be exploring. Among them, each answer is drawn as often as it occurs. If rare answers were
        drawn more often, the model would overrate them, and a `done` that comes once in a hundred plans ends the task.
        """
        known = tasks or self.tasks
        share = np.array([1.0 if tasks else self._shares.get(task, 1.0) for task in known])
        drawn = []
        for index in rng.choice(len(known), size=count, p=share / share.sum()):
            groups = list(self._by_task[known[index]].values())
            shares = np.sqrt([len(same) for same in groups])
            same = groups[int(rng.choice(len(groups), p=shares / shares.sum()))]
            drawn.append(same[int(rng.integers(len(same)))])
        return drawn


def _situation(decision: Taught) -> str:
    """What was tried last and how it went, like "goto done", and whether the prompt names a point to reach."""
    text = "".join(part for part in decision.content if isinstance(part, str))
    tried = re.findall(r"^[\d-]+\. (\w+).*?: (\w+)", text, flags=re.MULTILINE)
    known = re.search(r"^To reach: (?!\(none\))", text, flags=re.MULTILINE)
    return " ".join([*(tried[-1] if tried else ()), *(["known"] if known else [])])


@dataclass(frozen=True, eq=False)
class Material:
    """Labelled images, and the decisions of whole episodes, if there are any."""

    images: Labelled
    decisions: DecisionPool | None = None

    @cached_property
    def worlds(self) -> tuple[NDArray[np.int64], ...]:
        """The rows of each of `WORLDS`."""
        return tuple(np.flatnonzero(self.images.world == number) for number in range(len(WORLDS)))


def draw_step(
    material: Material, step: int, progress: float, recipe: Recipe
) -> tuple[Batch, tuple[DecisionBatch, ...]]:
    """The examples of one step."""
    rng = np.random.default_rng((recipe.seed, step))
    pool = material.decisions if progress >= recipe.decisions_from else None
    cycle = recipe.cycle if pool is None else recipe.decisions_cycle
    world, task = STEPS[cycle[step % len(cycle)]]
    if not len(material.worlds[world]):
        world = next(number for number, rows in enumerate(material.worlds) if len(rows))
    if progress < recipe.dense_share:
        task = "cells"
    count = recipe.batch_images * (3 if task == "cells" else 1)
    rows = rng.choice(material.worlds[world], size=count)
    kept = (recipe.late_cells if progress >= 1 - recipe.late_share else recipe.kept_cells)[world]
    asked = QuestionCounts(recipe.fragments[world], recipe.plans[world], recipe.glances[world])
    batch = make_batch(
        material.images, rows, rng, kept=kept, counts=asked if task == "ask" else None, prompts=recipe.prompts
    )
    pictures = [like_cameras([pixels], rng, recipe.camera_share)[0] for pixels in batch.images.numpy()]
    batch = replace(batch, images=torch.from_numpy(np.stack(pictures)))
    if pool is None or task != "decide":
        return batch, ()
    drawn = pool.draw(rng, recipe.decisions)
    return batch, decision_batches(drawn, lambda pictures: like_cameras(pictures, rng, recipe.camera_share))
