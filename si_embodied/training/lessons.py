"""Collect the decisions of whole episodes, in shards that worker processes write.

A shard is a function of its name alone, so an interrupted run can resume.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, SupportsFloat

import numpy as np

from si_embodied.backends.opening import open_backend
from si_embodied.errors import SceneError, extra
from si_embodied.evaluation.episode import run_episode
from si_embodied.evaluation.registry import make_env, observe
from si_embodied.planner import Planner
from si_embodied.policies.perfect_pixels import perfect_pixels_backend
from si_embodied.policies.planner_policy import SpatialPlannerPolicy, embodiment_of
from si_embodied.processes import worker_pool
from si_embodied.training.dagger import DaggerBackend, Shares
from si_embodied.training.decisions import TaughtEpisode, write_decisions

with extra("sim"):
    import gymnasium

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from si_embodied.backends.base import Backend
    from si_embodied.evaluation.config import EvaluationConfig


_DECISIONS_AFTER = 3
"""After an arm's success: the student may go on, and learns how that ends."""


@dataclass(frozen=True, slots=True)
class Lesson:
    """One unit of work: the decisions in the episodes of consecutive seeds.

    The configuration's `backend` is the student; with None the teacher acts itself.
    """

    config: EvaluationConfig
    shares: Shares = Shares()

    @property
    def name(self) -> str:
        """The name of its two files, without suffix: all that its decisions depend on."""
        config = self.config
        told = f"{config.digest()} {self.shares.teacher} {self.shares.disturbed}"
        digest = hashlib.sha256(told.encode()).hexdigest()[:8]
        return f"{config.world}-{config.task or 'default'}-{digest}-{config.seed:05d}-{config.episodes}"


def plan_lessons(config: EvaluationConfig, shares: Shares, *, size: int = 40) -> list[Lesson]:
    """Lessons of `size` episodes that cover the configuration's seeds."""
    seeds = config.seeds
    return [
        Lesson(replace(config, seed=first, episodes=min(size, seeds.stop - first)), shares)
        for first in range(seeds.start, seeds.stop, size)
    ]


def collect(
    lessons: Sequence[Lesson], directory: Path, *, workers: int = 1, done: Callable[[str, int], None] = lambda *_: None
) -> None:
    """Write the shards that are missing; `done` is called with each one's name and number of decisions."""
    directory.mkdir(parents=True, exist_ok=True)
    missing = [lesson for lesson in lessons if not (directory / f"{lesson.name}.json").exists()]
    if workers == 1 or len(missing) < 2:
        for lesson in missing:
            done(lesson.name, collect_lesson(lesson, directory))
        return
    with worker_pool(min(workers, len(missing))) as pool:
        counts = pool.map(collect_lesson, missing, [directory] * len(missing))
        for lesson, count in zip(missing, counts, strict=True):
            done(lesson.name, count)


def collect_lesson(lesson: Lesson, directory: Path) -> int:
    """Run the episodes of one lesson and write their shard; returns the number of decisions."""
    config = lesson.config
    student = None if config.backend is None else open_backend(config.backend)
    env = _LastSeen(make_env(config))
    try:
        episodes = [episode for seed in config.seeds if (episode := _episode(env, lesson, student, seed))]
    finally:
        env.close()
        if student is not None:
            student.close()
    write_decisions(directory / f"{lesson.name}.json", episodes)
    return sum(len(episode.decisions) for episode in episodes)


def _episode(env: _LastSeen, lesson: Lesson, student: Backend | None, seed: int) -> TaughtEpisode | None:
    """The decisions of one episode; None if the seed has no scene, or the simulator was lost."""
    config = lesson.config
    teacher = perfect_pixels_backend(env, knows_the_way=False)
    backend = DaggerBackend(teacher, student, np.random.default_rng((seed, 11)), lesson.shares)
    planner = Planner(backend, embodiment_of(env), config.planner)
    policy = SpatialPlannerPolicy(planner, latency=config.latency, sleep=lambda _: None)
    try:
        result = run_episode(env, policy, seed, observe=observe)
        if result.success:
            _go_on(env, policy, backend)
    except SceneError:
        return None
    finally:
        policy.close()
    if result.ended == "lost":
        return None
    return TaughtEpisode(config.env, result.task, seed, result.success, tuple(backend.decisions))


class _LastSeen(gymnasium.Wrapper[Any, Any, Any, Any]):
    """Keeps the last observation."""

    raw: dict[str, Any]

    def step(self, action: Any) -> tuple[Any, SupportsFloat, bool, bool, dict[str, Any]]:
        result = super().step(action)
        self.raw = result[0]
        return result


def _go_on(env: _LastSeen, policy: SpatialPlannerPolicy, backend: DaggerBackend) -> None:
    """Decide what comes after a success that ended the episode, as a robot must, which is not told of it.

    An arm first carries out the rest of its goal: it has let go of the object, and still has to withdraw. A skill robot
    cannot act any more, as its environment is over, but its goal has been carried out.
    """
    world: Any = env.unwrapped
    until = len(backend.decisions) + _DECISIONS_AFTER
    while policy.execution.end is None:
        action = policy.act(observe(env.raw, world.embodiment.cameras))
        if world.kind != "manipulation" or len(backend.decisions) >= until:
            return
        env.step(action)
