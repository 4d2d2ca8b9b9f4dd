"""Thinking before the answer: bounded, and without an effect on how the answer is decoded."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

pytest.importorskip("transformers")

from si_embodied.backends import LocalBackend
from si_embodied.certainty import Token, certainty_of
from si_embodied.errors import ConfigError, DeadlineExceeded, PromptTooLong
from si_embodied.models.checkpoints import shipped_checkpoint
from si_embodied.models.constraint import Grammars
from si_embodied.models.decoding import Decoded, Decoding, decode
from si_embodied.models.inputs import ModelInputs
from si_embodied.models.thinking import Thinking, decode_after_thinking
from si_embodied.plan import parse_plan, plan_schema
from si_embodied.thinking import REQUEST, asked_to_think, inside_answer, thought_in
from si_embodied.types import Prompt

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

PLAN = '{"subgoals":[{"skill":"explore"}],"done":false}'
CLOSING = "</think><answer>"


class Parrot:
    """A runner that wants to write a text; where the grammar allows no part of it, it takes what the grammar allows."""

    def __init__(self, grammars: Grammars, text: str) -> None:
        self.script = grammars.tokens(text)
        self.prompt = self.written = 0
        self.fed: list[int] = []
        self.passes: list[int] = []

    def encode_images(self, inputs: Any, *, check: object = None) -> object:
        return "features"

    def prefill(self, inputs: ModelInputs, features: object, forced: Sequence[int], *, check: object = None) -> int:
        assert features == "features"
        self.prompt = self.prompt or len(inputs.input_ids)
        self.fed = [*inputs.input_ids[self.prompt :].tolist(), *forced]
        return 0

    def step(self, tokens: Sequence[int], *, check: object = None) -> None:
        self.fed += tokens
        self.passes.append(len(tokens))

    def trim(self, count: int) -> None:
        del self.fed[len(self.fed) - count :]

    def forget(self) -> None:
        raise AssertionError("nothing is to be forgotten")

    def logits(self, allowed: Any, after: int = -1) -> Any:
        position = len(self.fed) + after + 1
        wanted = self.script[position] if position < len(self.script) else -1
        return np.where(np.flatnonzero(allowed) == wanted, 1.0, 0.0).astype(np.float32)


@pytest.fixture(scope="module")
def grammars() -> Grammars:
    """Those of si-nano's tokenizer, which has no token for a tag."""
    text = (shipped_checkpoint() / "tokenizer.json").read_text(encoding="utf-8")
    size = len(json.loads(text)["model"]["vocab"]) + len(json.loads(text)["added_tokens"])
    return Grammars(text, vocabulary_size=size, end_token=0)


def _inputs(count: int = 3) -> ModelInputs:
    return ModelInputs(np.arange(count), np.zeros(count, np.bool_), ())


def _think(grammars: Grammars, wants: str, most: int, *, clock: Any = None, **options: Any) -> tuple[Decoded, Parrot]:
    parrot = Parrot(grammars, wants)
    thinking = Thinking(most, grammars.thinking(), grammars.tokens(CLOSING))
    constraint = grammars.start(plan_schema("navigation", 1))
    keywords = {} if clock is None else {"clock": clock}
    decoded = decode_after_thinking(
        parrot, _inputs(), thinking, constraint, Decoding(max_new_tokens=400, **options), **keywords
    )
    return decoded, parrot


def test_a_model_that_ends_its_thoughts_goes_on_with_the_plan(grammars: Grammars) -> None:
    """Both as it wants them, the tags included."""
    decoded, _ = _think(grammars, f"<think>It is\nleft: <b>.</think><answer>{PLAN}", 100)
    assert grammars.text(decoded.thoughts) == "<think>It is\nleft: <b>.</think><answer>"
    assert grammars.text(decoded.tokens) == PLAN


def test_the_engine_closes_a_block_that_reaches_its_budget(grammars: Grammars) -> None:
    """After exactly as many tokens as were allowed; the plan is whole."""
    endless, closing = "left or right? " * 100, grammars.tokens(CLOSING)
    decoded, _ = _think(grammars, f"<think>{endless}", 12)
    opening = len(grammars.tokens("<think>"))
    assert len(decoded.thoughts) == opening + 12 + len(closing)
    assert decoded.thoughts[-len(closing) :] == tuple(closing)
    assert endless.startswith(thought_in(grammars.text(decoded.thoughts)))
    parse_plan(grammars.text(decoded.tokens), "navigation", 1)


