"""The model of a played world: it plans, and answers questions if it can."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from si_embodied.backends.opening import open_backend
from si_embodied.backends.questions import Asker, asker_for
from si_embodied.errors import ConfigError
from si_embodied.models.checkpoints import shipped_checkpoint

if TYPE_CHECKING:
    from si_embodied.backends.base import Backend
    from si_embodied.evaluation.config import EvaluationConfig

PERFECT_PIXELS = "perfect-pixels"


@dataclass(frozen=True, slots=True)
class PlayModel:
    """What plans and answers."""

    backend: Backend | None = None  # None for perfect pixels, whose backend belongs to a world
    asker: Asker | None = None  # None if it answers no questions
    note: str = "Perfect pixels answers no questions: play with a model."  # what to know before asking

    def close(self) -> None:
        """Release the model."""
        if self.backend is not None:
            self.backend.close()


def open_model(config: EvaluationConfig) -> PlayModel:
    """The model of the policy that is played with.

    Raises:
        ConfigError: the policy takes no instructions.
        SiEmbodiedError: the model cannot be opened.
    """
    if config.policy == PERFECT_PIXELS:
        return PlayModel()
    if config.policy != "planner" or config.backend is None:
        raise ConfigError(
            f"a person plays with a planner: --policy planner or {PERFECT_PIXELS}, got: {config.policy!r}"
        )
    kind, backend = config.backend.kind, open_backend(config.backend)
    note = ""
    if kind == "local" and Path(config.backend.model) == shipped_checkpoint():
        note = "si-nano has learned to write plans alone: its answers to questions mean nothing. Ask a real checkpoint."
    return PlayModel(backend, asker_for(backend, kind), note)
