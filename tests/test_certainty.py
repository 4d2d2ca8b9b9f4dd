"""A plan's certainty is the product of the probabilities of the tokens that spell its first subgoal."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from si_embodied.certainty import Certainty, Token, certainty_of
from si_embodied.errors import BackendError
from si_embodied.types import Code

GOTO = '{"subgoals":[{"skill":"goto","object":"red chair","view":0,"point":[512,730]}],"done":false}'


def tokens(*parts: tuple[str | bytes, float]) -> list[Token]:
    return [Token(text.encode() if isinstance(text, str) else text, p) for text, p in parts]


def spelled(*parts: tuple[str, float]) -> Certainty | None:
    """The certainty of the text that these tokens spell."""
    return certainty_of(tokens(*parts), "".join(text for text, _ in parts))


def numbers(certainty: Certainty | None) -> tuple[float, float | None]:
    assert certainty is not None
    return certainty.decision, certainty.point


def test_a_decision_is_the_skill_and_its_object_and_a_point_is_its_view_and_numbers() -> None:
    certainty = spelled(
        ('{"subgoals":[', 0.1), ("{", 0.9), ('"skill":', 0.1), ('"go', 0.8), ('to"', 0.7), (',"object":', 0.1),
        ('"red', 0.6), (" chair", 0.5), ('"', 0.4), (',"view":', 0.1), ("0", 0.95), (",", 0.99), ('"point":', 0.1),
        ("[", 1.0), ("51", 0.3), ("2", 0.2), (",730", 0.25), ("]", 1.0),
        ('}],"done":', 0.1), ("false", 0.1), ("}", 0.1),
    )  # fmt: skip
    assert numbers(certainty) == pytest.approx((0.9 * 0.8 * 0.7 * 0.6 * 0.5 * 0.4, 0.95 * 0.99 * 0.3 * 0.2 * 0.25))


def test_a_token_that_spells_two_values_counts_once() -> None:
    """`","object":"` ends the skill and begins the object; `","view":0` ends the object and is the view."""
    certainty = spelled(
        ('{"subgoals":[{"', 0.9), ("skill", 0.1), ('":"', 1.0), ("goto", 0.8), ('","object":"', 0.7),
        ("red chair", 0.6), ('","view":0', 0.5), (',"point":', 0.4), ("[512,730]", 0.3), ('}],"done":false}', 0.1),
    )  # fmt: skip
    assert numbers(certainty) == pytest.approx((0.9 * 0.8 * 0.7 * 0.6 * 0.5, 0.4 * 0.3))


def test_the_end_of_a_number_is_part_of_it() -> None:
    """After 9, the model might have written 0."""
    certainty = spelled(
        ('{"subgoals":[', 1.0), ('{"skill":"turn"', 0.9), (',"degrees":', 0.1), ("9", 0.8), ("}", 0.7),
        ('],"done":', 0.1), ("true}", 0.1),
    )  # fmt: skip
    assert numbers(certainty) == (pytest.approx(0.9 * 0.8 * 0.7), None)


def test_a_plan_without_subgoals_is_decided_by_its_empty_list_and_done() -> None:
    certainty = spelled(('{"subgoals":[', 0.1), ("]", 0.9), (',"done":', 0.1), ("true", 0.8), ("}", 0.1))
    assert numbers(certainty) == (pytest.approx(0.1 * 0.9 * 0.8), None)


def test_only_the_first_subgoal_counts() -> None:
    """Neither a later subgoal nor the second point of a push."""
    push = ('{"skill":"push","object":"cube","view":1,"point":[1,2]', 0.5), (',"to":[', 0.1), ("3,4", 0.1), ("]}", 0.1)
    certainty = spelled(('{"subgoals":[', 1.0), *push, (',{"skill":"home"}', 0.1), ('],"done":true}', 0.1))
    assert certainty == Certainty(0.5, 1.0)


def test_what_stands_around_the_plan_has_no_share() -> None:
    """Reasoning that drafts another plan, white space, special tokens, and characters that two tokens share."""
    plan = '{ "reasoning": "à gauche", "subgoals": [ {"skill": "explore"} ], "done": false }'
    head, tail = plan.encode().split("à".encode())
    parts = tokens(
        ('<think>{"subgoals":[],"done":true}</think>\n', 0.1), (head, 0.1), (b"\xc3", 0.1), (b"\xa0", 0.1),
        (tail.partition(b"{")[0], 0.1), ("{", 0.9), ('"skill": ', 0.1), ('"explore"', 0.8),
        ('} ], "done": false }', 0.1), ("<|im_end|>", 0.1), ("", 0.1),
    )  # fmt: skip
    assert numbers(certainty_of(parts, plan)) == (pytest.approx(0.9 * 0.8), None)


def test_any_tokenization_finds_the_same_values() -> None:
    """One token at a time has probability 0.5: it counts where it shares a character with a value."""
    decision = ['{"skill"'[0], '"goto"', '"red chair"']
    places = [(GOTO.index(part, 13), GOTO.index(part, 13) + len(part)) for part in decision]
    points = [(GOTO.index("0,"), GOTO.index("0,") + 2), (GOTO.index("[512"), GOTO.index("]}") + 1)]
    rng = np.random.default_rng(0)
    for _ in range(50):
        cuts = [0, *sorted(rng.choice(np.arange(1, len(GOTO)), size=rng.integers(1, 30), replace=False)), len(GOTO)]
        spans = list(itertools.pairwise(cuts))
        unsure = int(rng.integers(len(spans)))
        found = spelled(*((GOTO[a:b], 0.5 if k == unsure else 1.0) for k, (a, b) in enumerate(spans)))
        touched = [any(set(range(*spans[unsure])) & set(range(*place)) for place in part) for part in (places, points)]
        assert found == Certainty(0.5 if touched[0] else 1.0, 0.5 if touched[1] and not touched[0] else 1.0)


@pytest.mark.parametrize(
    "text",
    [
        "", "B", "1.5", "[[1, 2, 3, 4]]", "{}", '{"subgoals":{}}', '{"subgoals":[]}', '{"subgoals":[1],"done":true}',
        '{"subgoals":[{}],"done":true}', GOTO[:-1], f"```json\n{GOTO}\n```", "[" * 100_000, "\ud800",
    ],
)  # fmt: skip
def test_what_is_not_a_plan_has_no_certainty(text: str) -> None:
    assert certainty_of([Token(text.encode("utf-8", "surrogatepass"), 0.5)], text) is None


def test_tokens_that_do_not_spell_the_plan_say_nothing() -> None:
    """A server that does not send them, or sends those of another text."""
    assert certainty_of([], GOTO) is None
    assert certainty_of(tokens((GOTO[1:], 0.5)), GOTO) is None


@pytest.mark.parametrize("value", [-0.1, 1.1, math.nan])
def test_a_probability_outside_of_zero_to_one_is_an_error(value: float) -> None:
    for impossible in ((value, None), (0.5, value)):
        with pytest.raises(BackendError, match="from 0 to 1"):
            Certainty(*impossible)


def test_a_decision_below_the_threshold_is_refused_with_both_numbers() -> None:
    refusal = Certainty(0.3, 0.9).refusal(0.5)
    assert refusal is not None
    assert refusal.code is Code.UNSURE
    assert "0.30" in refusal.message
    assert "0.50" in refusal.message
    assert Certainty(0.5, 0.001).refusal(0.5) is None


def test_an_empty_plan_is_as_sure_as_the_token_that_opens_its_list() -> None:
    """A vocabulary may have `{"subgoals":[` beside `{"subgoals":[{"skill":"`: then the first token decides."""
    text = '{"subgoals":[],"done":true}'
    pieces = (('{"subgoals":[', 0.6), ('],"done":', 1.0), ("true}", 0.9))
    found = certainty_of([Token(piece.encode(), probability) for piece, probability in pieces], text)
    assert found is not None
    assert found.decision == pytest.approx(0.54)