def test_an_empty_thought_is_a_thought(grammars: Grammars) -> None:
    decoded, _ = _think(grammars, f"<think></think><answer>{PLAN}", 100)
    assert thought_in(grammars.text(decoded.thoughts)) == ""
    assert grammars.text(decoded.tokens) == PLAN


def test_probabilities_and_statistics_are_those_of_the_plan(grammars: Grammars) -> None:
    decoded, parrot = _think(grammars, f"<think>Hm.</think><answer>{PLAN}", 100)
    assert len(decoded.probabilities) == len(decoded.tokens)
    assert decoded.model_steps < len(parrot.passes)
    assert decoded.think_s > 0


def test_tags_that_are_tokens_are_written_as_tokens(grammars: Grammars) -> None:
    """As in Qwen3's vocabulary, where they are added tokens and not special ones."""
    vocabulary = json.loads((shipped_checkpoint() / "tokenizer.json").read_text(encoding="utf-8"))
    size = len(vocabulary["model"]["vocab"]) + len(vocabulary["added_tokens"])
    plain = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": False}
    for number, tag in enumerate(("<think>", "</think>")):
        vocabulary["added_tokens"].append({"id": size + number, "content": tag, **plain})
    own = Grammars(json.dumps(vocabulary), vocabulary_size=size + 2, end_token=0)
    decoded, _ = _think(own, f"<think>It is left.</think><answer>{PLAN}", 100)
    assert own.text(decoded.thoughts) == "<think>It is left.</think><answer>"
    assert decoded.thoughts[0] == size
    assert decoded.thoughts.count(size + 1) == 1
    closed, _ = _think(own, "<think>" + "left or right? " * 100, 7)
    assert closed.thoughts.index(size + 1) == 1 + 7


class Clock:
    """A second passes with every reading."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        self.now += 1.0
        return self.now


def test_thinking_leaves_time_for_the_plan(grammars: Grammars) -> None:
    """Of 400 s, at 2 s a token and with 64 passes' reserve for the plan: it stops with 128 s left, and answers."""
    clock = Clock()
    decoded, _ = _think(grammars, "<think>" + "left or right? " * 400, 10_000, clock=clock, deadline=400.0)
    thought = len(decoded.thoughts) - len(grammars.tokens("<think>")) - len(grammars.tokens(CLOSING))
    assert 100 <= thought <= 150
    parse_plan(grammars.text(decoded.tokens), "navigation", 1)
    assert clock.now < 400


def test_a_deadline_that_passes_in_a_thought_ends_it(grammars: Grammars) -> None:
    """Without an answer: too little time for a plan in the first place."""
    with pytest.raises(DeadlineExceeded):
        _think(grammars, "<think>" + "left or right? " * 100, 1000, clock=Clock(), deadline=12.0)


def test_the_request_is_at_the_end_of_the_prompt() -> None:
    """The beginning stays reusable."""
    prompt = Prompt("v", "You plan.", ("Find it.",), {})
    assert asked_to_think(prompt).content == ("Find it.", f"\n{REQUEST}")


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("<answer>B</answer>", "B"),
        ("B</answer>", "B"),
        ("<answer> B", "B"),
        ("B", "B"),
        (" B", " B"),
        ("", ""),
        (PLAN, PLAN),
    ],
)  # fmt: skip
def test_answer_tags_are_removed(text: str, answer: str) -> None:
    assert inside_answer(text) == answer


# --- real engines on tiny checkpoints -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def thinkers(checkpoints: dict[str, Path]) -> dict[str, LocalBackend]:
    """A backend per family that thinks for up to 9 tokens."""
    return {name: LocalBackend(path, device="cpu", thinking_tokens=9) for name, path in checkpoints.items()}


def test_the_plan_equals_plain_decoding_after_the_same_thoughts(
    family_name: str, thinkers: dict[str, LocalBackend], draw_prompt: Callable[..., Prompt]
) -> None:
    """Without reuse, drafts or forced tokens from an earlier pass; also with the last answer as a draft."""
    backend, rng, last = thinkers[family_name], np.random.default_rng(4), ()
    family, runner, grammars = backend.family, backend._lanes._runner, backend._grammars
    for _ in range(3):
        prompt = asked_to_think(draw_prompt(rng, side=100))
        inputs = family.encode(prompt)
        start = lambda inputs=inputs, prompt=prompt: grammars.start(family.schema(prompt, inputs))  # noqa: E731
        thinking = Thinking(9, grammars.thinking(), grammars.tokens(CLOSING))
        options = Decoding(max_new_tokens=400)
        ours = decode_after_thinking(runner, inputs, thinking, start(), options, earlier=[last])
        text = grammars.text(ours.thoughts)
        assert text.startswith("<think>")
        assert text.endswith(CLOSING)
        plain = decode(runner, inputs.followed_by(ours.thoughts), start(), replace(options, reuse=False, drafts=False))
        assert ours.tokens == plain.tokens
        assert ours.probabilities == pytest.approx(plain.probabilities, rel=1e-3)
        last = ours.tokens


