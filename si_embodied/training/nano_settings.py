"""The settings of `train nano`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from typing_extensions import Doc

from si_embodied.config import Prompts
from si_embodied.errors import ConfigError

if TYPE_CHECKING:
    from si_embodied.training.nano import Recipe

IMAGE_PROMPTS = Prompts(navigation="nav/nano", manipulation="manip/nano")
"""Of models that have learned from single images only."""
NANO_PROMPTS = Prompts(navigation="nav/nano2", manipulation="manip/nano2", rearrangement="rearrange/nano2")
MOST_ROUNDS = 40
"""Each has 2,000 seeds of its own below 80,000."""
HELD_OUT_IMAGES = 240
"""Images of each world."""


@dataclass(frozen=True, slots=True)
class NanoRun:
    """What to train and where.

    `out` will hold `data/` (labelled images), `decisions/` (of whole episodes, one folder a round), `run/` (the log,
    and the state to resume from), `student/` (the checkpoint that acted in the latest round) and `checkpoint/`.
    """

    out: Annotated[Path, Doc("for the shards, the training state and the checkpoint")]
    steps: Annotated[int | None, Doc("training steps")] = 24_000
    minutes: Annotated[float | None, Doc("stop after this time even if steps are left")] = None
    resume: Annotated[bool, Doc("continue from the last saved state")] = False
    start: Annotated[Path | None, Doc("a checkpoint whose weights to start from, instead of from scratch")] = None
    seed: Annotated[int, Doc("of the data and the training")] = 0
    tabletops: Annotated[int, Doc("images of tabletops to render")] = 5_040
    apartments: Annotated[int, Doc("images of apartments to render")] = 14_400
    households: Annotated[int, Doc("images of household objects to render")] = 4_800
    threads: Annotated[int, Doc("threads of the CPU")] = 2
    recipe: Annotated[Recipe | None, Doc("default: the shipped checkpoint's, with the seed and threads above")] = None
    rounds: Annotated[
        int, Doc("rounds of episodes to learn from: first the teacher's, then the student's; 0: none")
    ] = 4
    episodes: Annotated[float, Doc("scale of the number of episodes a round")] = 1.0
    prompts: Annotated[Prompts, Doc("that the checkpoint names as its own")] = NANO_PROMPTS
    held_out: Annotated[int, Doc("images of each world to measure on")] = HELD_OUT_IMAGES

    def __post_init__(self) -> None:
        """Check ranges."""
        if not 0 <= self.rounds <= MOST_ROUNDS:
            raise ConfigError(f"expected rounds from 0 to {MOST_ROUNDS}, got: {self.rounds}")
        for name in ("steps", "minutes", "tabletops", "apartments", "threads", "episodes"):
            if (value := getattr(self, name)) is not None and not value > 0:
                raise ConfigError(f"expected {name} to be positive, got: {value}")
