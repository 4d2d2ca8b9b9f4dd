"""Noise: how much of a planner's success is left when its sensors are those of a real robot.

Each task is played without noise and with each profile, on the same seeds.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

from si_embodied.sensor_noise.profiles import NONE, noise_profile
from si_embodied.studies.playing import Played, evaluation, paired, play
from si_embodied.studies.plots import COLOURS, bars, percent_axis
from si_embodied.studies.results import Results, markdown
from si_embodied.studies.settings import NoiseRun

if TYPE_CHECKING:
    from pathlib import Path

    from si_embodied.studies.results import Say

QUIET = NONE.name


@dataclass(frozen=True, slots=True)
class NoiseRow:
    """The episodes of one task with one profile."""

    task: str  # "Apartment-v0:objectnav"
    profile: str  # QUIET for no noise
    played: Played


# --- measuring ------------------------------------------------------------------------------------------------------


def study(run: NoiseRun, results: Path, *, report: Say = lambda _: None) -> NoiseResults:
    """Play what was not played before, and write `noise.json` after every profile.

    Raises:
        ConfigError: a task does not name its world, or the folder has records with other settings.
        UnknownNameError: there is no such world, task, policy or profile.
    """
    profiles = [NONE, *(noise_profile(name) for name in run.profiles if name != QUIET)]
    rows: list[NoiseRow] = []
    for task in run.tasks:
        for profile in profiles:
            config = replace(evaluation(run, task, run.policy), noise=profile)
            records = run.out / f"{config.world}-{config.task}-{run.policy}-{profile.name}.jsonl"
            played = Played.of(play(config, records, workers=run.workers, report=report))
            rows.append(NoiseRow(task, profile.name, played))
            NoiseResults(run.settings(), tuple(rows)).write(results / "noise.json")
    return NoiseResults(run.settings(), tuple(rows))


# --- reporting ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class NoiseResults(Results):
    """Rows by task and profile; that without noise comes first."""

    name: ClassVar[str] = "noise"
    rows: tuple[NoiseRow, ...]

    def headline(self) -> str:
        """The share of its success that the policy keeps with each profile, over all tasks, and on the worst one."""
        parts = []
        for profile in self._profiles():
            rows = [row for row in self.rows if row.profile == profile]
            kept = _ratio(sum(_kept(self._quiet(row), row)[1] for row in rows),
                          sum(_kept(self._quiet(row), row)[0] for row in rows))  # fmt: skip
            worst = min(rows, key=lambda row: _share(self._quiet(row), row))
            least = _words(_share(self._quiet(worst), worst))
            parts.append(f"{profile} keeps {_words(kept)} of the success (least: {least} on {worst.task})")
        return f"With noise: {'; '.join(parts) or 'nothing was played'}"

    def table(self) -> list[str]:
        """A line per task and profile, with a paired test against the same seeds without noise."""
        head = ("task", "noise", "success without", "success with", "kept", "lost by noise", "won by noise",
                "p (McNemar)", "SPL without", "SPL with", "p (sign flip)")  # fmt: skip
        return markdown(head, [self._line(row) for row in self.rows if row.profile != QUIET])

    def _line(self, row: NoiseRow) -> list[str]:
        quiet = self._quiet(row)
        success, spl = paired(quiet.played, row.played)
        return [
            row.task, row.profile, str(quiet.played.score), str(row.played.score), _words(_share(quiet, row)),
            str(success.only_first), str(success.only_second), f"{success.p_value:.2g}",
            quiet.played.figures[0], row.played.figures[0], "–" if spl is None else f"{spl.p_value:.2g}",
        ]  # fmt: skip

    def draw(self, figure: Any) -> None:
        """Per task, a mark without noise and one with each profile."""
        tasks = list(dict.fromkeys(row.task for row in self.rows))
        profiles = [QUIET, *self._profiles()]
        figure.set_size_inches(1.5 + 1.1 * len(tasks), 4.8)
        axes = figure.subplots()
        for number, profile in enumerate(profiles):
            rows = [row for row in self.rows if row.profile == profile]
            means, reach = bars([row.played.score for row in rows])
            where = [tasks.index(row.task) + 0.6 * ((number + 0.5) / len(profiles) - 0.5) for row in rows]
            axes.errorbar(where, means, yerr=reach, marker="o^sDvP*"[number % 7], color=COLOURS[number % len(COLOURS)],
                          linestyle="", capsize=3, label="without noise" if profile == QUIET else profile)  # fmt: skip
        axes.set_xticks(range(len(tasks)), [task.replace(":", "\n") for task in tasks], fontsize="small")
        percent_axis(axes, "success, % (95% interval)")
        figure.legend(loc="outside lower center", ncols=len(profiles))

    def _profiles(self) -> list[str]:
        return [name for name in dict.fromkeys(row.profile for row in self.rows) if name != QUIET]

    def _quiet(self, row: NoiseRow) -> NoiseRow:
        """The same task without noise."""
        return next(one for one in self.rows if (one.task, one.profile) == (row.task, QUIET))


def _kept(quiet: NoiseRow, row: NoiseRow) -> tuple[int, int]:
    """Successes without and with noise, on the seeds of both."""
    shared = [seed for seed in quiet.played.seeds if seed in row.played.seeds]
    return sum(quiet.played.on(shared).success), sum(row.played.on(shared).success)


def _share(quiet: NoiseRow, row: NoiseRow) -> float:
    """The share of the success that is left; 1 if there was none."""
    before, after = _kept(quiet, row)
    return _ratio(after, before)


def _ratio(after: int, before: int) -> float:
    return after / before if before else 1.0


def _words(share: float) -> str:
    return f"{share:.2f}"
