"""Finds the runs in folders, and reads them without changing them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from si_embodied.errors import ConfigError
from si_embodied.evaluation.episode import EpisodeResult
from si_embodied.evaluation.records import episodes_from_json
from si_embodied.evaluation.report import About
from si_embodied.evaluation.session import RECORDS, REPORT, STEPS, TRACES, VIDEOS
from si_embodied.evaluation.steps import StepFolder
from si_embodied.evaluation.trace import TraceFolder
from si_embodied.runs import read_rows

_STEM, _SUFFIX = RECORDS.split(".")
_OF_THE_POLICY = (
    "policy", "policy_args", "model", "control", "planner", "weights", "device", "adapter", "thinking_tokens", "server",
    "planning_server", "script",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class StoredRun:
    """The episodes of one policy, or of one of its controls, as a folder holds them."""

    folder: Path
    suffix: str  # of the names of records, videos and traces: "" or "-blank"
    settings: Mapping[str, Any]  # `EvaluationConfig.identity`
    versions: Mapping[str, str]
    machine: Mapping[str, str]
    episodes: tuple[EpisodeResult, ...]  # by seed
    seeds: tuple[int, ...]  # of the episodes, and what the latest command asked for besides

    @property
    def about(self) -> About:
        """What its figures are about."""
        settings = self.settings
        noise = settings.get("noise")
        return About(
            env=str(settings.get("env", "")),
            task=settings.get("task"),
            policy=str(settings.get("policy", "")),
            model=settings.get("model"),
            control=settings.get("control"),
            latency=settings.get("latency", 0.0),
            noise="none" if not noise else str(noise["name"]),
            asked=len(self.seeds),
            seed=self.seeds[0] if self.seeds else 0,
        )

    @property
    def conditions(self) -> str:
        """All settings but the policy's own: runs that share them are compared."""
        shared = {name: value for name, value in self.settings.items() if name not in _OF_THE_POLICY}
        return json.dumps(shared, sort_keys=True)

    @property
    def traces(self) -> TraceFolder:
        """What its episodes looked like."""
        return TraceFolder(self.folder / f"{TRACES}{self.suffix}")

    @property
    def steps(self) -> StepFolder:
        """What was seen and done in its episodes."""
        return StepFolder(self.folder / f"{STEPS}{self.suffix}")

    def video(self, seed: int) -> Path | None:
        """The video of an episode; None if none was kept."""
        return next(iter(sorted((self.folder / f"{VIDEOS}{self.suffix}").glob(f"seed-{seed:06d}-*.mp4"))), None)


def find_runs(folders: Sequence[Path]) -> list[StoredRun]:
    """The runs in folders and in what is inside them, in the order of their names.

    Raises:
        ConfigError: there is no folder, one does not exist or holds no run, or its records cannot be read.
    """
    if not folders:
        raise ConfigError("expected at least one folder of a run, got none; give those that `si-embodied eval` wrote")
    files: dict[Path, None] = {}
    for folder in folders:
        found = list(_records_in(folder))
        if not found:
            raise ConfigError(
                f"{str(folder)!r} holds no run: expected {RECORDS} in it or in a folder inside; give the folder that "
                "`si-embodied eval` or `demo` named at its end"
            )
        files |= dict.fromkeys(found)
    return [read_run(file) for file in files]


def _records_in(folder: Path) -> Iterator[Path]:
    if not folder.is_dir():
        raise ConfigError(f"no such folder: {str(folder)!r}")
    for file in sorted(folder.rglob(f"{_STEM}*.{_SUFFIX}")):
        if file.stem == _STEM or file.stem.startswith(f"{_STEM}-"):
            yield file


def read_run(file: Path) -> StoredRun:
    """Read a file of records.

    Raises:
        ConfigError: it cannot be read, or is not a file of records.
    """
    rows = read_rows(file)
    if not rows or rows[0].get("type") != "run" or not isinstance(rows[0].get("config"), dict):
        raise ConfigError(f"{str(file)!r} does not begin with a run line, as records do")
    head = rows[0]
    by_seed = episodes_from_json(file, rows[1:], keep_lost=True)
    suffix = file.stem.removeprefix(_STEM)
    episodes = tuple(by_seed[seed] for seed in sorted(by_seed))
    return StoredRun(
        folder=file.parent,
        suffix=suffix,
        settings=head["config"],
        versions=head.get("versions") or {},
        machine=head.get("machine") or {},
        episodes=episodes,
        seeds=tuple(sorted({*by_seed, *_asked(file.parent, suffix)})),
    )


def _asked(folder: Path, suffix: str) -> range:
    """The seeds that the latest command asked for, by the report beside the records; none if that is not known."""
    try:
        report = json.loads((folder / REPORT).read_text(encoding="utf-8"))
        ran = not suffix or suffix.removeprefix("-") in report["controls"]
        return range(report["seed"], report["seed"] + report["asked"]) if ran else range(0)
    except (OSError, ValueError, KeyError, TypeError):
        return range(0)
