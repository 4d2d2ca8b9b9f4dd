"""The names, files and limits of LeRobot's data set format, version 3.0, as lerobot 0.4.4 reads it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, TypeAlias

VERSION = "v3.0"

Images: TypeAlias = Literal["video", "video-420", "png"]
PIXELS: Mapping[Images, str] = {"video": "yuv444p", "video-420": "yuv420p"}
"""ffmpeg's names of the videos' pixel formats.

On the simulated images, 4:4:4 takes as many bytes and has a tenth of the squared error. 4:2:0 is what every
browser and hardware decoder plays.
"""
FILES_PER_CHUNK = 1000
DATA_MB, VIDEO_MB = 100, 200
"""Sizes above which the next file is begun."""

INFO, STATS = "meta/info.json", "meta/stats.json"
TASKS, SUBTASKS = "meta/tasks.parquet", "meta/subtasks.parquet"
EPISODES = "meta/episodes/chunk-000/file-000.parquet"
PROVENANCE = "meta/si_embodied.jsonl"
"""Ours: lerobot does not read it."""
_FILE = "chunk-{chunk_index:03d}/file-{file_index:03d}"
DATA_PATH = f"data/{_FILE}.parquet"
VIDEO_PATH = f"videos/{{video_key}}/{_FILE}.mp4"

INDICES = ("frame_index", "episode_index", "index", "task_index")
"""Columns that every data set has, all of them integers; `timestamp` is the fifth."""


def place(number: int) -> dict[str, int]:
    """The chunk and the place in it of a file, as the paths have them."""
    return {"chunk_index": number // FILES_PER_CHUNK, "file_index": number % FILES_PER_CHUNK}


def info(features: dict[str, Any], *, robot: str, fps: float, episodes: int, frames: int, tasks: int) -> dict[str, Any]:
    """The content of `meta/info.json`."""
    videos = any(feature["dtype"] == "video" for feature in features.values())
    return {
        "codebase_version": VERSION,
        "robot_type": robot,
        "total_episodes": episodes,
        "total_frames": frames,
        "total_tasks": tasks,
        "chunks_size": FILES_PER_CHUNK,
        "data_files_size_in_mb": DATA_MB,
        "video_files_size_in_mb": VIDEO_MB,
        "fps": fps,
        "splits": {"train": f"0:{episodes}"},
        "data_path": DATA_PATH,
        "video_path": VIDEO_PATH if videos else None,
        "features": features,
    }
