"""A plan that says first where things are says what is true, in words that are single tokens."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from si_embodied.plan import parse_plan, plan_schema
from si_embodied.training.examples import Question, questions
from si_embodied.training.reasoning import REASONING, reasoned, where


def table() -> dict[str, Any]:
    """Red on the left, blue on the right, a bowl between."""
    names = {"red cube": [200, 500], "blue cube": [700, 510], "red bowl": [750, 400]}
    things = [
        {"id": k, "name": name, "category": name.split()[1], "colour": name.split()[0], "pixels": 400, "unique": True,
         "point": point, "xy": [0.5, 0.3 - 0.2 * k]}
        for k, (name, point) in enumerate(names.items())
    ]  # fmt: skip
    return {
        "objects": things,
        "pick": {"red cube": [200, 500], "blue cube": [700, 510]},
        "into": {"bowl 0": [750, 400]},
        "onto": {},
        "beside": [["red cube", "blue cube", "left", [600, 500]]],
        "containers": [{"id": 2, "key": "bowl 0", "name": "red bowl", "kind": "bowl", "xy": [0.5, -0.1]}],
    }


def reasoning_of(question: Question) -> str:
    return str(json.loads(question.answer)[REASONING])


def plan(*steps: dict[str, Any]) -> str:
    return json.dumps({"subgoals": steps, "done": True}, separators=(",", ":"))


@pytest.mark.parametrize(
    ("point", "words"),
    [((100, 900), "near left"), ((500, 100), "far middle"), ((999, 500), "near right"), ((399, 499), "far left")],
)
def test_a_place_is_named_by_side_and_nearness(point: tuple[int, int], words: str) -> None:
    assert where(point) == words


def test_what_the_plan_points_at_is_told_in_its_order() -> None:
    answer = plan(
        {"skill": "pick", "object": "red cube", "view": 0, "point": [200, 500]},
        {"skill": "place", "object": "red bowl", "view": 0, "point": [750, 400]},
    )
    told = reasoned(Question("put the red cube in the red bowl", answer, "base"), table())
    assert reasoning_of(told) == "red cube near left, red bowl far right"
    assert told.answer.endswith(answer[1:])


def test_beside_something_it_is_told_where_that_is() -> None:
    answer = plan(
        {"skill": "pick", "object": "red cube", "view": 0, "point": [200, 500]},
        {"skill": "place", "object": "table", "view": 0, "point": [600, 500]},
    )
    told = reasoned(Question("put the red cube to the left of the blue cube", answer, "beside"), table())
    assert reasoning_of(told) == "red cube near left, blue cube near right"


def test_a_pointing_fragment_stays_as_it_is() -> None:
    fragment = Question(None, '{"subgoals":[{"skill":"pick","object":"red cube","view":0,"point":[1,2', "point pick")
    assert reasoned(fragment, table()) is fragment


def test_an_image_can_ask_for_reasoning() -> None:
    note = {**table(), REASONING: True}
    asked = questions(note, np.random.default_rng(0), fragments=2, plans=20)
    plans = [q for q in asked if q.instruction is not None]
    assert len(plans) > 10
    assert all(getattr(parse_plan(q.answer, "manipulation", 1), REASONING) for q in plans)
    plain = questions(table(), np.random.default_rng(0), fragments=2, plans=20)
    assert [q.instruction for q in plain] == [q.instruction for q in asked], "the same questions are drawn"


def test_reasoning_is_the_same_tokens_in_training_as_under_the_grammar() -> None:
    pytest.importorskip("llguidance")
    from si_embodied.models.constraint import Grammars
    from si_embodied.training.batches import answered
    from si_embodied.training.vocabulary import make_tokenizer

    note = {**table(), REASONING: True}
    question = next(q for q in questions(note, np.random.default_rng(0), fragments=0, plans=1))
    tokenizer = make_tokenizer()
    tokens = tokenizer.encode(question.answer, add_special_tokens=False)
    one = answered(question, 0)
    assert one.tokens[-len(tokens) :] == tokens
    end = tokenizer.convert_tokens_to_ids("<|im_end|>")
    grammars = Grammars(tokenizer.backend_tokenizer.to_str(), vocabulary_size=len(tokenizer), end_token=end)
    constraint = grammars.start(plan_schema("manipulation", 1, reasoning=True))
    said = 0
    while said < len(tokens):
        forced = constraint.forced() or [tokens[said]]  # or what was taught, which the grammar must allow
        forced = forced[: len(tokens) - said]  # the end of the turn may be forced too
        assert forced == tokens[said : said + len(forced)]
        constraint.accept(forced)
        said += len(forced)


def test_a_word_of_the_reasoning_counts_and_what_the_grammar_forces_does_not() -> None:
    pytest.importorskip("transformers")
    from si_embodied.training.batches import answered
    from si_embodied.training.vocabulary import make_tokenizer

    answer = plan(
        {"skill": "pick", "object": "red cube", "view": 0, "point": [200, 500]},
        {"skill": "place", "object": "red bowl", "view": 0, "point": [750, 400]},
    )
    plain = Question("put the red cube in the red bowl", answer, "base")
    with_words, without = answered(reasoned(plain, table()), 0), answered(plain, 0)
    told = dict(zip(map(make_tokenizer().decode, with_words.tokens), with_words.weights, strict=True))
    assert told[" left"] > 0
    assert told["e"] == 0  # of "reasoning"
    opening = make_tokenizer().encode('{"reasoning":"', add_special_tokens=False)
    said = with_words.tokens[-len(make_tokenizer().encode(reasoned(plain, table()).answer, add_special_tokens=False)) :]
    assert said[: len(opening)] == opening
    assert with_words.weights[-len(said) :][len(opening) - 1] > 0, (
        'the quote: one that goes on, as in `","`, is allowed'
    )
    counted = [weight for weight in without.weights if weight][-12:]
    assert [weight for weight in with_words.weights if weight][-12:] == counted, "the plan counts as it did"
