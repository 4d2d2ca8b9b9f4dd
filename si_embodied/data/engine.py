"""The data engine: questions in shards, each a function of the settings and its number, by any number of workers.

A shard's questions are made scene by scene; what finds no clear case in one scene is tried in the next. Every question
has a slot, and the slot says which answer it is to have and at which letter, so that the whole is balanced.
"""

from __future__ import annotations

import hashlib
import io
import json
import logging
import platform
import shutil
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from si_embodied import __version__
from si_embodied.data.questions.base import LeftOut, Question, QuestionType, Slot, question_types
from si_embodied.data.records import (
    LABELS_FILE,
    MANIFEST_FILE,
    QUESTIONS_FILE,
    Conversation,
    Labels,
    full_text,
    json_line,
)
from si_embodied.data.scenes import SOURCES, Scene, Source, is_worth_opening, open_scene
from si_embodied.errors import ConfigError, DataError, RecordError, SceneError
from si_embodied.processes import worker_pool
from si_embodied.runs import claim, write_json, write_text

if TYPE_CHECKING:
    from numpy.typing import NDArray

_LOG = logging.getLogger(__name__)

HELD_OUT_FROM = 100_000
"""Scenes of this seed and above are for evaluation; training data never shows one."""
SHARD_SIZE = 128
_TRIES = 4  # of one type in one scene
_SCENES = 150  # of one source in one shard; a type that finds nothing in so many is left unfilled, and counted
_QUESTIONS_A_SCENE: dict[Source, int] = {
    "apartment": 10, "tabletop": 4, "sorter": 4, "figures": 64, "apartment plans": 2, "tabletop plans": 1
}  # fmt: skip
_SETTINGS_FILE, _SHARDS = "settings.json", "shards"


