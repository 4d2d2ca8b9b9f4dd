"""Finds the episodes to export, and makes sure that their steps were kept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from si_embodied.errors import ConfigError
from si_embodied.evaluation.episode import EpisodeResult
from si_embodied.evaluation.page.reading import StoredRun, find_runs
from si_embodied.evaluation.steps import EpisodeSteps
from si_embodied.wording import counted, seeds_in_words

_HOW = "keep them: repeat `si-embodied eval` with --keep-steps and another --out"


@dataclass(frozen=True, slots=True, eq=False)
class Source:
    """A recorded episode."""

    run: StoredRun
    result: EpisodeResult

    def __str__(self) -> str:
        return f"the episode with seed {self.result.seed} in {str(self.run.folder)!r}"

    def steps(self, *, images: bool = True) -> EpisodeSteps:
        """Read its steps, with their images or without.

        Raises:
            ConfigError: they were not kept, or their file is damaged.
        """
        steps = self.run.steps.get(self.result.seed, images=images)
        if steps is None:
            raise ConfigError(f"{self} has no steps: {_HOW}")
        return steps


def find_episodes(
    folders: Sequence[Path], *, successful: bool = False, with_steps: bool = False
) -> list[Source]:  # fmt: skip
    """The episodes of the runs in folders, without those of their controls, in the order of runs and seeds.

    Args:
        folders: what `eval` or `play` wrote, or folders that contain such folders.
        successful: leave out the others.
        with_steps: leave out those whose steps were not kept.

    Raises:
        ConfigError: there are none, or the steps of one were not kept.
    """
    runs = [run for run in find_runs(folders) if not run.suffix]
    sources = [Source(run, result) for run in runs for result in run.episodes if result.ended != "lost"]
    wanted = [source for source in sources if source.result.success or not successful]
    if not wanted:
        found = f"none of {counted(len(sources), 'episode')} succeeded" if sources else "there is no episode that ended"
        raise ConfigError(f"nothing to export from {', '.join(map(str, folders))}: {found}")
    kept = [source for source in wanted if source.run.steps.path(source.result.seed).exists()]
    if len(kept) == len(wanted) or (with_steps and kept):
        return kept
    lacking: dict[str, list[int]] = {}
    for source in wanted:
        if source not in kept:
            lacking.setdefault(str(source.run.folder), []).append(source.result.seed)
    where = "; ".join(f"{folder!r}, seeds {seeds_in_words(seeds)}" for folder, seeds in lacking.items())
    rest = f", or leave them out and export the other {len(kept)} with --with-steps" if kept else ""
    raise ConfigError(
        f"the records of {len(wanted) - len(kept)} of {len(wanted)} episodes have no steps (images, states, actions): "
        f"{where}; {_HOW}{rest}"
    )
