"""Memory: bounded, immutable, and described for the prompt."""

from __future__ import annotations

from si_embodied import Code, Outcome, Pose
from si_embodied.memory import Attempt, Memory


def attempt(words: str, code: Code = Code.OK) -> Attempt:
    return Attempt(words, None, Pose.identity(), Outcome(code))


def test_an_empty_memory_says_so() -> None:
    assert Memory().describe() == "(nothing yet)"


def test_attempts_are_listed_with_their_outcomes() -> None:
    memory = Memory().add(attempt("explore")).add(attempt("goto red chair", Code.UNREACHABLE))
    assert memory.describe() == "1. explore: done\n2. goto red chair: failed (unreachable)"


def test_the_oldest_attempt_is_dropped_and_numbering_continues() -> None:
    memory = Memory(limit=2, kept=2)
    for words in "abc":
        memory = memory.add(attempt(words))
    assert memory.describe() == "2. b: done\n3. c: done"


def test_more_attempts_are_kept_than_shown() -> None:
    memory = Memory(limit=2, kept=4)
    for words in "abcdef":
        memory = memory.add(attempt(words))
    assert memory.describe() == "5. e: done\n6. f: done"
    assert [each.description for each in memory.attempts] == ["c", "d", "e", "f"]


def test_a_refused_repetition_is_shown_with_its_reason() -> None:
    again = Attempt("plan", None, Pose.identity(), Outcome(Code.REPETITION, "the last 6 goals were the same 2"))
    assert Memory().add(again).describe() == "1. plan: failed (repetition): the last 6 goals were the same 2"


def test_adding_does_not_change_the_original() -> None:
    memory = Memory()
    memory.add(attempt("explore"))
    assert memory.attempts == ()


def test_the_latest_attempt_is_shown_unnumbered() -> None:
    memory = Memory()
    assert memory.last() == "(nothing yet)"
    for code, words in ((Code.OK, "done"), (Code.BLOCKED, "failed (blocked)")):
        memory = memory.add(attempt("goto red chair", code))
        assert memory.last() == f"goto red chair: {words}"
