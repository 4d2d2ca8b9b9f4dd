"""The questions of one shard, sampled scene by scene.

Each question has a slot, which determines its answer and the answer's letter, so that the whole data set is balanced. A
question that finds no unambiguous case in one scene is tried in the next.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from si_embodied.data.questions import LeftOut, Question, QuestionType, Slot, question_types
from si_embodied.data.scenes import SOURCES, Scene, Source, is_worth_opening, open_scene
from si_embodied.data.settings import DataConfig
from si_embodied.errors import SceneError

HELD_OUT_FROM = 100_000
"""Scenes with this seed and above are for evaluation and never appear in training data."""
SHARD_SIZE = 128
_TRIES = 4  # per question and scene
_SCENES = 150  # per source and shard; a question without a case in so many scenes stays unfilled, and is counted
_QUESTIONS_PER_SCENE: dict[Source, int] = {
    "apartment": 10, "tabletop": 4, "sorter": 4, "figures": 64, "apartment plans": 2, "tabletop plans": 1
}  # fmt: skip


def shard_count(config: DataConfig) -> int:
    """The number of shards."""
    return -(-config.count // SHARD_SIZE)


@dataclass(frozen=True, slots=True)
class Job:
    """One question to make."""

    index: int  # in the whole data set
    type: QuestionType
    slot: Slot

    @property
    def id(self) -> str:
        """The question's id."""
        return f"{self.type.name}-{self.slot.number:06d}"


class Asked(NamedTuple):
    """A question that was made for a job."""

    job: Job
    seed: int  # of the scene
    question: Question


def jobs_of(config: DataConfig, shard: int) -> list[Job]:
    """The questions to make for a shard: the types take turns."""
    types = question_types(config.kinds)
    indices = range(shard * SHARD_SIZE, min(config.count, (shard + 1) * SHARD_SIZE))
    return [Job(i, types[i % len(types)], Slot(i // len(types))) for i in indices]


def make_questions(config: DataConfig, shard: int, counts: Counter[str]) -> Iterator[Asked]:
    """Make the questions of a shard, in no particular order.

    Args:
        config: the settings.
        shard: the shard's number.
        counts: counts what was left out, by "TYPE: REASON".
    """
    jobs = jobs_of(config, shard)
    for source in SOURCES:
        queue = deque(job for job in jobs if job.type.source == source)
        for block in range(_SCENES):
            if not queue:
                break
            draw = np.random.default_rng((config.seed, shard, SOURCES.index(source), block))
            seed = int(draw.integers(HELD_OUT_FROM)) + (HELD_OUT_FROM if config.held_out else 0)
            if not is_worth_opening(source, seed):
                continue
            try:
                with open_scene(source, seed, image_size=config.image_size) as scene:
                    yield from _ask_all(scene, queue, config, block, counts)
            except SceneError:
                counts[f"{source}: no scene"] += 1
        for job in queue:
            counts[f"{job.type.name}: unfilled"] += 1


def _ask_all(scene: Scene, queue: deque[Job], config: DataConfig, block: int, counts: Counter[str]) -> Iterator[Asked]:
    """Ask the first questions of the queue about a scene; those without an unambiguous case go to the end of it."""
    for _ in range(min(len(queue), _QUESTIONS_PER_SCENE[scene.source])):
        job = queue.popleft()
        for attempt in range(_TRIES):
            rng = np.random.default_rng((config.seed, job.index, block, attempt))
            try:
                yield Asked(job, scene.seed, job.type.ask(scene, job.slot, rng))
                break
            except LeftOut as left_out:
                counts[f"{job.type.name}: {left_out.reason}"] += 1
        else:
            queue.append(job)
