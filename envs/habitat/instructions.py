"""Instructions of Habitat episodes: Habitat gives a category, a point or an image, but a planner reads text."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from si_embodied.envs.habitat.frames import base_pose, to_map
from si_embodied.envs.spaces import CHARSET

if TYPE_CHECKING:
    from si_embodied.envs.habitat.episodes import HabitatTask

MAX_INSTRUCTION_LENGTH = 2000  # VLN-CE's instructions describe a whole route

# Categories whose name in HM3D, MP3D or Gibson is not what a person would say.
_WORDS = {
    "tv_monitor": "tv",
    "potted_plant": "potted plant",
    "chest_of_drawers": "chest of drawers",
    "gym_equipment": "gym equipment",
    "dining_table": "dining table",
}
_UNCOUNTED = frozenset({"clothes", "gym_equipment", "seating"})


def category_words(category: str) -> str:
    """A dataset's category as a noun phrase: "chest of drawers"."""
    return _WORDS.get(category, category.replace("_", " ").replace("-", " ").strip())


def instruction_of(task: HabitatTask, episode: Any) -> str:
    """The instruction of a habitat-lab episode."""
    if task == "instructionnav":
        return _plain(episode.instruction.instruction_text)
    if task == "objectnav":
        words = category_words(episode.object_category)
        article = "" if episode.object_category in _UNCOUNTED else "an " if words[0] in "aeiou" else "a "
        return f"find {article}{words}"
    if task == "imagenav":
        return "go to where the goal picture was taken"
    return _point(episode)


def _point(episode: Any) -> str:
    start = base_pose(episode.start_position, episode.start_rotation)
    x, y, _ = (float(value) for value in start.inverse().apply(to_map(episode.goals[0].position)))
    return point_words(x, y)


def point_words(x: float, y: float) -> str:
    """The instruction to go to a point, from where it lies in base_link at the start: to 0.1 m."""
    parts = [
        f"{abs(value):.1f} m {word}"
        for value, word in ((x, "ahead" if x > 0 else "behind"), (y, "to the left" if y > 0 else "to the right"))
        if abs(value) >= 0.05
    ]
    return f"go to the point {' and '.join(parts)} of where you start" if parts else "stay where you are"


def _plain(text: str) -> str:
    """One line of the characters that the observation space allows."""
    line = " ".join(text.split()).translate({0x2018: "'", 0x2019: "'", 0x201C: '"', 0x201D: '"', 0x2013: "-"})
    return "".join(c for c in line if c in CHARSET)[:MAX_INSTRUCTION_LENGTH] or "follow the way"
