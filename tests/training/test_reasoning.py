"""Reasoning says correctly where the plan's objects are, in words that are single tokens."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from si_embodied.plan import parse_plan, plan_schema
from si_embodied.training.annotations import Container, FreeSpot, TabletopAnnotation, VisibleObject
from si_embodied.training.forms import form_for
from si_embodied.training.nano_settings import IMAGE_PROMPTS
from si_embodied.training.question_drawing import draw_questions
from si_embodied.training.questions import Question, QuestionCounts
from si_embodied.training.reasoning import REASONING, where, with_reasoning

TABLETOP = form_for(IMAGE_PROMPTS, 0)
TWENTY_PLANS = QuestionCounts(fragments=2, plans=20)


def table() -> TabletopAnnotation:
    """Red on the left, blue on the right, a bowl between."""
    names = {"red cube": (200, 500), "blue cube": (700, 510), "red bowl": (750, 400)}
    return TabletopAnnotation(
        objects=tuple(
            VisibleObject(k, name, name.split()[1], name.split()[0], 400, point, True, (0.5, 0.3 - 0.2 * k))
            for k, (name, point) in enumerate(names.items())
        ),
        pick={"red cube": (200, 500), "blue cube": (700, 510)},
        into={"bowl 0": (750, 400)},
        onto={},
        beside=(FreeSpot("red cube", "blue cube", "left", (600, 500)),),
        containers=(Container(2, "bowl 0", "red bowl", "bowl", (0.5, -0.1)),),
    )


def reasoned(instruction: str, answer: str) -> str:
    return with_reasoning(answer, instruction, table().objects)


def plan(*steps: dict[str, Any]) -> str:
    return json.dumps({"subgoals": steps, "done": True}, separators=(",", ":"))


@pytest.mark.parametrize(
    ("point", "words"),
    [((100, 900), "near left"), ((500, 100), "far middle"), ((999, 500), "near right"), ((399, 499), "far left")],
)
def test_a_point_is_described_by_side_and_distance(point: tuple[int, int], words: str) -> None:
    assert where(point) == words


def test_reasoning_names_objects_in_the_plans_order() -> None:
    answer = plan(
        {"skill": "pick", "object": "red cube", "view": 0, "point": [200, 500]},
        {"skill": "place", "object": "red bowl", "view": 0, "point": [750, 400]},
    )
    told = reasoned("put the red cube in the red bowl", answer)
    assert json.loads(told)[REASONING] == "red cube near left, red bowl far right"
    assert told.endswith(answer[1:])


def test_a_place_beside_an_object_names_that_object() -> None:
    answer = plan(
        {"skill": "pick", "object": "red cube", "view": 0, "point": [200, 500]},
        {"skill": "place", "object": "table", "view": 0, "point": [600, 500]},
    )
    told = reasoned("put the red cube to the left of the blue cube", answer)
    assert json.loads(told)[REASONING] == "red cube near left, blue cube near right"


def test_pointing_fragments_have_no_reasoning() -> None:
    plain, asked = (
        draw_questions(table(), np.random.default_rng(0), TWENTY_PLANS, reasoning=reasoning)
        for reasoning in (False, True)
    )
    fragments = [q for q in asked if q.instruction is None]
    assert len(fragments) == 2
    assert fragments == [q for q in plain if q.instruction is None]


def test_plans_begin_with_reasoning_when_asked_to() -> None:
    asked = draw_questions(table(), np.random.default_rng(0), TWENTY_PLANS, reasoning=True)
    plans = [q for q in asked if q.instruction is not None]
    assert len(plans) > 10
    assert all(getattr(parse_plan(q.answer, "manipulation", 1), REASONING) for q in plans)
    plain = draw_questions(table(), np.random.default_rng(0), TWENTY_PLANS)
    assert [q.instruction for q in plain] == [q.instruction for q in asked], "the same questions are drawn"


def test_the_grammar_allows_the_tokens_that_training_uses() -> None:
    pytest.importorskip("llguidance")
    from si_embodied.models.constraint import Grammars
    from si_embodied.training.batches import answered
    from si_embodied.training.vocabulary import make_tokenizer

    question = draw_questions(table(), np.random.default_rng(0), QuestionCounts(0, 1), reasoning=True)[0]
    tokenizer = make_tokenizer()
    tokens = tokenizer.encode(question.answer, add_special_tokens=False)
    one = answered(question, TABLETOP)
    assert one.tokens[-len(tokens) :] == tokens
    end = tokenizer.convert_tokens_to_ids("<|im_end|>")
    grammars = Grammars(tokenizer.backend_tokenizer.to_str(), vocabulary_size=len(tokenizer), end_token=end)
    constraint = grammars.start(plan_schema("manipulation", 1, reasoning=True))
    said = 0
    while said < len(tokens):
        forced = constraint.forced() or [tokens[said]]  # or the trained token, which the grammar must allow
        forced = forced[: len(tokens) - said]  # the end of the turn may be forced too
        assert forced == tokens[said : said + len(forced)]
        constraint.accept(forced)
        said += len(forced)


def test_words_of_the_reasoning_have_a_loss_and_forced_tokens_do_not() -> None:
    pytest.importorskip("transformers")
    from si_embodied.training.batches import answered
    from si_embodied.training.vocabulary import make_tokenizer

    answer = plan(
        {"skill": "pick", "object": "red cube", "view": 0, "point": [200, 500]},
        {"skill": "place", "object": "red bowl", "view": 0, "point": [750, 400]},
    )
    plain = Question("put the red cube in the red bowl", answer, "base")
    with_answer = reasoned("put the red cube in the red bowl", answer)
    with_words, without = (answered(one, TABLETOP) for one in (replace(plain, answer=with_answer), plain))
    told = dict(zip(map(make_tokenizer().decode, with_words.tokens), with_words.weights, strict=True))
    assert told[" left"] > 0
    assert told["e"] == 0  # of "reasoning"
    opening = make_tokenizer().encode('{"reasoning":"', add_special_tokens=False)
    said = with_words.tokens[-len(make_tokenizer().encode(with_answer, add_special_tokens=False)) :]
    assert said[: len(opening)] == opening
    assert with_words.weights[-len(said) :][len(opening) - 1] > 0, (
        'the quote: one that goes on, as in `","`, is allowed'
    )
    counted = [weight for weight in without.weights if weight][-12:]
    assert [weight for weight in with_words.weights if weight][-12:] == counted, "the plan counts as it did"
