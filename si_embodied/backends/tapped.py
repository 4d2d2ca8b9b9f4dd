"""Keeps the latest prompt that a backend was given and its answer, for a display."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from si_embodied.backends.base import Backend, BackendInfo
    from si_embodied.types import Completion, Prompt


@dataclass(slots=True)
class Tap:
    """The latest prompt of the backends that it is on; references, no copies."""

    prompt: Prompt | None = None
    completion: Completion | None = None  # None while the prompt is being answered, or if that failed

    def on(self, backend: Backend) -> Backend:
        """A backend that answers as `backend` does, and whose prompts are kept here."""
        return _Tapped(backend, self)


class _Tapped:
    """Answers as the wrapped backend does."""

    def __init__(self, backend: Backend, tap: Tap) -> None:
        self._backend, self._tap = backend, tap

    @property
    def info(self) -> BackendInfo:
        """The wrapped backend's info."""
        return self._backend.info

    def generate(self, prompt: Prompt, *, deadline_s: float) -> Completion:
        """The wrapped backend's completion; raises what it raises."""
        self._tap.prompt, self._tap.completion = prompt, None
        completion = self._backend.generate(prompt, deadline_s=deadline_s)
        self._tap.completion = completion
        return completion

    def cancel(self) -> None:
        """Abort the wrapped backend's completion."""
        self._backend.cancel()

    def close(self) -> None:
        """Close the wrapped backend."""
        self._backend.close()
