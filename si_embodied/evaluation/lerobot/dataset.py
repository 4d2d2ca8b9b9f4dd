"""The files of a data set, episode by episode."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from si_embodied.errors import extra
from si_embodied.evaluation.lerobot import form
from si_embodied.evaluation.lerobot.card import card
from si_embodied.evaluation.lerobot.columns import IMAGE, PLAN, SUBTASK, Column, values_of
from si_embodied.evaluation.lerobot.provenance import episode_row, run_row, run_words
from si_embodied.evaluation.lerobot.statistics import PixelCounts, Statistics, describe
from si_embodied.evaluation.lerobot.tables import StepTable, write_names, write_rows
from si_embodied.evaluation.lerobot.videos import CODEC, CameraVideo
from si_embodied.runs import write_json, write_text

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from typing_extensions import Self

    from si_embodied.evaluation.lerobot.episodes import Source
    from si_embodied.evaluation.lerobot.form import Images
    from si_embodied.evaluation.lerobot.survey import Survey
    from si_embodied.evaluation.page.reading import StoredRun
    from si_embodied.evaluation.steps import EpisodeSteps


@dataclass(frozen=True, slots=True)
class Exported:
    """What was written."""

    episodes: int
    frames: int
    tasks: int
    fps: float
    true_rate: bool  # whether all steps last equally long, so that `fps` is their rate


@dataclass(slots=True)
class _Texts:
    """Texts, each with the number of its first occurrence."""

    numbers: dict[str, int] = field(default_factory=dict)

    def number(self, text: str) -> int:
        return self.numbers.setdefault(text, len(self.numbers))


class DatasetWriter:
    """Writes a data set into an empty folder. Close it."""

    def __init__(self, root: Path, survey: Survey, images: Images) -> None:
        """Prepare to write episodes that a survey covers."""
        self._root, self._survey, self._images = root, survey, images
        self._columns = _columns(survey)
        self._cameras = {IMAGE.format(name): (height, width) for name, height, width in survey.layout.cameras}
        self._table = StepTable(root, self._columns, list(self._cameras) if self._lossless else [])
        self._videos = {} if self._lossless else {
            key: self._video(key, size)
            for key, size in self._cameras.items()
        }  # fmt: skip
        self._pixels = {key: PixelCounts() for key in self._cameras}
        self._values: dict[str, list[NDArray[np.generic]]] = {column.name: [] for column in self._columns}
        self._tasks, self._subtasks = _Texts(), _Texts()
        self._runs: dict[Path, StoredRun] = {}
        self._episodes: list[Mapping[str, Any]] = []
        self._origins: list[Mapping[str, Any]] = []
        self._frames = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Finish the files of steps and images."""
        self._table.close()
        for video in self._videos.values():
            video.close()

    def add(self, source: Source) -> None:
        """Append an episode.

        Raises:
            RecordError: a file cannot be written.
        """
        episode, task = source.steps(), source.result.instruction
        values = self._values_of(episode, task, success=source.result.success)
        pngs = dict(zip(self._cameras, episode.images.values(), strict=True))
        pixels = {key: PixelCounts() for key in self._cameras}
        spans: dict[str, Any] = {}
        for key, images in pngs.items():
            frames = _counted(images, pixels[key])
            if self._lossless:
                for _ in frames:  # only counted: the files go into the table as they are
                    pass
                continue
            span = self._videos[key].add(frames)
            place = {f"videos/{key}/{name}": number for name, number in form.place(span.file).items()}
            spans |= {**place, f"videos/{key}/from_timestamp": span.from_s, f"videos/{key}/to_timestamp": span.to_s}
        file = self._table.add(values, pngs if self._lossless else {})
        statistics = {name: describe(each) for name, each in values.items()}
        statistics |= {key: counts.describe() for key, counts in pixels.items()}
        self._runs.setdefault(source.run.folder, source.run)
        run, number = list(self._runs).index(source.run.folder), len(self._episodes)
        self._origins.append(episode_row(source, episode, number=number, run=run))
        self._episodes.append(self._episode_row(task, len(episode.steps), file, spans, statistics))
        self._frames += len(episode.steps)
        for key, counts in pixels.items():
            self._pixels[key].merge(counts)
        for name, each in values.items():
            self._values[name].append(each)

    def finish(self) -> Exported:
        """Write what is about the whole data set: the last step."""
        self.close()
        write_names(self._root / form.TASKS, list(self._tasks.numbers), "task_index")
        if self._survey.plans:
            write_names(self._root / form.SUBTASKS, list(self._subtasks.numbers), SUBTASK)
        write_rows(self._root / form.EPISODES, self._episodes)
        statistics = {name: describe(np.concatenate(each)) for name, each in self._values.items()}
        statistics |= {key: counts.describe() for key, counts in self._pixels.items()}
        write_json(self._root / form.STATS, statistics)
        runs = list(self._runs.values())
        info = form.info(
            self._features(),
            robot=", ".join(dict.fromkeys(run.about.env for run in runs)),
            fps=self._survey.fps,
            episodes=len(self._episodes),
            frames=self._frames,
            tasks=len(self._tasks.numbers),
        )
        write_json(self._root / form.INFO, info)
        rows = [*(run_row(run, number) for number, run in enumerate(runs)), *self._origins]
        lines = (json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        write_text(self._root / form.PROVENANCE, "".join(lines))
        words = [run_words(run) for run in runs]
        about = card(info, words, true_rate=self._survey.true_rate, images=self._images)
        write_text(self._root / "README.md", about)
        totals = len(self._episodes), self._frames, len(self._tasks.numbers)
        return Exported(*totals, self._survey.fps, self._survey.true_rate)

    def _values_of(self, episode: EpisodeSteps, task: str, *, success: bool) -> dict[str, NDArray[np.generic]]:
        count, own = len(episode.steps), values_of(episode, success=success)
        numbers = np.arange(count)
        own |= {
            "timestamp": (numbers / self._survey.fps).astype(np.float32)[:, None],
            "frame_index": numbers[:, None],
            "episode_index": np.full((count, 1), len(self._episodes)),
            "index": (self._frames + numbers)[:, None],
            "task_index": np.full((count, 1), self._tasks.number(task)),
        }
        if self._survey.plans:
            own[SUBTASK] = np.array([[self._subtasks.number(step.subgoal)] for step in episode.steps])
        return {column.name: own[column.name] for column in self._columns}

    def _episode_row(
        self, task: str, length: int, file: int, spans: Mapping[str, Any], statistics: Mapping[str, Statistics]
    ) -> Mapping[str, Any]:
        """The episode's row in the table of episodes."""
        return {
            "episode_index": len(self._episodes),
            "tasks": [task],
            "length": length,
            **{f"data/{name}": number for name, number in form.place(file).items()},
            "dataset_from_index": self._frames,
            "dataset_to_index": self._frames + length,
            **spans,
            **{f"stats/{name}/{key}": value for name, each in statistics.items() for key, value in each.items()},
            **{f"meta/episodes/{name}": number for name, number in form.place(0).items()},
        }

    def _features(self) -> dict[str, Any]:
        """The columns as `info.json` describes them."""
        return {
            **{key: self._image_feature(*size) for key, size in self._cameras.items()},
            **{
                each.name: {
                    "dtype": each.dtype,
                    "shape": [len(each.names)],
                    "names": None if each.names == (each.name,) else list(each.names),
                }
                for each in self._columns
            },
        }

    def _image_feature(self, height: int, width: int) -> dict[str, Any]:
        feature = {"shape": [height, width, 3], "names": ["height", "width", "channels"]}
        if self._lossless:
            return {"dtype": "image", **feature}
        pixels, fps = form.PIXELS[self._images], self._survey.fps
        video = {"height": height, "width": width, "codec": CODEC, "pix_fmt": pixels, "fps": fps, "channels": 3}
        described = {f"video.{name}": value for name, value in video.items()}
        return {"dtype": "video", **feature, "info": {**described, "video.is_depth_map": False, "has_audio": False}}

    @property
    def _lossless(self) -> bool:
        return self._images == "png"

    def _video(self, key: str, size: tuple[int, int]) -> CameraVideo:
        def path(number: int) -> Path:
            return self._root / form.VIDEO_PATH.format(video_key=key, **form.place(number))

        pixels, most_bytes = form.PIXELS[self._images], form.VIDEO_MB * 2**20
        return CameraVideo(path, size, fps=self._survey.fps, pixels=pixels, most_bytes=most_bytes)


def _columns(survey: Survey) -> tuple[Column, ...]:
    """The columns of numbers, with those that LeRobot wants."""
    own = [column for column in survey.layout.columns if survey.plans or column.name != PLAN]
    subtask = [Column(SUBTASK, "int64", (SUBTASK,))] if survey.plans else []
    indices = [Column(name, "int64", (name,)) for name in form.INDICES]
    return (*own, *subtask, Column("timestamp", "float32", ("timestamp",)), *indices)


def _counted(images: Sequence[bytes], counts: PixelCounts) -> Iterator[NDArray[np.uint8]]:
    """Decode PNG files, and count their pixels on the way."""
    with extra("sim"):
        from PIL import Image
    for data in images:
        with Image.open(io.BytesIO(data), formats=("PNG",)) as image:
            rgb = np.asarray(image.convert("RGB"), np.uint8)
        counts.add(rgb)
        yield rgb
