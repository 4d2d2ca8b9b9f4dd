"""The data engine: writes a data set in shards, each a function of the settings and its number alone."""

from __future__ import annotations

import hashlib
import io
import json
import platform
import shutil
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image

from si_embodied import __version__
from si_embodied.data.questions.base import full_text
from si_embodied.data.records import (
    LABELS_FILE,
    MANIFEST_FILE,
    QUESTIONS_FILE,
    Conversation,
    Labels,
    json_line,
)
from si_embodied.data.sampling import Asked, jobs_of, make_questions, shard_count
from si_embodied.data.settings import DataConfig
from si_embodied.errors import DataError, RecordError
from si_embodied.parallel.placement import HERE, Place
from si_embodied.parallel.work import WorkError, work_through
from si_embodied.progress import track
from si_embodied.runs import claim, write_json, write_text

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_SETTINGS_FILE, _SHARDS = "settings.json", "shards"


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a finished data set holds; the content of `manifest.json`."""

    settings: DataConfig
    questions: int
    images: int
    types: dict[str, int]  # questions by type
    left_out: dict[str, int]  # attempts without an unambiguous case, by "TYPE: REASON"
    sha256: dict[str, str]  # of the two files, and of the images by folder
    versions: dict[str, str]  # what the data's bytes depend on besides the settings


# --- one shard ------------------------------------------------------------------------------------------------------


def write_shard(config: DataConfig, shard: int, out: Path) -> Path:
    """Make one shard in the data set's folder; returns its summary, which is written last and marks it as complete.

    Raises:
        RecordError: a file cannot be written.
    """
    folder, counts = f"images/{shard:05d}", Counter[str]()
    made: list[tuple[Asked, list[str]]] = []
    try:
        shutil.rmtree(out / folder, ignore_errors=True)
        (out / folder).mkdir(parents=True)
        for asked in make_questions(config, shard, counts):
            made.append((asked, [_write_image(rgb, folder, out) for rgb in asked.question.images]))
    except OSError as error:
        raise RecordError(
            f"cannot write into {str(out)!r}: {error.strerror or error}; check the folder and its free space"
        ) from error
    made.sort(key=lambda one: one[0].job.index)
    images = sorted({path for _, paths in made for path in paths})
    base = out / _SHARDS / f"{shard:05d}"
    lines = [json_line(_conversation(asked, paths).as_json()) for asked, paths in made]
    write_text(base.with_suffix(f".{QUESTIONS_FILE}"), "".join(lines))
    write_text(base.with_suffix(f".{LABELS_FILE}"), "".join(json_line(_labels(asked).as_json()) for asked, _ in made))
    summary = {
        "types": dict(sorted(Counter(asked.job.type.name for asked, _ in made).items())),
        "left_out": dict(sorted(counts.items())),
        "images": len(images),
        "images_sha256": hashlib.sha256("".join(images).encode()).hexdigest(),  # names are hashes of the content
    }
    write_json(base.with_suffix(".json"), summary)
    return base.with_suffix(".json")


def _write_image(rgb: NDArray[np.uint8], folder: str, out: Path) -> str:
    """Write an image unless the shard already has it; returns its path relative to the data set's folder."""
    buffer = io.BytesIO()
    Image.fromarray(rgb).save(buffer, "PNG", compress_level=4)
    data = buffer.getvalue()
    path = f"{folder}/{hashlib.sha256(data).hexdigest()[:20]}.png"
    if not (out / path).exists():
        (out / path).write_bytes(data)
    return path


def _conversation(asked: Asked, paths: Sequence[str]) -> Conversation:
    question = asked.question
    return Conversation(asked.job.id, (("human", full_text(question)), ("gpt", question.answer)), tuple(paths))


def _labels(asked: Asked) -> Labels:
    job, question = asked.job, asked.question
    return Labels(
        job.id, job.type.capability, job.type.name, question.form, question.answer, question.options, asked.seed,
        question.accepts,
    )  # fmt: skip


# --- the whole data set ---------------------------------------------------------------------------------------------


