"""Finds the episodes to export, and makes sure that their steps were kept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from si_embodied.errors import ConfigError
from si_embodied.evaluation.episode import EpisodeResult
from si_embodied.evaluation.page.reading import StoredRun, find_runs
from si_embodied.evaluation.steps import EpisodeSteps

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


def find_episodes(folders: Sequence[Path], *, successful: bool = False) -> list[Source]:
    """The episodes of the runs in folders, without those of their controls, in the order of runs and seeds.

    Args:
        folders: what `eval` or `play` wrote, or folders that contain such folders.
        successful: leave out the others.

    Raises:
        ConfigError: there are none, or the steps of one were not kept.
    """
    runs = [run for run in find_runs(folders) if not run.suffix]
    sources = [Source(run, result) for run in runs for result in run.episodes if result.ended != "lost"]
    wanted = [source for source in sources if source.result.success or not successful]
    if not wanted:
        found = f"none of the {len(sources)} episodes succeeded" if sources else "there is no episode that ended"
        raise ConfigError(f"nothing to export from {', '.join(map(str, folders))}: {found}")
    for run in runs:
        lacking = [each for each in wanted if each.run is run and not run.steps.path(each.result.seed).exists()]
        if lacking:
            seeds = ", ".join(str(each.result.seed) for each in lacking[:5]) + (", …" if len(lacking) > 5 else "")
            raise ConfigError(
                f"{str(run.folder)!r} holds the records of its episodes, but not the steps (images, states, actions) "
                f"of {len(lacking)} of them (seeds {seeds}); {_HOW}"
            )
    return wanted
