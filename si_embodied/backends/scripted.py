"""Completions written down or computed: for demonstrations, tests and perfect perception."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from si_embodied.backends.base import BackendInfo
from si_embodied.errors import BackendError
from si_embodied.types import Completion, Prompt


class ScriptedBackend:
    """Answers with the next of a list of texts, or with a function of the prompt."""

    def __init__(self, script: Sequence[str] | Callable[[Prompt], str], *, name: str = "scripted") -> None:
        """`script` is consumed in order, or called; `name` is recorded as the model."""
        self._script = script
        self._next = 0
        self.info = BackendInfo(model=name, kernel="none", dtype="none")

    def generate(self, prompt: Prompt, *, deadline_s: float) -> Completion:
        """The next completion.

        Raises:
            BackendError: the list is used up.
        """
        if callable(self._script):
            return Completion(self._script(prompt))
        if self._next >= len(self._script):
            raise BackendError(f"the script of {len(self._script)} completions is used up; add more or use a function")
        self._next += 1
        return Completion(self._script[self._next - 1])

    def cancel(self) -> None:
        """No effect: an answer takes no time."""

    def close(self) -> None:
        """No effect: nothing is held open."""
