"""A conversation with a model, and an answer that is read while it is written."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol, TypeAlias, runtime_checkable

if TYPE_CHECKING:
    import threading
    from collections.abc import Generator, Mapping

    import numpy as np
    from numpy.typing import NDArray

Role: TypeAlias = Literal["system", "user", "assistant"]
Ending: TypeAlias = Literal["stop", "length"]
"""Why an answer ended: the model ended it, or it has as many tokens as were allowed."""


@dataclass(frozen=True, slots=True, eq=False)
class Turn:
    """What one side says: text and images in reading order."""

    role: Role
    content: tuple[str | NDArray[np.uint8], ...]  # images are (H, W, 3)


@dataclass(frozen=True, slots=True, eq=False)
class Conversation:
    """The turns so far, and how to write the assistant's next one. The same conversation gives the same answer."""

    turns: tuple[Turn, ...]  # at most one system turn, the first; then the user's
    schema: Mapping[str, object] | None = None  # JSON schema of the answer; None for free text
    lenient: bool = False  # whether keywords that the grammar cannot express are left out of the schema
    temperature: float = 0.0  # 0 is greedy decoding
    seed: int = 0  # for sampling, at least 0
    max_tokens: int = 1024  # of the answer, with its thoughts

    @property
    def images(self) -> list[NDArray[np.uint8]]:
        """All images, in reading order."""
        return [part for turn in self.turns for part in turn.content if not isinstance(part, str)]


@dataclass(frozen=True, slots=True)
class Thought:
    """A piece of what a model thinks before its answer."""

    text: str


class Writing(Protocol):
    """An answer, written piece by piece by one thread at a time."""

    prompt_tokens: int  # 0 before the first piece
    thought_tokens: int  # of the completion's; 0 if the model is not asked to think
    ended: Ending | None  # None while it is unfinished

    @property
    def completion_tokens(self) -> int:
        """Tokens written so far, with those of the thoughts."""
        ...

    def rest(self) -> None:
        """Free what can be computed again, until the next call of `pieces`, which begins later by it."""
        ...

    def pieces(self) -> Generator[str | Thought, None, None]:
        """Write on, thoughts first.

        The pieces end with the answer, or early once the answer is interrupted; then call this again.

        Raises:
            SchemaError: the schema cannot be followed; that may show in the middle of the answer.
            ConfigError: the conversation is too long for the model.
            ObservationError: the model does not accept an image.
            BackendError: the model failed.
        """
        ...


@runtime_checkable
class Writer(Protocol):
    """A model that writes answers of any form, beside a `Backend`'s plans."""

    def write(self, conversation: Conversation, *, interrupted: threading.Event) -> Writing:
        """Begin an answer, without work; set `interrupted` to make its pieces end within a step of the model."""
        ...
