"""The data set's `README.md`: the card that the hub shows, with what the columns cannot say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from si_embodied import __version__
from si_embodied.evaluation.lerobot.form import Images
from si_embodied.wording import counted

_HEAD = """---
task_categories:
- robotics
tags:
- LeRobot
configs:
- config_name: default
  data_files: data/*/*.parquet
---
"""

_IMAGES: Mapping[Images, str] = {
    "video": "H.264, 4:4:4: off by less than one level of 255 in the mean.",
    "video-420": "H.264, 4:2:0: off by one or two levels of 255 in the mean, and by more at coloured edges.",
    "png": "PNG, exactly what the robot saw.",
}


def card(info: Mapping[str, Any], runs: Sequence[str], *, true_rate: bool, images: Images) -> str:
    """The text.

    Args:
        info: of the data set.
        runs: what each run was, in words.
        true_rate: whether the frame rate is that of the steps.
        images: how they were written.
    """
    episodes, frames, fps = info["total_episodes"], info["total_frames"], info["fps"]
    rate = (
        f"{fps} steps a second of simulated time."
        if true_rate
        else "Steps do not all take equally long: the rate counts them, one a second, and `stamp_s` has their times."
    )
    columns = "\n".join(f"| `{name}` | {_numbers(feature)} |" for name, feature in info["features"].items())
    return (
        f"{_HEAD}\n# Recorded episodes\n\n{counted(episodes, 'episode')}, {counted(frames, 'step')}; "
        f"LeRobot {info['codebase_version']}, written by si-embodied {__version__}.\n\n"
        f"- Rate: {rate}\n- Images: {_IMAGES[images]}\n"
        "- A row is an observation and the action taken on it; `next.*` is what came of it.\n"
        "- Map: x forward, y left, z up. Cameras: x right, y down, z forward. Metres, radians, seconds.\n"
        "- `meta/si_embodied.jsonl`: the runs' settings; each episode's seed, plans, goals, metrics and cameras.\n\n"
        f"From {'; '.join(runs)}.\n\n| column | numbers |\n| --- | --- |\n{columns}\n"
    )


def _numbers(feature: Mapping[str, Any]) -> str:
    if feature["dtype"] in ("video", "image"):
        return " x ".join(map(str, feature["shape"])) + f", {feature['dtype']}"
    return ", ".join(feature["names"] or [feature["dtype"]])
