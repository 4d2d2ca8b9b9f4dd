"""What the planner asks of a backend."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from si_embodied.types import Completion, Prompt


@dataclass(frozen=True, slots=True)
class BackendInfo:
    """What a score depends on, logged with every plan."""

    model: str
    kernel: str  # attention kernel: "sdpa", "flash_attention_2", "none"
    dtype: str


class Backend(Protocol):
    """Completes prompts; safe to call from one thread at a time."""

    @property
    def info(self) -> BackendInfo:
        """The model, attention kernel and dtype behind the completions."""

    def generate(self, prompt: Prompt, *, deadline_s: float) -> Completion:
        """Complete `prompt` within `deadline_s` seconds from now.

        Raises:
            DeadlineExceeded: not done in time; a partial answer is never returned.
            BackendError: the model or its server failed.
        """
