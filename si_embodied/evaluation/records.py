"""A run's records: one JSON object per line, in an append-only file.

There are three types of line: `run` (once, first), `plan` (one per decision) and `episode` (after the plans of its
episode; an episode without this line did not end, and its plans are not read back).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from si_embodied.errors import ConfigError, shown
from si_embodied.evaluation.episode import EpisodeResult, GoalEntry, PlanEntry
from si_embodied.runs import OR_ELSEWHERE, JsonLines, broken_line, check_settings, read_rows
from si_embodied.types import Code, Decision, Execute, PlanRecord

FORMAT = 1
_NEW: Mapping[str, Any] = {
    "floor_m2": 0.0, "decision_probability": None, "point_probability": None, "thoughts": (), "shortened": 0,
}  # fmt: skip
"""Fields of a plan that records of 0.1.0 do not have."""
_NEW_OF_EPISODES: Mapping[str, Any] = {"goals": (), "own_end": None, "own_end_message": "", "target_seen": None}
"""Likewise of an episode."""
_ELSEWHERE = ("plans", "trace", "kept_steps")
"""Fields of an episode that its line does not hold: plans have their own lines, and the others files."""


class RecordFile:
    """Appends episodes to a file, and holds those that an earlier run with the same settings left there."""

    def __init__(
        self,
        path: Path,
        settings: Mapping[str, Any],
        versions: Mapping[str, str] | None = None,
        machine: Callable[[], Mapping[str, str]] = dict,
    ) -> None:
        """Open or create the file. A file without any episode, of a run that failed at its start, is begun anew.

        Args:
            path: of the file; its folder is created.
            settings: all that the episodes have in common (`EvaluationConfig.identity`).
            versions: of the packages that a score may depend on, for the first line of a new file.
            machine: describes the computer, for the same line.

        Raises:
            ConfigError: the file holds a run with other settings, or is not a record file.
            RecordError: the file cannot be read or written.
        """
        self._lines = JsonLines(path)
        self.episodes: dict[int, EpisodeResult] = {}
        rows = self._lines.rows
        if rows and rows[0].get("type") != "run":
            raise ConfigError(f"{str(path)!r} does not begin with a run line; choose another --out")
        if not any(row.get("type") == "episode" for row in rows):
            about = {"config": settings, "versions": versions or {}, "machine": machine()}
            self._lines.restart({"type": "run", "format": FORMAT, **about})
            return
        check_settings(path, rows[0].get("config"), settings)
        self.episodes = episodes_from_json(path, rows[1:], also=OR_ELSEWHERE)

    def add(self, result: EpisodeResult) -> None:
        """Write an episode and its plans, all or nothing.

        Raises:
            RecordError: the disk is full or gone; what was written before is intact.
        """
        plans = [plan_to_json(entry, result.seed, index) for index, entry in enumerate(result.plans)]
        self._lines.append(*plans, episode_to_json(result))
        self.episodes[result.seed] = result


@dataclasses.dataclass(frozen=True, slots=True)
class Recorded:
    """What a record file holds."""

    settings: Mapping[str, Any]  # that its episodes have in common
    episodes: Mapping[int, EpisodeResult]  # by seed; without those whose simulator was lost


def read_records(path: Path) -> Recorded:
    """Read a record file without touching it: a run that goes on may be writing to it.

    Raises:
        ConfigError: there is no such file, or it is not a record file.
    """
    rows = read_rows(path)
    settings = rows[0].get("config") if rows and rows[0].get("type") == "run" else None
    if not isinstance(settings, Mapping):
        raise ConfigError(f"{str(path)!r} does not begin with a run line; choose the folder of a run")
    return Recorded(settings, episodes_from_json(path, rows[1:]))


def goals_to_json(decision: Decision) -> list[dict[str, Any]]:
    """The goals in words, and in metres where a goal is a place; none for a hold."""
    goals = decision.goals if isinstance(decision, Execute) else ()
    places = [None if goal.place_m is None else [round(float(each), 4) for each in goal.place_m] for goal in goals]
    return [{"words": goal.words, "place_m": place} for goal, place in zip(goals, places, strict=True)]


def plan_to_json(entry: PlanEntry, seed: int, index: int) -> dict[str, Any]:
    """The line for a decision."""
    record = dataclasses.asdict(entry.record)
    code = entry.record.code
    record |= {"code": int(code), "code_name": code.name, "raw_text": list(entry.record.raw_text)}
    verdict = "execute" if entry.executed else "hold"
    row = {"type": "plan", "seed": seed, "index": index, "verdict": verdict, "plan": entry.plan, **record}
    return row if entry.pointed_at is None else {**row, "pointed_at": entry.pointed_at}


def plan_from_json(row: Mapping[str, Any]) -> PlanEntry:
    """The inverse of `plan_to_json`."""
    row = {**_NEW, **row}
    values = {f.name: row[f.name] for f in dataclasses.fields(PlanRecord)}
    values |= {"code": Code(row["code"]), "raw_text": tuple(row["raw_text"]), "thoughts": tuple(row["thoughts"])}
    if not isinstance(row["plan"], str | None):
        raise TypeError(f"a plan is text or null, got: {shown(row['plan'])}")
    return PlanEntry(PlanRecord(**values), row["verdict"] == "execute", row["plan"], row.get("pointed_at"))


def episode_to_json(result: EpisodeResult) -> dict[str, Any]:
    """The line for an episode, without what lies elsewhere."""
    row = {f.name: getattr(result, f.name) for f in dataclasses.fields(result) if f.name not in _ELSEWHERE}
    goals = [{"plan": g.plan, "words": g.words, "code": g.code.name, "message": g.message} for g in result.goals]
    row |= {"goals": goals, "own_end": None if result.own_end is None else result.own_end.name}
    return {"type": "episode", **row, "metrics": dict(result.metrics), "plans": len(result.plans)}


def episode_from_json(row: Mapping[str, Any], plans: tuple[PlanEntry, ...]) -> EpisodeResult:
    """The inverse of `episode_to_json`, with the episode's plans."""
    row = {**_NEW_OF_EPISODES, **row}
    names = (f.name for f in dataclasses.fields(EpisodeResult) if f.name not in _ELSEWHERE)
    values = {name: row[name] for name in names}
    values["metrics"] = {name: float(value) for name, value in row["metrics"].items()}
    values["goals"] = tuple(GoalEntry(g["plan"], g["words"], Code[g["code"]], g["message"]) for g in row["goals"])
    values["own_end"] = None if row["own_end"] is None else Code[row["own_end"]]
    return EpisodeResult(**values, plans=plans)


def episodes_from_json(
    path: Path, rows: Iterable[Mapping[str, Any]], *, keep_lost: bool = False, also: str = ""
) -> dict[int, EpisodeResult]:
    """The episodes of a file's lines from the second on, by seed.

    Args:
        path: of the file.
        rows: its lines, without the first.
        keep_lost: with lost episodes, which a run repeats.
        also: what else to do about a broken line (`si_embodied.runs.OR_ELSEWHERE`).

    Raises:
        ConfigError: a line is not a record.
    """
    episodes: dict[int, EpisodeResult] = {}
    plans: list[PlanEntry] = []
    for number, row in enumerate(rows, 2):
        try:
            if row["type"] == "plan":
                if row["index"] == 0:
                    plans = []
                plans.append(plan_from_json(row))
            elif row["type"] == "episode" and (keep_lost or row["ended"] != "lost"):
                # An episode without plans must not inherit the plans of one that was cut off before it.
                episodes[row["seed"]] = episode_from_json(row, tuple(plans) if row["plans"] else ())
                plans = []
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise broken_line(path, number, row, f"no record: {error!r}", also=also) from error
    return episodes
