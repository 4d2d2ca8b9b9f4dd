"""A run's records: one JSON object a line, written so that nothing already there is ever lost.

Three types of line: `run` (once, first), `plan` (one a decision), `episode` (after the plans of its episode; an episode
without this line did not end, and its plans are not read back).
"""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from si_embodied.errors import ConfigError, RecordError
from si_embodied.evaluation.episode import EpisodeResult, PlanEntry
from si_embodied.types import Code, PlanRecord

FORMAT = 1


class RecordFile:
    """Appends episodes to a file, and gives back those that an earlier run of the same configuration left."""

    def __init__(self, path: Path, digest: str, header: Mapping[str, Any]) -> None:
        """Open or create the file.

        Args:
            path: where; its folder is made.
            digest: of the configuration; a file of another configuration is refused, not mixed.
            header: written into the first line of a new file.

        Raises:
            ConfigError: the file is another run's, or no record file.
            RecordError: the file cannot be read or written.
        """
        self.path = path
        self.episodes: dict[int, EpisodeResult] = {}
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            lines = self._complete_lines()
        except OSError as error:
            raise self._failed(error) from error
        if not lines:
            self._append([{"type": "run", "format": FORMAT, "digest": digest, **header}])
            return
        self._check_header(lines[0], digest)
        self.episodes = _read_episodes(path, lines[1:])

    def add(self, result: EpisodeResult) -> None:
        """Write an episode and its plans, all or nothing.

        Raises:
            RecordError: the disk is full or gone; what was written before is intact.
        """
        plans = [plan_to_json(entry, result.seed, index) for index, entry in enumerate(result.plans)]
        self._append([*plans, episode_to_json(result)])
        self.episodes[result.seed] = result

    def _complete_lines(self) -> list[dict[str, Any]]:
        """The file's lines; a last one that a crash cut short is removed from the file."""
        if not self.path.exists():
            return []
        if not self.path.is_file():
            raise ConfigError(f"{str(self.path)!r} is not a regular file; choose another --out")
        content = self.path.read_bytes()
        end = content.rfind(b"\n") + 1
        if end != len(content):
            os.truncate(self.path, end)
        try:
            return [json.loads(line) for line in content[:end].splitlines()]
        except ValueError as error:
            raise ConfigError(f"{str(self.path)!r} is not a record file ({error}); choose another --out") from error

    def _check_header(self, header: Mapping[str, Any], digest: str) -> None:
        if header.get("type") != "run":
            raise ConfigError(f"{str(self.path)!r} does not begin with a run line; choose another --out")
        if header.get("digest") != digest:
            raise ConfigError(
                f"{str(self.path)!r} holds a run with other settings ({header.get('config')}); "
                "choose another --out, or remove that folder"
            )

    def _append(self, rows: Iterable[Mapping[str, Any]]) -> None:
        data = "".join(json.dumps(row, allow_nan=False) + "\n" for row in rows).encode()
        try:
            # Opened for each episode: a disk that comes back, or a folder that was moved, is noticed at once.
            with self.path.open("ab", buffering=0) as stream:
                size = os.fstat(stream.fileno()).st_size
                try:
                    _write_all(stream.fileno(), data)
                except OSError:
                    if size:
                        os.ftruncate(stream.fileno(), size)
                    raise
        except OSError as error:
            raise self._failed(error) from error

    def _failed(self, error: OSError) -> RecordError:
        kept = len(self.episodes)
        return RecordError(
            f"cannot write records to {str(self.path)!r}: {error.strerror or error}. Free some space or choose another "
            f"--out; {kept} finished episodes are kept there, and the same command goes on after them"
        )


def _write_all(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def plan_to_json(entry: PlanEntry, seed: int, index: int) -> dict[str, Any]:
    """The line of a decision."""
    record = dataclasses.asdict(entry.record)
    code = entry.record.code
    record |= {"code": int(code), "code_name": code.name, "raw_text": list(entry.record.raw_text)}
    verdict = "execute" if entry.executed else "hold"
    return {"type": "plan", "seed": seed, "index": index, "verdict": verdict, "plan": entry.plan, **record}


def plan_from_json(row: Mapping[str, Any]) -> PlanEntry:
    """The inverse of `plan_to_json`."""
    values = {f.name: row[f.name] for f in dataclasses.fields(PlanRecord)}
    values |= {"code": Code(row["code"]), "raw_text": tuple(row["raw_text"])}
    return PlanEntry(PlanRecord(**values), row["verdict"] == "execute", row["plan"])


def episode_to_json(result: EpisodeResult) -> dict[str, Any]:
    """The line of an episode; its plans have lines of their own."""
    row = {f.name: getattr(result, f.name) for f in dataclasses.fields(result) if f.name != "plans"}
    return {"type": "episode", **row, "metrics": dict(result.metrics), "plans": len(result.plans)}


def _read_episodes(path: Path, rows: Iterable[Mapping[str, Any]]) -> dict[int, EpisodeResult]:
    episodes: dict[int, EpisodeResult] = {}
    plans: list[PlanEntry] = []
    names = [f.name for f in dataclasses.fields(EpisodeResult) if f.name != "plans"]
    try:
        for row in rows:
            if row["type"] == "plan":
                if row["index"] == 0:
                    plans = []
                plans.append(plan_from_json(row))
            elif row["type"] == "episode" and row["ended"] != "lost":  # those are tried again
                values = {name: row[name] for name in names}
                # An episode without plans must not inherit those of one that was cut off before it.
                episodes[row["seed"]] = EpisodeResult(**values, plans=tuple(plans) if row["plans"] else ())
                plans = []
    except (KeyError, TypeError, ValueError) as error:
        raise ConfigError(
            f"{str(path)!r} has a record that cannot be read ({error!r}); choose another --out"
        ) from error
    return episodes


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Write a JSON file in one move: a reader sees the old or the new one, never half.

    Raises:
        RecordError: it cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f".{path.name}.part")
        part.write_text(json.dumps(value, indent=2, allow_nan=False, ensure_ascii=False) + "\n", encoding="utf-8")
        part.replace(path)
    except OSError as error:
        raise RecordError(
            f"cannot write {str(path)!r}: {error.strerror or error}; free some space or choose another folder"
        ) from error
