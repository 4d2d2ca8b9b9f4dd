"""What can be asked for and moved in each world, so that an episode goes on where the last one ended."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping

    import gymnasium

    from si_embodied.live.frame import Outline

    Env = gymnasium.Env[Any, Any]
    Raw = Mapping[str, Any]

MOST_SUGGESTIONS = 60


@dataclass(frozen=True, slots=True, eq=False)
class Begun:
    """An episode that has begun."""

    raw: Raw  # the first observation
    instruction: str
    measured: bool  # whether the world can say if it succeeded


class Scene(Protocol):
    """One world that is being played in."""

    def reset(self, seed: int) -> Begun:
        """Draw the scene of a seed, with its own instruction."""

    def instruct(self, instruction: str) -> Begun:
        """Begin another episode in the scene as it is now, where the robot is now.

        Raises:
            ConfigError: the world cannot go on in the same scene.
        """

    def suggestions(self) -> tuple[str, ...]:
        """Instructions whose success the world can measure in this scene."""

    def outlines(self) -> tuple[Outline, ...]:
        """What stands in the scene; nothing if the world does not tell."""

    def move(self, name: str, x_m: float, y_m: float) -> Raw:
        """Move a thing by so many metres along the map's axes, and observe.

        Raises:
            ConfigError: it cannot go there; the message says why.
        """


def same_words(one: str, other: str) -> bool:
    """Whether two instructions differ only in capitals, spaces and a full stop."""
    return plain_words(one) == plain_words(other)


def plain_words(text: str) -> str:
    """An instruction without capitals, needless spaces and a full stop."""
    return " ".join(text.lower().split()).rstrip(" .!")
