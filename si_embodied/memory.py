"""What the planner remembers of an episode: bounded, immutable, and written into the next prompt."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from si_embodied.types import Code

if TYPE_CHECKING:
    from si_embodied.geometry import Pose
    from si_embodied.skills import Goal
    from si_embodied.types import Outcome

NOTHING_YET = "(nothing yet)"


@dataclass(frozen=True, slots=True, eq=False)
class Attempt:
    """One subgoal that was carried out, or one refusal."""

    description: str  # "goto red chair"; "plan" for a refusal before there was a goal
    goal: Goal | None
    T_map_base: Pose  # where the robot was when it was decided
    outcome: Outcome


@dataclass(frozen=True, slots=True, eq=False)
class Memory:
    """The attempts of this episode, the oldest forgotten first."""

    limit: int = 12
    attempts: tuple[Attempt, ...] = ()
    forgotten: int = 0  # attempts older than the limit

    def add(self, attempt: Attempt) -> Memory:
        """This memory with one more attempt."""
        attempts = (*self.attempts, attempt)
        surplus = max(0, len(attempts) - self.limit)
        return Memory(self.limit, attempts[surplus:], self.forgotten + surplus)

    def describe(self) -> str:
        """One line an attempt, numbered from the episode's start, for the prompt; '(nothing yet)' when empty."""
        lines = [f"{number}. {_words(attempt)}" for number, attempt in enumerate(self.attempts, self.forgotten + 1)]
        return "\n".join(lines) or NOTHING_YET

    def last(self) -> str:
        """The latest attempt alone, without its number, for models that are told no more."""
        return _words(self.attempts[-1]) if self.attempts else NOTHING_YET


def outcome_words(code: Code) -> str:
    """How an attempt went, as prompts say it."""
    return "done" if code is Code.OK else f"failed ({code.name.lower()})"


def _words(attempt: Attempt) -> str:
    return f"{attempt.description}: {outcome_words(attempt.outcome.code)}"
