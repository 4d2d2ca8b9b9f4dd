"""Scripted or computed completions, for demos, tests and perfect perception."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from si_embodied.backends.base import BackendInfo
from si_embodied.errors import BackendError
from si_embodied.types import Completion, Prompt


class ScriptedBackend:
    """Answers with the next text in a list, or with a function of the prompt."""

    def __init__(self, script: Sequence[str] | Callable[[Prompt], str], *, name: str = "scripted") -> None:
        """`script` holds texts, returned in order, or computes one from the prompt; `name` is recorded as the model."""
        self._script = script
        self._next = 0
        self.info = BackendInfo(model=name, kernel="none", dtype="none")

    def generate(self, prompt: Prompt, *, deadline_s: float) -> Completion:
        """The next completion.

        Raises:
            BackendError: the list is exhausted.
        """
        if callable(self._script):
            return Completion(self._script(prompt))
        if self._next >= len(self._script):
            raise BackendError(f"all {len(self._script)} scripted completions are used; add more or use a function")
        self._next += 1
        return Completion(self._script[self._next - 1])

    def cancel(self) -> None:
        """Does nothing: an answer takes no time."""

    def close(self) -> None:
        """Does nothing: there is nothing to release."""
