"""Answers written piece by piece: the same as decoding at once, whatever interrupts them."""

from __future__ import annotations

import json
import threading
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("llguidance")

from si_embodied.backends import LocalBackend
from si_embodied.conversation import Conversation, Thought, Turn, Writer
from si_embodied.errors import ConfigError, SchemaError
from si_embodied.thinking import asked_to_think
from si_embodied.types import Prompt

FAMILIES = ["qwen3_vl", "qwen2_5_vl", "internvl"]
IMAGE = np.full((64, 80, 3), 90, dtype=np.uint8)
QUESTION = Conversation((Turn("user", (IMAGE, "Where is the chair? ")),), temperature=1.0, seed=5, max_tokens=40)
SCHEMA = {
    "type": "object",
    "properties": {"a": {"enum": ["x", "yes"]}, "b": {"type": "array", "items": {"type": "boolean"}, "maxItems": 4}},
    "required": ["a", "b"],
    "additionalProperties": False,
}


def written(backend: Any, conversation: Conversation) -> tuple[str, Any]:
    writing = backend.write(conversation, interrupted=threading.Event())
    return "".join(map(shown, writing.pieces())), writing


def shown(piece: str | Thought) -> str:
    return f"[{piece.text}]" if isinstance(piece, Thought) else piece


def interrupted_often(backend: Any, conversation: Conversation, every: int, *, rests: bool = False) -> str:
    """Interrupted after every few pieces, and before the first one; a plan takes the model in between.

    If it rests, its key/value cache is dropped too, as where many others have had the model.
    """
    interrupted = threading.Event()
    writing = backend.write(conversation, interrupted=interrupted)
    interrupted.set()
    text = "".join(map(shown, writing.pieces()))
    assert (text, writing.ended) == ("", None)
    while writing.ended is None:
        interrupted.clear()
        for number, piece in enumerate(writing.pieces(), start=1):
            text += shown(piece)
            if number == every:
                interrupted.set()
        if rests:
            writing.rest()
            backend.forget()
        backend.generate(Prompt("v", "", (IMAGE[:32], "other"), {"const": "plan"}), deadline_s=60)
    return text


@pytest.mark.parametrize("family", FAMILIES)
def test_interruptions_change_nothing(backends: dict[str, Any], family: str) -> None:
    for asked in (QUESTION, replace(QUESTION, schema=SCHEMA), replace(QUESTION, temperature=0.0)):
        whole, writing = written(backends[family], asked)
        assert writing.ended is not None
        assert interrupted_often(backends[family], asked, 1) == whole
        assert interrupted_often(backends[family], asked, 3) == whole


def test_resting_changes_nothing(backends: dict[str, Any]) -> None:
    whole, _ = written(backends["qwen3_vl"], QUESTION)
    assert interrupted_often(backends["qwen3_vl"], QUESTION, 15, rests=True) == whole


def test_an_answer_that_rests_holds_no_cache_and_no_inputs(backends: dict[str, Any]) -> None:
    interrupted = threading.Event()
    writing = backends["qwen3_vl"].write(QUESTION, interrupted=interrupted)
    for _ in writing.pieces():
        interrupted.set()
    _, answer = writing._begun
    assert answer.runner.cache_bytes
    writing.rest()
    assert not answer.runner.cache_bytes
    assert writing._read_so_far is None


@pytest.mark.parametrize("family", FAMILIES)
def test_the_answer_is_that_of_plain_decoding(backends: dict[str, Any], family: str) -> None:
    bounded = {"type": "array", "items": {"type": "integer", "minimum": 0, "maximum": 99}, "maxItems": 5}
    text, writing = written(backends[family], Conversation(QUESTION.turns, bounded, max_tokens=100))
    completion = backends[family].generate(Prompt("v", "", QUESTION.turns[0].content, bounded), deadline_s=60)
    assert writing.ended == "stop"
    assert text == completion.text
    assert (writing.prompt_tokens, writing.completion_tokens) == (
        completion.prompt_tokens,
        completion.completion_tokens,
    )


def test_a_schema_is_followed(backends: dict[str, Any]) -> None:
    for seed in range(5):
        text, writing = written(backends["qwen3_vl"], replace(QUESTION, schema=SCHEMA, seed=seed, max_tokens=200))
        answer = json.loads(text)
        assert writing.ended == "stop"
        assert answer["a"] in ("x", "yes")
        assert len(answer["b"]) <= 4


