"""Drafts of an answer's next tokens."""

from __future__ import annotations

from si_embodied.models.drafts import Drafts


def _drafts(last: str, prompt: str = "", older: str = "") -> Drafts:
    """Tokens are letters, and words in the prompt are separated by spaces."""
    return Drafts([[ord(c) for c in each] for each in (last, older)], [ord(c) for c in prompt], chr)


def _guess(drafts: Drafts, answer: str) -> str:
    return "".join(chr(token) for token in drafts.propose([ord(c) for c in answer]))


def test_the_first_draft_is_the_whole_last_answer() -> None:
    assert _guess(_drafts("go(12)."), "") == "go(12)."


def test_the_draft_follows_the_last_answer_while_it_agrees() -> None:
    assert _guess(_drafts("go(12)."), "go(") == "12)."


def test_after_a_replaced_token_the_draft_continues_at_the_same_position() -> None:
    """One token was replaced by one."""
    assert _guess(_drafts("go(12)."), "go(4") == "2)."


def test_after_an_inserted_token_the_draft_is_found_by_matching_tokens() -> None:
    """Two matching tokens: `).` ended at 6 in the last answer, and ends at 8 now."""
    drafts = _drafts("go(12).turn")
    assert _guess(drafts, "go(3456).") == "turn"
    assert _guess(drafts, "go(3456).t") == "urn"


def test_what_an_older_answer_says_is_drafted_where_the_last_one_differs() -> None:
    """Then that answer is followed, until it differs as well."""
    drafts = _drafts("go(12).turn", older="stop(3456).go(7)")
    assert _guess(drafts, "st") == "op(3456).go(7)"
    assert _guess(drafts, "stop(8") == "456).go(7)"
    assert _guess(drafts, "stop(8).t") == "urn"


def test_names_are_copied_from_the_prompt() -> None:
    """Without a last answer, drafts are what followed the letter's last occurrence in the prompt, two at a time."""
    assert _guess(_drafts("", "a rxd, a red one"), '{"r') == "ed"


def test_nothing_is_drafted_for_a_word_not_in_the_prompt() -> None:
    assert _guess(_drafts("", "a red one"), '{"z') == ""
    assert _guess(_drafts("", 'say "x"'), '{"') == ""


def test_rejected_drafts_get_shorter_and_accepted_ones_longer() -> None:
    drafts = _drafts("x" * 100)
    lengths = []
    for proposed, accepted in ((64, 3), (6, 0), (1, 1), (2, 2)):
        drafts.learn(proposed, accepted)
        lengths.append(len(_guess(drafts, "")))
    assert lengths == [6, 1, 2, 4]
