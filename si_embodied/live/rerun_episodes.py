"""Writes the episodes of an evaluation for the Rerun viewer."""

from __future__ import annotations

import logging
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from si_embodied.live.following import Following
from si_embodied.live.rerun_file import RerunFile

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from si_embodied.backends.tapped import Tap
    from si_embodied.evaluation.config import EvaluationConfig
    from si_embodied.evaluation.episode import EpisodeResult, MakeWatcher
    from si_embodied.policies.base import Policy
    from si_embodied.types import Observation, Task

_LOG = logging.getLogger(__name__)
SUFFIX = ".rrd"


@contextmanager
def rerun_episodes(target: Path, config: EvaluationConfig, tap: Tap) -> Iterator[MakeWatcher]:
    """Write each episode to a file of its own (an `Audience`, once `target` is bound).

    Args:
        target: a folder, or the file of the only episode.
        config: names the files, `planner-seed-000012.rrd`.
        tap: keeps the prompts as the model sees them.
    """
    policy = f"{config.policy}-{config.control}" if config.control else config.policy
    opened: list[RerunFile] = []

    def make(seed: int) -> RerunEpisode:
        close()  # an episode whose simulator was lost has not ended
        path = target if target.suffix == SUFFIX else target / f"{policy}-seed-{seed:06d}{SUFFIX}"
        title = f"{config.title}, seed {seed}"
        opened.append(file := RerunFile(path, title))
        return RerunEpisode(file, title=title, seed=seed, tap=tap)

    def close() -> None:
        while opened:
            opened.pop().close()

    try:
        yield make
    finally:
        close()


class RerunEpisode(Following):
    """Writes every step of one episode to a file. What cannot be written is logged once, and the episode goes on."""

    def __init__(self, file: RerunFile, *, title: str, seed: int, tap: Tap | None = None) -> None:
        """Follow an episode; whoever opened the file closes it."""
        super().__init__(title=title, seed=seed, tap=tap)
        self._file: RerunFile | None = file

    def acted(self, env: Any, policy: Policy, task: Task, observation: Observation, step: int) -> None:
        """Write the moment."""
        super().acted(env, policy, task, observation, step)
        self._write("acting", step)

    def end(self, result: EpisodeResult) -> None:
        """Write how it ended."""
        self._write("succeeded" if result.success else f"failed ({result.ended.replace('_', ' ')})", result.steps)

    def _write(self, status: str, step: int) -> None:
        moment = self.moment(status, step)
        if self._file is None or moment is None:
            return
        try:
            self._file.add(moment)
        except Exception as error:  # noqa: BLE001 - a picture is not worth an episode
            self._file = None
            _LOG.warning("the Rerun file gets no more of this episode: %s: %s", type(error).__name__, error)
