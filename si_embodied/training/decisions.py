"""Decisions to learn from: a prompt as the robot saw it and the plan that a teacher gives, in shards of episodes."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from si_embodied.errors import ConfigError
from si_embodied.runs import write_text
from si_embodied.training.pictures import Picture

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path


Content: TypeAlias = tuple[str | Picture, ...]


@dataclass(frozen=True, slots=True)
class Taught:
    """One decision: the prompt, and the answer to learn."""

    system: str
    content: Content  # as in `Prompt`, with the numbers of the images if they have any
    answer: str  # the teacher's


@dataclass(frozen=True, slots=True)
class TaughtEpisode:
    """The decisions of one episode, in order."""

    env: str
    task: str
    seed: int
    success: bool  # of whoever acted
    decisions: tuple[Taught, ...]


def write_decisions(file: Path, episodes: Sequence[TaughtEpisode]) -> None:
    """Write a shard: texts to `file` and pictures beside it (.npz), each picture once.

    The texts are written last, so a shard that has them is complete.

    Raises:
        RecordError: a file cannot be written.
    """
    pictures: dict[Picture, int] = {}
    systems: dict[str, int] = {}

    def part(one: str | Picture) -> str | int:
        return one if isinstance(one, str) else pictures.setdefault(one, len(pictures))

    told: list[dict[str, Any]] = []
    for episode in episodes:
        decisions = [
            {"system": systems.setdefault(one.system, len(systems)), "content": [part(p) for p in one.content],
             "answer": one.answer}
            for one in episode.decisions
        ]  # fmt: skip
        told.append({"env": episode.env, "task": episode.task, "seed": episode.seed, "success": episode.success,
                     "decisions": decisions})  # fmt: skip
    sizes = np.array([(len(one.packed), one.height, one.width) for one in pictures], np.int64).reshape(-1, 3)
    packed = np.frombuffer(b"".join(one.packed for one in pictures), np.uint8)
    np.savez(file.with_suffix(".npz"), packed=packed, sizes=sizes)
    write_text(file, json.dumps({"systems": list(systems), "episodes": told}))


def read_decisions(files: Iterable[Path]) -> tuple[TaughtEpisode, ...]:
    """Read shards.

    Raises:
        ConfigError: there are none.
    """
    episodes: list[TaughtEpisode] = []
    for file in files:
        with np.load(file.with_suffix(".npz")) as arrays:
            packed, sizes = arrays["packed"].tobytes(), arrays["sizes"]
        ends = np.cumsum(sizes[:, 0])
        pictures = [
            Picture(packed[end - size : end], int(height), int(width))
            for end, (size, height, width) in zip(ends, sizes, strict=True)
        ]
        shard = json.loads(file.read_text(encoding="utf-8"))
        for told in shard["episodes"]:
            decisions = tuple(
                Taught(
                    shard["systems"][one["system"]],
                    tuple(part if isinstance(part, str) else pictures[part] for part in one["content"]),
                    one["answer"],
                )
                for one in told["decisions"]
            )
            episodes.append(TaughtEpisode(told["env"], told["task"], told["seed"], told["success"], decisions))
    if not episodes:
        raise ConfigError("no shards of decisions: collect some first")
    return tuple(episodes)
