"""Grammar constraints of an answer."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

pytest.importorskip("llguidance")

from si_embodied.errors import BackendError, ConfigError
from si_embodied.models.constraint import Grammars, longest_answer_bytes
from si_embodied.plan import plan_schema

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="module")
def tokenizer(checkpoints: dict[str, Path]) -> Any:
    """The tiny tokenizer, loaded with the tokenizers library."""
    from tokenizers import Tokenizer

    return Tokenizer.from_file(str(checkpoints["qwen3_vl"] / "tokenizer.json"))


@pytest.fixture(scope="module")
def grammars(tokenizer: Any) -> Grammars:
    """With a few more vocabulary rows than tokens, as in real checkpoints."""
    return Grammars(tokenizer.to_str(), vocabulary_size=768, end_token=tokenizer.token_to_id("<|im_end|>"))


def test_only_tokens_allowed_by_the_schema_may_follow(grammars: Grammars, tokenizer: Any) -> None:
    """After `{"done":` there are two possible answers, so only tokens that begin one of them are allowed."""
    constraint = grammars.start({"type": "object", "properties": {"done": {"type": "boolean"}}, "required": ["done"]})
    while not (allowed := constraint.allowed()).sum() > 1:
        constraint.accept([int(allowed.argmax())])
    texts = {tokenizer.decode([int(token)]) for token in allowed.nonzero()[0]}
    assert {"true", "false"} & texts
    assert all("true".startswith(text.strip('":')) or "false".startswith(text.strip('":')) for text in texts)
    assert allowed.shape == (768,)
    assert not allowed[tokenizer.get_vocab_size() :].any()


def test_forced_tokens_are_the_only_allowed_ones(grammars: Grammars) -> None:
    """Following the mask token by token gives the same tokens as taking all forced ones at once."""
    forced = grammars.start(plan_schema("navigation", 1)).forced()
    slow = grammars.start(plan_schema("navigation", 1))
    for token in forced:
        assert slow.allowed().nonzero()[0].tolist() == [token]
        slow.accept([token])
    assert len(forced) >= 2


def test_a_complete_answer_is_finished(grammars: Grammars, tokenizer: Any) -> None:
    """The canonical encoding of a plan is accepted to its end."""
    text = '{"subgoals":[{"skill":"explore"}],"done":false}'
    constraint = grammars.start(plan_schema("navigation", 1))
    assert not constraint.finished
    constraint.accept(tokenizer.encode(text).ids)
    assert constraint.finished
    assert grammars.text(tokenizer.encode(text).ids) == text


def test_answers_do_not_share_state(grammars: Grammars, tokenizer: Any) -> None:
    """Each answer starts from the initial state of the cached grammar."""
    schema = plan_schema("navigation", 1)
    grammars.start(schema).accept(tokenizer.encode('{"sub').ids)
    assert grammars.start(schema).forced() == grammars.start(schema).forced() != []


def test_a_token_outside_the_grammar_is_an_error(grammars: Grammars, tokenizer: Any) -> None:
    """It is not skipped silently, and the message is one line."""
    with pytest.raises(BackendError) as caught:
        grammars.start(plan_schema("navigation", 1)).accept(tokenizer.encode("hello").ids)
    assert "\n" not in str(caught.value)


def test_a_schema_that_cannot_be_compiled_is_an_error(grammars: Grammars) -> None:
    """No number is between 3 and 2."""
    with pytest.raises(ConfigError, match="schema"):
        grammars.start({"type": "integer", "minimum": 3, "maximum": 2})


@pytest.mark.parametrize(
    ("schema", "longest"),
    [
        ({"type": "boolean"}, "false"),
        ({"type": "integer", "minimum": -180, "maximum": 99}, "-180"),
        ({"enum": ["up", "down"]}, '"down"'),
        ({"anyOf": [{"const": 1}, {"const": "four"}]}, '"four"'),
        ({"type": "array", "maxItems": 3, "items": {"type": "boolean"}}, "[false,false,false]."),
        ({"type": "array", "maxItems": 2, "prefixItems": [{"const": 1}, {"const": 22}]}, "[1,22]"),
        ({"type": "object", "additionalProperties": False, "properties": {"a": {"const": 1}}}, '{"a":1}.'),
        ({"type": "string", "maxLength": 2}, '"\\u0001\\u0001"'),
    ],
)
def test_the_bound_covers_the_longest_answer(schema: Any, longest: str) -> None:
    """Written out by hand; a dot stands for a separator that the bound counts in excess."""
    assert longest_answer_bytes(schema) == len(longest)


def test_the_longest_plan_fits_its_bound() -> None:
    """Three pushes with the longest names."""
    push = {"skill": "push", "object": "a" * 40, "view": 1, "point": [1000, 1000], "to": [1000, 1000]}
    text = json.dumps({"subgoals": [push] * 3, "done": False}, separators=(",", ":"))
    assert len(text) <= longest_answer_bytes(plan_schema("manipulation", 2))


@pytest.mark.parametrize(
    "schema",
    [{"type": "string"}, {"type": "integer", "minimum": 0}, {"type": "array", "items": {}}, {"type": "object"}, {}],
)
def test_an_unbounded_schema_is_rejected(schema: Any) -> None:
    """A weak model could go on in it forever."""
    with pytest.raises(ConfigError, match=r"does not bound answer\.x"):
        longest_answer_bytes({"type": "object", "additionalProperties": False, "properties": {"x": schema}})


def test_an_answer_may_be_plain_text_that_matches_a_pattern(grammars: Grammars, tokenizer: Any) -> None:
    schema = {"type": "text", "pattern": "[AC]", "maxLength": 1}
    constraint = grammars.start(schema)
    assert {tokenizer.decode([int(token)]) for token in constraint.allowed().nonzero()[0]} == {"A", "C"}
    constraint.accept([tokenizer.token_to_id("C")])
    assert constraint.finished or constraint.forced() == [tokenizer.token_to_id("<|im_end|>")]
    assert longest_answer_bytes(schema) >= 1
    with pytest.raises(ConfigError, match="maxLength"):
        longest_answer_bytes({"type": "text", "pattern": "[A-Z]*"})
