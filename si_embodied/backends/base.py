"""The backend interface."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from si_embodied.config import Prompts

if TYPE_CHECKING:
    from si_embodied.types import Completion, Prompt


@dataclass(frozen=True, slots=True)
class BackendInfo:
    """The facts about a model that its scores depend on; logged with every plan."""

    model: str
    kernel: str  # attention kernel: "sdpa", "flash_attention_2", "none"
    dtype: str
    prompts: Prompts = Prompts()  # the prompts the model was trained with, if its checkpoint names them


class Backend(Protocol):
    """Completes prompts. One thread at a time calls `generate`; any thread may call `cancel`."""

    @property
    def info(self) -> BackendInfo:
        """The model, attention kernel and dtype behind the completions."""

    def generate(self, prompt: Prompt, *, deadline_s: float) -> Completion:
        """Complete `prompt` within `deadline_s` seconds from now.

        Raises:
            DeadlineExceeded: the deadline passed. A partial answer is never returned.
            BackendError: the model or its server failed, or `cancel` was called.
        """

    def cancel(self) -> None:
        """Abort the completion in progress, if any."""

    def close(self) -> None:
        """Release the model and its connections. Do not call `generate` afterwards."""


@runtime_checkable
class SharedBackend(Protocol):
    """A backend that completes the prompts of several threads at once."""

    @property
    def lanes(self) -> int:
        """How many prompts it completes at once; further ones wait."""
        ...

    def caller(self) -> Backend:
        """The backend as one of its callers sees it: `cancel` aborts only what this caller has asked for."""
        ...

    def forget(self) -> None:
        """Drop what is kept of earlier prompts. The next answers depend on their own prompts, to the last digit."""
        ...
