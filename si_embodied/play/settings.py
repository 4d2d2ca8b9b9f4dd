"""What to play with."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Mapping

    from si_embodied.evaluation.config import EvaluationConfig

Status: TypeAlias = Literal["ready", "acting", "your turn", "succeeded", "failed", "stopped", "ended"]
"""`ended` is an episode whose success the world cannot measure."""


@dataclass(frozen=True, slots=True)
class PlaySettings:
    """What to play with."""

    config: EvaluationConfig  # its policy is `planner` or `perfect-pixels`
    out: Path = Path("runs/play")  # where demonstrations are saved
    pace_s: float = 0.0  # least time for a step, so that a person can follow


@dataclass(frozen=True, slots=True)
class PlayState:
    """What the page needs to know beside the frame."""

    status: Status
    kind: str  # of the robot's tasks: which skills it has
    env: str
    task: str | None
    tasks: tuple[str, ...]
    seed: int
    model: str
    instruction: str
    by_hand: bool
    measured: bool  # whether the world can say if the episode succeeds
    suggestions: tuple[str, ...]
    cameras: tuple[str, ...]
    movable: tuple[str, ...]
    can_ask: bool
    ask_note: str  # what to know before asking
    can_save: bool
    news: str  # how the latest step failed, or how the episode ended; empty if there is nothing to tell


@dataclass(frozen=True, slots=True)
class Answer:
    """The model's answer to a question."""

    text: str
    camera: str
    point: tuple[float, float] | None = None  # shares of the image, if it was asked where something is
    box: tuple[float, float, float, float] | None = None  # left, top, right, bottom, as shares
    position: str = ""  # of the point in the map, in words

    def to_json(self) -> Mapping[str, object]:
        """For the page."""
        return {
            "text": self.text, "camera": self.camera, "point": self.point, "box": self.box, "position": self.position
        }  # fmt: skip
