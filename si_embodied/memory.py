"""The planner's memory of an episode: bounded, immutable, and included in the next prompt."""

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
    """One executed subgoal, or one refusal."""

    description: str  # "goto red chair"; "plan" for a refusal before there was a goal
    goal: Goal | None
    T_map_base: Pose  # the robot's pose when the decision was made
    outcome: Outcome


@dataclass(frozen=True, slots=True, eq=False)
class Memory:
    """The latest attempts of this episode; the oldest are dropped first."""

    limit: int = 12
    attempts: tuple[Attempt, ...] = ()
    forgotten: int = 0  # number of attempts dropped

    def add(self, attempt: Attempt) -> Memory:
        """A copy with one more attempt."""
        attempts = (*self.attempts, attempt)
        surplus = max(0, len(attempts) - self.limit)
        return Memory(self.limit, attempts[surplus:], self.forgotten + surplus)

    def describe(self) -> str:
        """The attempts for the prompt, one per line, numbered from the episode's start; '(nothing yet)' if empty."""
        lines = [f"{number}. {_words(attempt)}" for number, attempt in enumerate(self.attempts, self.forgotten + 1)]
        return "\n".join(lines) or NOTHING_YET

    def last(self) -> str:
        """Only the latest attempt, unnumbered, for prompts that show no more than that."""
        return _words(self.attempts[-1]) if self.attempts else NOTHING_YET


def outcome_words(code: Code) -> str:
    """The outcome of an attempt as prompts word it."""
    return "done" if code is Code.OK else f"failed ({code.name.lower()})"


def _words(attempt: Attempt) -> str:
    return f"{attempt.description}: {outcome_words(attempt.outcome.code)}"