def generate(config: DataConfig, out: Path, *, placement: Place = HERE) -> Manifest:
    """Generate a data set, or resume one with the same settings; returns its manifest.

    Args:
        config: what to generate.
        out: the data set's folder.
        placement: where the shards are made, and how many at once; it does not affect the data. The workers of a
            cluster write into `out` themselves, so it must be on a disk that all of them share.

    Raises:
        ConfigError: the folder holds a run with other settings.
        RecordError: a file cannot be written; complete shards are kept.
        DataError: a shard failed in another process, or its files are corrupt or on another machine.
    """
    claim(out / _SETTINGS_FILE, asdict(config))
    manifest = out / MANIFEST_FILE
    if manifest.is_file():
        return Manifest(**{**json.loads(manifest.read_text(encoding="utf-8")), "settings": config})
    shards = range(shard_count(config))
    missing = [shard for shard in shards if not _summary(out, shard).is_file()]
    made = config.count - sum(len(jobs_of(config, shard)) for shard in missing)
    try:
        with (
            track("data", config.count, done=made, unit="questions") as work,
            placement.pool() as pool,
        ):
            for shard in work_through(pool, partial(_ShardMaker, config, out.absolute()), missing):
                if not _summary(out, shard).is_file():
                    raise DataError(
                        f"shard {shard} was written on another machine; choose an --out that all nodes share, got: "
                        f"{str(out)!r}"
                    )
                work.advance(len(jobs_of(config, shard)))
    except WorkError as error:
        raise DataError(f"shard {error}") from error.__cause__
    return _finish(config, out)


def _summary(out: Path, shard: int) -> Path:
    """The file that marks a shard as complete."""
    return out / _SHARDS / f"{shard:05d}.json"


class _ShardMaker:
    """Makes shards as tasks."""

    def __init__(self, config: DataConfig, out: Path) -> None:
        self._config, self._out = config, out

    def do(self, shard: int) -> int:
        write_shard(self._config, shard, self._out)
        return shard

    def close(self) -> None:
        pass


def _finish(config: DataConfig, out: Path) -> Manifest:
    """Join the shards and write the manifest last."""
    summaries = []
    texts: dict[str, list[str]] = {QUESTIONS_FILE: [], LABELS_FILE: []}
    for shard in range(shard_count(config)):
        base = out / _SHARDS / f"{shard:05d}"
        try:
            summaries.append(json.loads(base.with_suffix(".json").read_text(encoding="utf-8")))
            for name, parts in texts.items():
                parts.append(base.with_suffix(f".{name}").read_text(encoding="utf-8"))
        except (OSError, json.JSONDecodeError) as error:
            raise DataError(
                f"shard {shard} of {str(out)!r} is corrupt ({error}): delete {base}.json and run the command again"
            ) from error
    hashes, types, left_out = {}, Counter[str](), Counter[str]()
    for name, parts in texts.items():
        whole = "".join(parts)
        write_text(out / name, whole)
        hashes[name] = hashlib.sha256(whole.encode("utf-8")).hexdigest()
    for shard, summary in enumerate(summaries):
        hashes[f"images/{shard:05d}"] = summary["images_sha256"]
        types.update(summary["types"])
        left_out.update(summary["left_out"])
    images = sum(summary["images"] for summary in summaries)
    counts = dict(sorted(types.items())), dict(sorted(left_out.items()))
    manifest = Manifest(config, types.total(), images, *counts, hashes, versions())
    write_json(out / MANIFEST_FILE, asdict(manifest))
    shutil.rmtree(out / _SHARDS, ignore_errors=True)
    return manifest


def versions() -> dict[str, str]:
    """The versions that the data's bytes depend on."""
    from si_embodied.envs.mujoco.renderer import select_renderer

    names = ("numpy", "scipy", "mujoco", "gymnasium-robotics", "pillow")
    found = {name: metadata.version(name) for name in names}
    return {
        "si-embodied": __version__,
        "python": platform.python_version(),
        **found,
        "renderer": select_renderer().name,
    }