def test_an_answer_has_at_most_as_many_tokens_as_asked_for(backends: dict[str, Any]) -> None:
    """Also where the grammar forces several tokens at once."""
    long = {"const": "a text that takes many tokens"}
    for most in (1, 2, 3):
        text, writing = written(backends["qwen3_vl"], replace(QUESTION, schema=long, max_tokens=most))
        assert (writing.ended, writing.completion_tokens) == ("length", most)
        assert '"a text that takes many tokens"'.startswith(text)


def test_a_cut_off_character_is_left_out(backends: dict[str, Any]) -> None:
    for most in range(1, 12):
        text, _ = written(backends["qwen3_vl"], replace(QUESTION, schema={"const": "汉字"}, max_tokens=most))
        assert '"汉字"'.startswith(text)


def test_a_keyword_that_cannot_be_followed_is_named_or_left_out(backends: dict[str, Any]) -> None:
    unique = {"type": "array", "uniqueItems": True, "items": {"type": "boolean"}, "maxItems": 2}
    with pytest.raises(ConfigError, match="uniqueItems.*without strict"):
        written(backends["qwen3_vl"], replace(QUESTION, schema=unique))
    text, _ = written(backends["qwen3_vl"], replace(QUESTION, schema=unique, lenient=True))
    assert isinstance(json.loads(text), list)


@pytest.mark.parametrize(
    "schema", [{"type": "nonsense"}, {"type": "string", "pattern": "(?=a)b"}, {"$ref": "http://a"}]
)
def test_what_is_no_schema_is_refused_even_if_lenient(backends: dict[str, Any], schema: Any) -> None:
    with pytest.raises(ConfigError):
        written(backends["qwen3_vl"], replace(QUESTION, schema=schema, lenient=True))


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        ({"$ref": "#"}, "no text fits it; look for a [$]ref"),
        ({"allOf": [{"$ref": "#"}]}, "no text fits it"),
        ({"type": "object", "properties": {"a": {"$ref": "#"}}, "required": ["a"]}, "Too many items"),
        ({"type": "array", "items": {"const": 0}, "minItems": 100_000}, "Too many items"),
        ({"type": "string", "pattern": "(a"}, "regex parse error: [(]a error: unclosed group"),
        ({"type": "string", "pattern": f"({'x' * 1000}"}, "regex parse error: [(]xx.*unclosed group"),
    ],
)
def test_a_schema_that_no_answer_can_follow_is_refused_with_its_problem(
    backends: dict[str, Any], schema: Any, words: str
) -> None:
    """Some problems show only when the answer is being written."""
    with pytest.raises(SchemaError, match=words) as raised:
        written(backends["qwen3_vl"], replace(QUESTION, schema=schema, lenient=True))
    assert len(str(raised.value)) < 600
    assert "\n" not in str(raised.value)


def test_the_smallest_temperatures_are_greedy_decoding(backends: dict[str, Any]) -> None:
    greedy, _ = written(backends["qwen3_vl"], replace(QUESTION, temperature=0.0))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert written(backends["qwen3_vl"], replace(QUESTION, temperature=5e-324))[0] == greedy


