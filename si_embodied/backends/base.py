"""What the planner asks of a backend."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from si_embodied.config import Prompts

if TYPE_CHECKING:
    from si_embodied.types import Completion, Prompt


@dataclass(frozen=True, slots=True)
class BackendInfo:
    """What a score depends on, logged with every plan."""

    model: str
    kernel: str  # attention kernel: "sdpa", "flash_attention_2", "none"
    dtype: str
    prompts: Prompts = Prompts()  # those the model was trained with, where its checkpoint names any


class Backend(Protocol):
    """Completes prompts. `generate` is called by one thread at a time; `cancel` by any."""

    @property
    def info(self) -> BackendInfo:
        """The model, attention kernel and dtype behind the completions."""

    def generate(self, prompt: Prompt, *, deadline_s: float) -> Completion:
        """Complete `prompt` within `deadline_s` seconds from now.

        Raises:
            DeadlineExceeded: not done in time; a partial answer is never returned.
            BackendError: the model or its server failed, or `cancel` was called.
        """

    def cancel(self) -> None:
        """Abort the completion in progress; no effect when there is none."""

    def close(self) -> None:
        """Release the model and its connections; `generate` must not be called afterwards."""
