"""Success so far, read from a run's records while other processes write them."""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from si_embodied.evaluation.statistics import percentiles, wilson_interval

LATEST_EPISODES = 12
_LATENCIES = 2000
"""The latest plans that the percentiles of latency are of."""


@dataclass(frozen=True, slots=True)
class EpisodeRow:
    """An episode that has ended."""

    seed: int
    instruction: str
    success: bool
    steps: int
    plans: int
    ended: str


@dataclass(frozen=True, slots=True)
class RunSummary:
    """What one records file says so far."""

    name: str  # "planner on si_embodied/Apartment-v0"
    episodes: int
    successes: int
    interval: tuple[float, float]  # Wilson's, 95%
    holds: dict[str, int]  # by the code's name
    plan_s: tuple[float, float] | None  # median and 99th percentile of a plan's total; None without plans
    latest: tuple[EpisodeRow, ...]  # the latest last


@dataclass(slots=True)
class _Tail:
    """One records file, read as far as complete lines go."""

    path: Path
    offset: int = 0
    name: str = ""
    outcomes: list[bool] = field(default_factory=list)
    holds: Counter[str] = field(default_factory=Counter)
    plan_s: list[float] = field(default_factory=list)
    latest: list[EpisodeRow] = field(default_factory=list)

    def read(self) -> None:
        """Take in what was added."""
        try:
            with self.path.open("rb") as file:
                file.seek(self.offset)
                added = file.read()
        except OSError:
            return
        end = added.rfind(b"\n") + 1
        self.offset += end
        for line in added[:end].splitlines():
            try:
                self._take(json.loads(line))
            except (ValueError, KeyError, TypeError, AttributeError):  # whoever resumes the run says what is wrong
                continue

    def _take(self, row: dict[str, Any]) -> None:
        match row["type"]:
            case "run":
                config = row["config"]
                control = f" ({config['control']} images)" if config.get("control") else ""
                self.name = f"{config['policy']}{control} on {config['env']} {config.get('task') or ''}".strip()
            case "plan":
                if row["verdict"] == "hold":
                    self.holds[str(row["code_name"])] += 1
                total_s = row["latency_s"].get("total")
                if isinstance(total_s, int | float):
                    self.plan_s = [*self.plan_s[-_LATENCIES:], float(total_s)]
            case "episode" if row["ended"] != "lost":
                won = bool(row["success"])
                self.outcomes.append(won)
                told = EpisodeRow(
                    int(row["seed"]), str(row["instruction"]), won, int(row["steps"]), int(row["plans"]), row["ended"]
                )
                self.latest = [*self.latest[1 - LATEST_EPISODES :], told]

    def summary(self) -> RunSummary:
        """What it says so far."""
        successes, episodes = sum(self.outcomes), len(self.outcomes)
        low, high = wilson_interval(successes, episodes)
        taken = percentiles(self.plan_s) if self.plan_s else None
        return RunSummary(
            self.name or self.path.stem, episodes, successes, (low, high), dict(self.holds.most_common()),
            None if taken is None else (taken.p50, taken.p99), tuple(self.latest),
        )  # fmt: skip


class RecordsTail:
    """The records of a run's folder, read on where the last reading ended. One thread at a time."""

    def __init__(self, run: Path) -> None:
        """Read `records.jsonl` and those of the controls, as they appear."""
        self._run = run
        self._tails: dict[Path, _Tail] = {}

    def read(self) -> int:
        """Take in what was added; returns how many bytes have been read so far."""
        for path in sorted(self._run.glob("records*.jsonl"), key=lambda each: (len(each.name), each.name)):
            self._tails.setdefault(path, _Tail(path)).read()
        return sum(tail.offset for tail in self._tails.values())

    def to_json(self) -> str:
        """What all files say so far, as one line of JSON."""
        return json.dumps([dataclasses.asdict(tail.summary()) for tail in self._tails.values()], allow_nan=False)
