"""Numbers are single tokens, answers use the tokens that the grammar generates, and any text can be encoded."""

from __future__ import annotations

import pytest

pytest.importorskip("tokenizers")
pytest.importorskip("llguidance")

from si_embodied.embodiment import TaskKind
from si_embodied.envs.scenes.catalogue import CATALOGUE
from si_embodied.envs.scenes.tabletop import COLOURS as TABLE_COLOURS
from si_embodied.envs.scenes.tabletop import SHAPES as TABLE_SHAPES
from si_embodied.models.constraint import Grammars
from si_embodied.plan import plan_schema
from si_embodied.training.questions import plan_json, subgoal
from si_embodied.training.vocabulary import CATEGORIES, COLOURS, SHAPES, make_tokenizer, word_id

GOTO = plan_json([subgoal("goto", "blue office chair", [512, 1000])], done=True)
EXPLORE = plan_json([{"skill": "explore"}], done=False)
MOVE = plan_json([subgoal("pick", "red long block", [51, 7]), subgoal("place", "table", [0, 999])], done=True)


def encode(text: str) -> list[int]:
    return [int(i) for i in make_tokenizer().encode(text, add_special_tokens=False)]


@pytest.mark.parametrize("number", [0, 7, 10, 99, 100, 512, 999, 1000])
def test_a_number_is_its_own_token(number: int) -> None:
    assert encode(str(number)) == [number]


@pytest.mark.parametrize(
    "text", ["put the red cube in the blue bowl", "Ünï 汉字 <|im_end|>?", "x 12345\n\t", GOTO, MOVE]
)
def test_any_text_survives_a_round_trip(text: str) -> None:
    backend = make_tokenizer().backend_tokenizer
    backend.encode_special_tokens = True
    try:
        assert backend.decode(backend.encode(text, add_special_tokens=False).ids, skip_special_tokens=False) == text
    finally:
        backend.encode_special_tokens = False


def test_the_worlds_words_are_single_tokens() -> None:
    assert set(TABLE_SHAPES) == set(SHAPES)
    assert set(CATALOGUE) <= set(CATEGORIES)
    names = {colour for kind in CATALOGUE.values() for colour in kind.colours} | set(TABLE_COLOURS)
    assert names <= set(COLOURS)
    for word in (*CATEGORIES, *COLOURS):
        assert encode(f"a {word}")[1:] == [word_id(word, spaced=True)]


@pytest.mark.parametrize(("kind", "plan"), [("navigation", GOTO), ("navigation", EXPLORE), ("manipulation", MOVE)])
def test_the_grammar_generates_a_plan_with_the_tokens_that_training_uses(kind: TaskKind, plan: str) -> None:
    tokenizer = make_tokenizer()
    end = int(tokenizer.convert_tokens_to_ids("<|im_end|>"))
    grammars = Grammars(tokenizer.backend_tokenizer.to_str(), vocabulary_size=len(tokenizer), end_token=end)
    constraint = grammars.start(plan_schema(kind, 1))
    left = encode(plan)
    while not constraint.finished:
        forced = constraint.forced()
        assert forced == left[: len(forced)]
        constraint.accept(forced)
        left = left[len(forced) :]
        if left:
            assert constraint.allowed()[left[0]]
            constraint.accept(left[:1])
            left = left[1:]
    assert left == []
