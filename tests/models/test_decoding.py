"""The decoding loop, compared with transformers' own."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

pytest.importorskip("transformers")

from si_embodied.errors import BackendError, DeadlineExceeded
from si_embodied.models.constraint import Grammars
from si_embodied.models.decoding import Decoding, decode
from si_embodied.models.loading import Checkpoint, load_checkpoint
from si_embodied.models.torch_runner import TorchRunner
from si_embodied.types import Prompt

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

GENERATING = ("qwen3_vl", "qwen2_5_vl", "internvl")
"""The families that transformers generates with; for BAGEL see tests/models/test_bagel.py."""


@pytest.fixture(scope="module")
def loaded(checkpoints: dict[str, Path]) -> dict[str, Checkpoint]:
    """The loaded checkpoint of every family."""
    return {name: load_checkpoint(path, device="cpu") for name, path in checkpoints.items()}


def _grammars(checkpoint: Checkpoint) -> Grammars:
    return Grammars(
        checkpoint.tokenizer_json,
        vocabulary_size=checkpoint.vocabulary_size,
        end_token=checkpoint.family.end_token,
    )


def _generate(checkpoint: Checkpoint, inputs: Any, constraint: Any) -> list[int]:
    """transformers' `generate` with the grammar's mask at every step and no forced tokens, without the end token."""
    import torch
    from transformers import LogitsProcessor

    class Mask(LogitsProcessor):  # type: ignore[misc]
        def __init__(self) -> None:
            self.seen = len(inputs.input_ids)

        def __call__(self, input_ids: Any, scores: Any) -> Any:
            constraint.accept(input_ids[0, self.seen :].tolist())
            self.seen = input_ids.shape[1]
            allowed = torch.zeros(checkpoint.vocabulary_size, dtype=torch.bool)
            if constraint.finished:
                allowed[checkpoint.family.end_token] = True
            else:
                allowed |= torch.from_numpy(constraint.allowed())
            return scores.masked_fill(~allowed, -torch.inf)

    arguments = {name: torch.from_numpy(array) for name, array in inputs.pixels.items()}
    if "image_grid_thw" in arguments:
        arguments["mm_token_type_ids"] = torch.from_numpy(inputs.is_image.astype(np.int32))[None]
    input_ids = torch.from_numpy(inputs.input_ids)[None]
    output = checkpoint.model.generate(
        input_ids=input_ids,
        attention_mask=torch.ones_like(input_ids),
        logits_processor=[Mask()],
        do_sample=False,
        max_new_tokens=400,
        eos_token_id=checkpoint.family.end_token,
        pad_token_id=checkpoint.family.end_token,
        **arguments,
    )
    new = [int(token) for token in output[0, input_ids.shape[1] :]]
    assert new[-1] == checkpoint.family.end_token
    return new[:-1]


@pytest.mark.parametrize("count", [5, pytest.param(200, marks=pytest.mark.slow)])
@pytest.mark.parametrize("family_name", GENERATING)
def test_tokens_equal_transformers_generate(
    family_name: str, count: int, loaded: dict[str, Checkpoint], draw_prompt: Callable[..., Prompt]
) -> None:
    """For one to three images of different sizes. Skipping forced tokens saves passes and changes no token."""
    checkpoint, rng = loaded[family_name], np.random.default_rng(11)
    grammars, runner, saved = _grammars(checkpoint), TorchRunner(checkpoint.model), 0
    for _ in range(count):
        prompt = draw_prompt(rng)
        inputs = checkpoint.family.encode(prompt)
        schema = checkpoint.family.schema(prompt, inputs)
        ours = decode(runner, inputs, grammars.start(schema), Decoding(max_new_tokens=400))
        assert list(ours.tokens) == _generate(checkpoint, inputs, grammars.start(schema))
        saved += len(ours.tokens) - ours.model_steps
    assert saved > 0


@pytest.mark.parametrize("family_name", GENERATING)
def test_a_prompt_without_images_decodes_as_generate_does(family_name: str, loaded: dict[str, Checkpoint]) -> None:
    """Covers the text-only rotary positions."""
    from si_embodied.plan import plan_schema

    checkpoint = loaded[family_name]
    prompt = Prompt("test/v1", "You plan.", ("Go on.",), {**plan_schema("navigation", 1)})
    inputs = checkpoint.family.encode(Prompt("test/v1", "You plan.", ("Go on.",), {"type": "boolean"}))
    start = _grammars(checkpoint).start
    ours = decode(TorchRunner(checkpoint.model), inputs, start(prompt.schema), Decoding(max_new_tokens=400))
    assert list(ours.tokens) == _generate(checkpoint, inputs, start(prompt.schema))


def test_probabilities_are_those_of_transformers_under_the_same_mask(
    family_name: str, loaded: dict[str, Checkpoint], draw_prompt: Callable[..., Prompt]
) -> None:
    """Of all tokens, chosen greedily or drawn, forced or drafted: the softmax of one pass over prompt and answer."""
    import torch

    checkpoint, rng = loaded[family_name], np.random.default_rng(12)
    grammars, last = _grammars(checkpoint), ()
    for temperature in (0.0, 1.5):
        prompt = draw_prompt(rng)
        inputs = checkpoint.family.encode(prompt)
        start = lambda inputs=inputs, prompt=prompt: grammars.start(checkpoint.family.schema(prompt, inputs))  # noqa: E731
        runner, options = TorchRunner(checkpoint.model), Decoding(temperature=temperature, seed=3, max_new_tokens=400)
        for _ in range(2):  # the second time, its own answer is the draft
            ours = decode(runner, inputs, start(), options, earlier=[last])
            last = ours.tokens
            ids = torch.from_numpy(np.append(inputs.input_ids, ours.tokens))[None]
            arguments = {name: torch.from_numpy(array) for name, array in inputs.pixels.items()}
            if "image_grid_thw" in arguments:
                images = np.append(inputs.is_image, np.zeros(len(ours.tokens), np.bool_)).astype(np.int32)
                arguments["mm_token_type_ids"] = torch.from_numpy(images)[None]
            with torch.inference_mode():
                logits = checkpoint.model(input_ids=ids, **arguments).logits[0, -len(ours.tokens) - 1 : -1]
            constraint = start()
            for token, probability, row in zip(ours.tokens, ours.probabilities, logits, strict=True):
                allowed = torch.from_numpy(constraint.allowed())
                expected = row.masked_fill(~allowed, -torch.inf).softmax(-1)[token]
                assert probability == pytest.approx(float(expected), rel=1e-3)
                constraint.accept([token])


class _Scripted:
    """A runner that prefers one token forever, with a grammar that allows a fixed number of them."""

    def __init__(self, length: int, forced: Sequence[int] = ()) -> None:
        self.length, self.to_force = length, list(forced)
        self.taken: list[int] = []
        self.steps: list[tuple[int, ...]] = []

    # the runner's side
    def encode_images(self, inputs: Any, *, check: object = None) -> object:
        return None

    def prefill(self, inputs: Any, features: object, forced: Sequence[int], *, check: object = None) -> int:
        self.steps.append(tuple(forced))
        return 0

    def step(self, tokens: Sequence[int], *, check: object = None) -> None:
        self.steps.append(tuple(tokens))

    def logits(self, allowed: Any, after: int = -1) -> Any:
        return np.array([0.0, 1.0], dtype=np.float32)

    def trim(self, count: int) -> None:
        raise AssertionError("nothing was guessed")

    # the constraint's side
    @property
    def finished(self) -> bool:
        return len(self.taken) >= self.length

    def forced(self) -> list[int]:
        forced, self.to_force = self.to_force, []
        return forced

    def allowed(self) -> Any:
        return np.array([True, True])

    def accept(self, tokens: Sequence[int]) -> None:
        self.taken += tokens


def _decode(both: Any, *, clock: Any = time.monotonic, **keywords: Any) -> Any:
    return decode(both, None, both, Decoding(drafts=False, **keywords), clock=clock)  # type: ignore[arg-type]


def test_forced_tokens_are_fed_with_the_prefill() -> None:
    """Two forced tokens, then three chosen ones, of which the last is never fed back."""
    both = _Scripted(5, forced=[7, 8])
    decoded = _decode(both)
    assert decoded.tokens == (7, 8, 1, 1, 1)
    assert both.steps == [(7, 8), (1,), (1,)]
    assert decoded.probabilities == pytest.approx((1, 1, *[np.e / (1 + np.e)] * 3))


def test_an_answer_that_is_too_long_is_an_error() -> None:
    """No partial answer is returned."""
    with pytest.raises(BackendError, match="4 tokens"):
        _decode(_Scripted(5), max_new_tokens=4)


def test_the_deadline_is_checked_before_every_step() -> None:
    """With a clock that advances by one per reading: late before the first pass, or in the middle."""
    for deadline in (0, 3, 6):
        ticks = iter(range(100))
        both = _Scripted(50)
        with pytest.raises(DeadlineExceeded):
            _decode(both, deadline=deadline, clock=lambda ticks=ticks: next(ticks))
        assert len(both.steps) <= deadline


def test_a_late_answer_is_rejected_even_if_complete() -> None:
    """Clock readings: 0 (start), 1 (images), 2 (prefill), 3 (choice), 4 (end)."""
    ticks = iter(range(100))
    with pytest.raises(DeadlineExceeded):
        _decode(_Scripted(1), deadline=4, clock=lambda: next(ticks))


def test_logits_that_are_not_finite_are_an_error() -> None:
    """Broken weights must not pass for a choice."""
    for broken in (np.nan, -np.inf):
        both = _Scripted(2)
        both.logits = lambda allowed, after, value=broken: np.array([value, value])  # type: ignore[method-assign]
        with pytest.raises(BackendError, match="finite"):
            _decode(both)


def test_logits_before_a_prefill_are_an_error(loaded: dict[str, Checkpoint]) -> None:
    with pytest.raises(BackendError, match="prefill"):
        TorchRunner(loaded["qwen3_vl"].model).logits(np.ones(4, dtype=np.bool_))
