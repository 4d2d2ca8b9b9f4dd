"""The planner's memory of an episode: bounded, immutable, and included in the next prompt."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from si_embodied.types import Code

if TYPE_CHECKING:
    from si_embodied.config import PlannerConfig
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
    floor_m2: float = 0.0  # the most floor that a plan's map had shown by then, square metres


@dataclass(frozen=True, slots=True, eq=False)
class Memory:
    """The latest attempts of this episode; the oldest are dropped first."""

    limit: int = 12  # attempts that the prompt shows
    attempts: tuple[Attempt, ...] = ()
    forgotten: int = 0  # number of attempts dropped
    kept: int = 126  # attempts that are remembered for the guard

    @classmethod
    def for_planner(cls, config: PlannerConfig) -> Memory:
        """An empty memory, as long as the prompt and the guard need: the largest circle and the refusals after it."""
        guard = config.guard
        return cls(config.memory_entries, kept=max(config.memory_entries, guard.circle_window + 2 * guard.max_repeats))

    def add(self, attempt: Attempt) -> Memory:
        """A copy with one more attempt."""
        attempts = (*self.attempts, attempt)
        surplus = max(0, len(attempts) - self.kept)
        return replace(self, attempts=attempts[surplus:], forgotten=self.forgotten + surplus)

    def describe(self) -> str:
        """The latest attempts for the prompt, one per line, numbered from the episode's start; '(nothing yet)' if none.

        A refusal because of repetition comes with its reason.
        """
        shown = self.attempts[-self.limit :]
        first = self.forgotten + len(self.attempts) - len(shown) + 1
        lines = [f"{number}. {_words(attempt)}{_reason(attempt)}" for number, attempt in enumerate(shown, first)]
        return "\n".join(lines) or NOTHING_YET

    def last(self) -> str:
        """Only the latest attempt, unnumbered, for prompts that show no more than that."""
        return _words(self.attempts[-1]) if self.attempts else NOTHING_YET


def outcome_words(code: Code) -> str:
    """The outcome of an attempt as prompts word it."""
    return "done" if code is Code.OK else f"failed ({code.name.lower()})"


def _words(attempt: Attempt) -> str:
    return f"{attempt.description}: {outcome_words(attempt.outcome.code)}"


def _reason(attempt: Attempt) -> str:
    return f": {attempt.outcome.message}" if attempt.outcome.code is Code.REPETITION else ""