@dataclass(frozen=True, slots=True)
class DataConfig:
    """What to generate; the data are a function of this and of the versions in the manifest."""

    count: int
    seed: int = 0
    kinds: tuple[str, ...] = ()  # capabilities or types; all by default
    image_size: int = 224
    held_out: bool = False  # scenes that training never shows

    def __post_init__(self) -> None:
        """Refuse what cannot be generated."""
        if self.count < 1 or self.seed < 0 or not 64 <= self.image_size <= 1024:
            raise ConfigError(
                "expected a count of at least 1, a seed of at least 0 and an image size from 64 to 1024, got: "
                f"{self.count}, {self.seed} and {self.image_size}"
            )
        question_types(self.kinds)

    @property
    def shards(self) -> int:
        """How many shards there are."""
        return -(-self.count // SHARD_SIZE)


@dataclass(frozen=True, slots=True)
class _Job:
    """One question to be made."""

    index: int  # in the whole data set
    type: QuestionType
    slot: Slot


def _jobs(config: DataConfig, shard: int) -> list[_Job]:
    types = question_types(config.kinds)
    indices = range(shard * SHARD_SIZE, min(config.count, (shard + 1) * SHARD_SIZE))
    return [_Job(i, types[i % len(types)], Slot(i // len(types))) for i in indices]


def make_questions(config: DataConfig, shard: int, counts: Counter[str]) -> Iterator[tuple[_Job, int, Question]]:
    """The questions of a shard with their scenes' seeds, in no particular order.

    Args:
        config: the settings.
        shard: its number.
        counts: gets what was left out, as "TYPE: REASON".
    """
    jobs = _jobs(config, shard)
    for source in SOURCES:
        queue = deque(job for job in jobs if job.type.source == source)
        for block in range(_SCENES):
            if not queue:
                break
            draw = np.random.default_rng((config.seed, shard, SOURCES.index(source), block))
            seed = int(draw.integers(HELD_OUT_FROM)) + (HELD_OUT_FROM if config.held_out else 0)
            if not is_worth_opening(source, seed):
                continue
            try:
                with open_scene(source, seed, image_size=config.image_size) as scene:
                    yield from _ask_all(scene, queue, config, block, counts)
            except SceneError:
                counts[f"{source}: no scene"] += 1
        for job in queue:
            counts[f"{job.type.name}: unfilled"] += 1


def _ask_all(
    scene: Scene, queue: deque[_Job], config: DataConfig, block: int, counts: Counter[str]
) -> Iterator[tuple[_Job, int, Question]]:
    """Ask the first questions of the queue about a scene; those without a clear case go to its end."""
    for _ in range(min(len(queue), _QUESTIONS_A_SCENE[scene.source])):
        job = queue.popleft()
        for attempt in range(_TRIES):
            rng = np.random.default_rng((config.seed, job.index, block, attempt))
            try:
                yield job, scene.seed, job.type.ask(scene, job.slot, rng)
                break
            except LeftOut as left_out:
                counts[f"{job.type.name}: {left_out.reason}"] += 1
        else:
            queue.append(job)


# --- one shard on disk ----------------------------------------------------------------------------------------------


def _png(rgb: NDArray[np.uint8]) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(rgb).save(buffer, "PNG", compress_level=4)
    return buffer.getvalue()


def write_shard(config: DataConfig, shard: int, out: Path) -> Path:
    """Make one shard in the data set's folder; returns its summary, which is written last and says that it is whole.

    Raises:
        RecordError: something cannot be written.
    """
    folder, counts = f"images/{shard:05d}", Counter[str]()
    digest, written, lines = hashlib.sha256(), set[str](), []
    try:
        shutil.rmtree(out / folder, ignore_errors=True)
        (out / folder).mkdir(parents=True)
        for job, seed, question in make_questions(config, shard, counts):
            paths = []
            for rgb in question.images:
                data = _png(rgb)
                path = f"{folder}/{hashlib.sha256(data).hexdigest()[:20]}.png"
                if path not in written:
                    (out / path).write_bytes(data)
                    written.add(path)
                paths.append(path)
            lines.append((job, _entry(job, question, paths), _labels(job, question, seed)))
    except OSError as error:
        if isinstance(error, RecordError):
            raise
        raise RecordError(
            f"cannot write into {str(out)!r}: {error.strerror or error}; check the folder and the space there"
        ) from error
    for path in sorted(written):
        digest.update(path.encode())  # the name is a hash of what is in the file
    lines.sort(key=lambda line: line[0].index)
    base = out / _SHARDS / f"{shard:05d}"
    write_text(base.with_suffix(".questions.jsonl"), "".join(json_line(entry.as_json()) for _, entry, _ in lines))
    write_text(base.with_suffix(".labels.jsonl"), "".join(json_line(asdict(labels)) for _, _, labels in lines))
    summary = {
        "types": dict(sorted(Counter(job.type.name for job, _, _ in lines).items())),
        "left_out": dict(sorted(counts.items())),
        "images": len(written),
        "images_sha256": digest.hexdigest(),
    }
    write_json(base.with_suffix(".json"), summary)
    return base.with_suffix(".json")


def _id(job: _Job) -> str:
    return f"{job.type.name}-{job.slot.number:06d}"


def _entry(job: _Job, question: Question, paths: Sequence[str]) -> Conversation:
    return Conversation(_id(job), (("human", full_text(question)), ("gpt", question.answer)), tuple(paths))


def _labels(job: _Job, question: Question, seed: int) -> Labels:
    kind = job.type
    return Labels(
        _id(job), kind.capability, kind.name, question.form, question.answer, question.options, seed, question.accepts
    )


# --- the whole ------------------------------------------------------------------------------------------------------


def generate(
    config: DataConfig, out: Path, *, workers: int = 1, progress: Callable[[int], None] = lambda _: None
) -> dict[str, Any]:
    """Generate a data set, or resume one with the same settings; returns its manifest.

    Args:
        config: what to generate.
        out: its folder.
        workers: processes; the data do not depend on it.
        progress: called with the number of questions asked for in each finished shard.

    Raises:
        ConfigError: the folder holds a run with other settings.
        RecordError: something cannot be written; what is finished is kept.
    """
    if workers < 1:
        raise ConfigError(f"expected at least 1 worker, got: {workers}")
    manifest = out / MANIFEST_FILE
    claim(out / _SETTINGS_FILE, asdict(config))
    if manifest.is_file():
        progress(config.count)
        found: dict[str, Any] = json.loads(manifest.read_text(encoding="utf-8"))
        return found
    missing = []
    for shard in range(config.shards):
        if (out / _SHARDS / f"{shard:05d}.json").is_file():
            progress(len(_jobs(config, shard)))
        else:
            missing.append(shard)
    for shard in _run(config, out, missing, workers):
        progress(len(_jobs(config, shard)))
    return _finish(config, out)


def _run(config: DataConfig, out: Path, shards: Sequence[int], workers: int) -> Iterator[int]:
    """Write shards; yields each when it is whole."""
    if workers == 1 or len(shards) < 2:
        for shard in shards:
            write_shard(config, shard, out)
            yield shard
        return
    waiting = iter(shards)
    running: dict[Future[Path], int] = {}
    with worker_pool(min(workers, len(shards))) as pool:
        while True:
            for shard in waiting:
                running[pool.submit(write_shard, config, shard, out)] = shard
                if len(running) >= 2 * workers:
                    break
            if not running:
                return
            done, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in done:
                try:
                    future.result()
                except BrokenProcessPool as error:
                    raise DataError("a worker died (out of memory?); the same command goes on from there") from error
                yield running.pop(future)


def _finish(config: DataConfig, out: Path) -> dict[str, Any]:
    """Put the shards together and write the manifest, last."""
    summaries = []
    texts: dict[str, list[str]] = {QUESTIONS_FILE: [], LABELS_FILE: []}
    for shard in range(config.shards):
        base = out / _SHARDS / f"{shard:05d}"
        try:
            summaries.append(json.loads(base.with_suffix(".json").read_text(encoding="utf-8")))
            for name, parts in texts.items():
                parts.append(base.with_suffix(f".{name}").read_text(encoding="utf-8"))
        except (OSError, json.JSONDecodeError) as error:
            raise DataError(
                f"shard {shard} of {str(out)!r} is broken: {error}; delete {base}.json and go on"
            ) from error
    hashes = {}
    for name, parts in texts.items():
        whole = "".join(parts)
        write_text(out / name, whole)
        hashes[name] = hashlib.sha256(whole.encode("utf-8")).hexdigest()
    for shard, summary in enumerate(summaries):
        hashes[f"images/{shard:05d}"] = summary["images_sha256"]
    types, left_out = Counter[str](), Counter[str]()
    for summary in summaries:
        types.update(summary["types"])
        left_out.update(summary["left_out"])
    manifest = {
        "settings": asdict(config),
        "questions": sum(types.values()),
        "images": sum(summary["images"] for summary in summaries),
        "types": dict(sorted(types.items())),
        "left_out": dict(sorted(left_out.items())),
        "sha256": hashes,
        "versions": versions(),
    }
    write_json(out / MANIFEST_FILE, manifest)
    shutil.rmtree(out / _SHARDS, ignore_errors=True)
    return manifest


def versions() -> dict[str, str]:
    """What the data's bytes depend on besides the settings."""
    from si_embodied.envs.mujoco.renderer import select_renderer

    names = ("numpy", "scipy", "mujoco", "gymnasium-robotics", "pillow")
    found = {name: metadata.version(name) for name in names}
    return {
        "si-embodied": __version__,
        "python": platform.python_version(),
        **found,
        "renderer": select_renderer().name,
    }
