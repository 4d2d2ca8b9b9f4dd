"""Memory is bounded and says what happened."""

from __future__ import annotations

from si_embodied import Code, Outcome, Pose
from si_embodied.memory import Attempt, Memory


def attempt(words: str, code: Code = Code.OK) -> Attempt:
    return Attempt(words, None, Pose.identity(), Outcome(code))


def test_an_empty_memory_says_so() -> None:
    assert Memory().describe() == "(nothing yet)"


def test_attempts_are_told_with_their_outcome() -> None:
    memory = Memory().add(attempt("explore")).add(attempt("goto red chair", Code.UNREACHABLE))
    assert memory.describe() == "1. explore: done\n2. goto red chair: failed (unreachable)"


def test_the_oldest_is_forgotten_and_the_numbers_go_on() -> None:
    memory = Memory(limit=2)
    for words in "abc":
        memory = memory.add(attempt(words))
    assert memory.describe() == "2. b: done\n3. c: done"


def test_adding_leaves_the_old_value_alone() -> None:
    memory = Memory()
    memory.add(attempt("explore"))
    assert memory.attempts == ()


def test_the_latest_attempt_stands_alone_and_without_its_number() -> None:
    memory = Memory()
    assert memory.last() == "(nothing yet)"
    for code, words in ((Code.OK, "done"), (Code.BLOCKED, "failed (blocked)")):
        memory = memory.add(attempt("goto red chair", code))
        assert memory.last() == f"goto red chair: {words}"
