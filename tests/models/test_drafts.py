"""Guesses at how an answer goes on."""

from __future__ import annotations

from si_embodied.models.drafts import Drafts


def _drafts(last: str, prompt: str = "") -> Drafts:
    """Tokens are letters, and words in the prompt where they stand between spaces."""
    return Drafts([ord(c) for c in last], [ord(c) for c in prompt], chr)


def _guess(drafts: Drafts, answer: str) -> str:
    return "".join(chr(token) for token in drafts.propose([ord(c) for c in answer]))


def test_the_last_answer_is_guessed_whole() -> None:
    assert _guess(_drafts("go(12)."), "") == "go(12)."


def test_it_is_followed_while_the_answer_agrees() -> None:
    assert _guess(_drafts("go(12)."), "go(") == "12)."


def test_after_another_number_the_rest_is_guessed_at_its_place() -> None:
    """One token was replaced by one."""
    assert _guess(_drafts("go(12)."), "go(4") == "2)."


def test_after_a_longer_number_the_rest_is_found_by_what_stands_before_it() -> None:
    """Two tokens that agree: `).` came at 6 in the last answer and comes at 8 now."""
    drafts = _drafts("go(12).turn")
    assert _guess(drafts, "go(3456).") == "turn"
    assert _guess(drafts, "go(3456).t") == "urn"


def test_names_are_copied_from_the_prompt() -> None:
    """No last answer: what followed the same letter where the prompt has it last, two at a time."""
    assert _guess(_drafts("", "a rxd, a red one"), '{"r') == "ed"


def test_what_the_prompt_does_not_say_is_not_guessed() -> None:
    assert _guess(_drafts("", "a red one"), '{"z') == ""
    assert _guess(_drafts("", 'say "x"'), '{"') == ""


def test_wrong_guesses_become_shorter_and_right_ones_longer() -> None:
    drafts = _drafts("x" * 100)
    lengths = []
    for proposed, accepted in ((64, 3), (6, 0), (1, 1), (2, 2)):
        drafts.learn(proposed, accepted)
        lengths.append(len(_guess(drafts, "")))
    assert lengths == [6, 1, 2, 4]