def test_what_was_thought_is_apart_from_the_answer(
    family_name: str, thinkers: dict[str, LocalBackend], draw_prompt: Callable[..., Prompt]
) -> None:
    backend, prompt = thinkers[family_name], draw_prompt(np.random.default_rng(9), side=100)
    completion = backend.generate(prompt, deadline_s=60.0)
    json.loads(completion.text)
    assert completion.thought
    assert "<" + "think>" not in completion.thought
    assert completion.counts["thought"] >= 9
    assert completion.completion_tokens > completion.counts["thought"]
    assert set(completion.latency_s) == {"vision", "prefill", "think", "decode"}
    again = backend.generate(prompt, deadline_s=60.0)
    assert (again.text, again.thought) == (completion.text, completion.thought)
    assert again.counts["reused"] == again.prompt_tokens - 1


def test_certainty_is_the_plans(thinkers: dict[str, LocalBackend], draw_prompt: Callable[..., Prompt]) -> None:
    """From the tokens of the plan alone: those of plain decoding give the same."""
    backend, prompt = thinkers["qwen3_vl"], draw_prompt(np.random.default_rng(3), side=100)
    completion = backend.generate(prompt, deadline_s=60.0)
    inputs, grammars = backend.family.encode(asked_to_think(prompt)), backend._grammars
    thinking = Thinking(9, grammars.thinking(), grammars.tokens(CLOSING))
    thoughts = decode_after_thinking(
        backend._lanes._runner, inputs, thinking, grammars.start(prompt.schema), Decoding()
    ).thoughts
    plain = decode(backend._lanes._runner, inputs.followed_by(thoughts), grammars.start(prompt.schema), Decoding())
    chosen = zip(plain.tokens, plain.probabilities, strict=True)
    expected = certainty_of([Token(grammars.token_bytes(each), p) for each, p in chosen], grammars.text(plain.tokens))
    assert expected is not None
    assert completion.certainty is not None
    assert completion.certainty.decision == pytest.approx(expected.decision, rel=1e-3)


def test_without_the_setting_nothing_is_thought(backends: dict[str, Any]) -> None:
    prompt = Prompt("v", "You plan.", ("Find it.",), plan_schema("navigation", 1))
    prompt = replace(prompt, content=(*prompt.content, np.zeros((64, 64, 3), np.uint8)))
    completion = backends["qwen3_vl"].generate(prompt, deadline_s=60.0)
    assert (completion.thought, completion.counts["thought"]) == ("", 0)
    assert "think" not in completion.latency_s


def test_a_letter_can_be_thought_about(thinkers: dict[str, LocalBackend]) -> None:
    letter = {"type": "text", "pattern": "[AB]", "maxLength": 1}
    completion = thinkers["internvl"].generate(Prompt("v", "", ("A or B?",), letter), deadline_s=60.0)
    assert completion.text in ("A", "B")
    assert completion.thought


def test_a_full_context_leaves_less_to_think(
    thinkers: dict[str, LocalBackend], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Five tokens of room beside the prompt, its answer and the tags; with less than the answer, a clear error."""
    backend, letter = thinkers["qwen3_vl"], {"type": "text", "pattern": "[AB]", "maxLength": 1}
    prompt = Prompt("v", "", ("A or B?",), letter)
    needed = len(backend.family.encode(asked_to_think(prompt)).input_ids) + 6  # a character has at most six tokens
    monkeypatch.setattr(type(backend.family), "context_tokens", needed + 32 + 5)
    opening = len(backend._grammars.tokens("<think>")) + len(backend._grammars.tokens(CLOSING))
    assert backend.generate(prompt, deadline_s=60.0).counts["thought"] <= opening + 5
    monkeypatch.setattr(type(backend.family), "context_tokens", needed)
    assert backend.generate(prompt, deadline_s=60.0).thought == ""
    monkeypatch.setattr(type(backend.family), "context_tokens", needed - 1)
    with pytest.raises(PromptTooLong, match=f"context is {needed - 1}; show fewer"):
        backend.generate(prompt, deadline_s=60.0)


def test_a_negative_budget_is_rejected(checkpoints: dict[str, Path]) -> None:
    with pytest.raises(ConfigError, match="thinking_tokens"):
        LocalBackend(checkpoints["qwen3_vl"], thinking_tokens=-1)
