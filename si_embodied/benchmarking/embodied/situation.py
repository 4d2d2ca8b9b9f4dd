"""What EmbodiedBench tells its planner before each answer, and the codes of answers without an action."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

INVALID = -1
"""Action in place of an answer that is no plan; nothing moves."""
QUIT = -2
"""Action in place of an empty plan, which ends the episode."""


@dataclass(frozen=True, slots=True)
class Past:
    """An earlier action of the episode, and what came of it."""

    action: str
    feedback: str


@dataclass(frozen=True, slots=True, eq=False)
class Situation:
    """All that a prompt shows."""

    instruction: str
    picture: NDArray[np.uint8]  # (H, W, 3), with axes and numbered boxes where the protocol has them
    objects: str  # "{'object 1': [52, 40, 12]}"; empty where the protocol lists none
    skills: tuple[str, ...]  # by action id; empty where actions are seven integers
    past: tuple[Past, ...]


class Situated(Protocol):
    """A world under the protocol's rules."""

    @property
    def replan(self) -> bool:
        """Whether the rest of the plan is dropped, after the last action."""

    def situation(self) -> Situation:
        """The situation now."""