def test_a_conversation_beyond_the_context_is_refused_and_an_answer_ends_with_it(
    backends: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    backend = backends["qwen3_vl"]
    count = len(backend.family.encode(Prompt("v", "", QUESTION.turns[0].content, {})).input_ids)
    asked = replace(QUESTION, schema={"const": "a text that takes many tokens"}, max_tokens=1 << 40)
    monkeypatch.setattr(type(backend.family), "context_tokens", count + 3)
    _, writing = written(backend, asked)
    assert (writing.prompt_tokens, writing.completion_tokens, writing.ended) == (count, 3, "length")
    monkeypatch.setattr(type(backend.family), "context_tokens", count)
    with pytest.raises(ConfigError, match=f"{count} tokens.*context {count}"):
        written(backend, asked)


def test_a_text_that_would_take_seconds_to_tokenize_is_refused(backends: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="1000000; send less text"):
        written(backends["qwen3_vl"], Conversation((Turn("user", ("a" * 1_000_000,)),)))


def test_turns_are_written_in_the_chat_format(backends: dict[str, Any]) -> None:
    """Special tokens in the text of a turn stay text."""
    from si_embodied.models.writing import _prompt

    family = backends["qwen3_vl"].family
    turns = (
        Turn("system", ("be brief",)),
        Turn("user", ("a<|im_end|>",)),
        Turn("assistant", ("b",)),
        Turn("user", ("c",)),
    )
    ids = family.encode(_prompt(turns, family.turn_tokens)).input_ids.tolist()
    expected = [
        "system\nbe brief",
        "\n",
        "user\na<|im_end|>",
        "\n",
        "assistant\nb",
        "\n",
        "user\nc",
        "\n",
        "assistant\n",
    ]
    start, end = (family._special(token) for token in family.turn_tokens)
    split: list[list[int]] = [[]]
    for token in ids:
        if token in (start, end):
            split.append([])
        else:
            split[-1].append(token)
    assert [family._tokenizer.decode(part) for part in split[1:]] == expected


def test_a_local_model_is_a_writer(backends: dict[str, Any]) -> None:
    assert isinstance(backends["internvl"], Writer)


# --- a model that thinks --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def thinkers(checkpoints: dict[str, Path]) -> dict[str, Any]:
    """A backend of two families that thinks for at most 12 tokens."""
    return {
        name: LocalBackend(checkpoints[name], device="cpu", thinking_tokens=12) for name in ("qwen3_vl", "internvl")
    }


@pytest.mark.parametrize("family", ["qwen3_vl", "internvl"])
def test_thoughts_and_answer_are_those_of_a_plan(thinkers: dict[str, Any], family: str) -> None:
    """The untrained model never ends its thoughts, so the engine closes the block."""
    bounded = {"type": "array", "items": {"type": "integer", "minimum": 0, "maximum": 99}, "maxItems": 5}
    pieces, writing = parts(thinkers[family], Conversation(QUESTION.turns, bounded, max_tokens=200))
    completion = thinkers[family].generate(Prompt("v", "", QUESTION.turns[0].content, bounded), deadline_s=60)
    assert "".join(piece for piece in pieces if isinstance(piece, str)) == completion.text
    assert "".join(piece.text for piece in pieces if isinstance(piece, Thought)).strip() == completion.thought
    assert completion.thought
    assert writing.thought_tokens == completion.counts["thought"]
    assert (writing.prompt_tokens, writing.completion_tokens) == (
        completion.prompt_tokens,
        completion.completion_tokens,
    )


def parts(backend: Any, conversation: Conversation) -> tuple[list[str | Thought], Any]:
    writing = backend.write(conversation, interrupted=threading.Event())
    return list(writing.pieces()), writing


def test_interruptions_change_no_thought(thinkers: dict[str, Any]) -> None:
    """Neither in the middle of the thoughts nor between them and the answer."""
    for asked in (QUESTION, replace(QUESTION, schema=SCHEMA, max_tokens=200)):
        pieces, _ = parts(thinkers["qwen3_vl"], asked)
        for every in (1, 3):
            text = interrupted_often(thinkers["qwen3_vl"], asked, every)
            assert text == "".join(map(shown, pieces))


def test_resting_changes_no_thought(thinkers: dict[str, Any]) -> None:
    """In the middle of the thoughts, and after them."""
    pieces, _ = parts(thinkers["qwen3_vl"], QUESTION)
    assert interrupted_often(thinkers["qwen3_vl"], QUESTION, 5, rests=True) == "".join(map(shown, pieces))


def test_thoughts_count_as_tokens_of_the_answer(thinkers: dict[str, Any]) -> None:
    for most in (1, 3, 8):
        pieces, writing = parts(thinkers["qwen3_vl"], replace(QUESTION, max_tokens=most))
        assert all(isinstance(piece, Thought) for piece in pieces)
        assert (writing.ended, writing.completion_tokens, writing.thought_tokens) == ("length", most, most)


def test_without_room_in_the_context_the_model_does_not_think(
    thinkers: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    backend = thinkers["qwen3_vl"]
    content = asked_to_think(Prompt("v", "", QUESTION.turns[0].content, {}))
    monkeypatch.setattr(type(backend.family), "context_tokens", len(backend.family.encode(content).input_ids) + 5)
    pieces, writing = parts(backend, QUESTION)
    assert all(isinstance(piece, str) for piece in pieces)
    assert (writing.ended, writing.thought_tokens, writing.completion_tokens) == ("length", 0, 5)


def test_a_written_answer_ends_before_its_closing_tag(
    thinkers: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The model is made to write one; in an answer bound to a schema the tag is text like any other."""
    backend = thinkers["qwen3_vl"]
    tag = json.dumps("left</answer>")
    monkeypatch.setattr("si_embodied.models.writing._ANY_TEXT", {"type": "text", "pattern": "left</answer>right"})
    assert said(backend, replace(QUESTION, max_tokens=200)) == ("left", "stop")
    assert said(backend, replace(QUESTION, schema={"const": "left</answer>"}, max_tokens=200)) == (tag, "stop")


def said(backend: Any, conversation: Conversation) -> tuple[str, str]:
    pieces, writing = parts(backend, conversation)
    return "".join(piece for piece in pieces if isinstance(piece, str)), writing.ended
