"""Reuse, drafts, trims and interruptions never change a token, in any family."""

from __future__ import annotations

import threading
from dataclasses import replace
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

pytest.importorskip("transformers")

import torch

from si_embodied.errors import BackendError, DeadlineExceeded
from si_embodied.models.constraint import Grammars
from si_embodied.models.decoding import Decoded, Decoding, decode
from si_embodied.models.loading import Checkpoint, load_checkpoint
from si_embodied.models.torch_runner import TorchRunner
from si_embodied.plan import plan_schema
from si_embodied.types import Prompt

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

_PLAIN = Decoding(reuse=False, drafts=False, max_new_tokens=400)


class _Engine:
    """A checkpoint with its grammars."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        self.checkpoint = checkpoint
        self.grammars = Grammars(
            checkpoint.tokenizer_json,
            vocabulary_size=checkpoint.vocabulary_size,
            end_token=checkpoint.family.end_token,
        )

    def runner(self, **keywords: Any) -> TorchRunner:
        return TorchRunner(self.checkpoint.model, **keywords)

    def decode(self, runner: TorchRunner, prompt: Prompt, options: Decoding = _PLAIN, **keywords: Any) -> Decoded:
        inputs = self.checkpoint.family.encode(prompt)
        constraint = self.grammars.start(self.checkpoint.family.schema(prompt, inputs))
        return decode(runner, inputs, constraint, options, **keywords)


@pytest.fixture(scope="module")
def engines(checkpoints: dict[str, Path]) -> dict[str, _Engine]:
    return {name: _Engine(load_checkpoint(path, device="cpu")) for name, path in checkpoints.items()}


def _picture(rng: np.random.Generator) -> Any:
    picture = np.empty((*rng.integers(40, 100, 2), 3), dtype=np.uint8)
    picture[:] = rng.integers(0, 256, 3)
    picture[10:30, 5:25] = rng.integers(0, 256, 3)
    return picture


def _episode(rng: np.random.Generator, length: int) -> list[Prompt]:
    """The prompts of one robot: memory grows, keyframes stay or go, and the last image may change."""
    pictures, memory, prompts = [_picture(rng)], "So far:\n", []
    for number in range(length):
        change = rng.integers(0, 4)
        if change == 0:
            memory += f"{number}. goto red chair: done\n"
        elif change == 1:
            pictures[-1] = _picture(rng)
        elif change == 2:
            pictures = [*pictures[-1:], _picture(rng)]
        content = ("Find the red chair.\n", pictures[0], memory, *pictures[1:], "Plan:")
        prompts.append(Prompt("test/v1", "You plan for a robot.", content, plan_schema("navigation", len(pictures))))
    return prompts


def _check(engine: _Engine, prompts: list[Prompt], options: Decoding, **keywords: Any) -> list[Decoded]:
    """Decode an episode with one runner; every answer equals that of a new runner."""
    runner, plain, last, found = engine.runner(**keywords), engine.runner(), (), []
    for prompt in prompts:
        decoded = engine.decode(runner, prompt, options, earlier=[last])
        expected = engine.decode(plain, prompt, replace(options, reuse=False, drafts=False))
        assert decoded.tokens == expected.tokens
        last = decoded.tokens
        found.append(decoded)
    return found


@pytest.mark.parametrize(
    ("reuse", "drafts", "temperature"), [*product((True, False), (True, False), (0.0,)), (True, True, 1.0)]
)
def test_no_option_changes_a_token(
    family_name: str, engines: dict[str, _Engine], reuse: bool, drafts: bool, temperature: float
) -> None:
    """With a large store, and with one so small that it evicts nearly every image."""
    options = Decoding(reuse=reuse, drafts=drafts, temperature=temperature, seed=4, max_new_tokens=400)
    for seed, store_bytes in ((1, 2**24), (2, 20_000)):
        decoded = _check(
            engines[family_name], _episode(np.random.default_rng(seed), 3), options, store_bytes=store_bytes
        )
        assert reuse == any(each.reused_tokens for each in decoded)
        assert drafts == any(each.accepted_tokens for each in decoded)


@pytest.mark.slow
def test_no_option_changes_a_token_in_two_hundred_prompts(family_name: str, engines: dict[str, _Engine]) -> None:
    for seed in range(40):
        _check(engines[family_name], _episode(np.random.default_rng(seed), 5), Decoding(max_new_tokens=400))


def test_the_same_prompt_again_runs_one_pass_and_no_vision(family_name: str, engines: dict[str, _Engine]) -> None:
    """The answer is its own draft, and all but the prompt's last token is cached."""
    engine, prompt = engines[family_name], _episode(np.random.default_rng(0), 1)[0]
    runner = engine.runner()
    first = engine.decode(runner, prompt, Decoding(max_new_tokens=400))
    runner._network._see = None  # type: ignore[method-assign, assignment]  # calling it would raise
    again = engine.decode(runner, prompt, Decoding(max_new_tokens=400), earlier=[first.tokens])
    assert again.tokens == first.tokens
    assert again.reused_tokens == len(engine.checkpoint.family.encode(prompt).input_ids) - 1
    assert again.model_steps == (len(first.tokens) - 1) // 64


def test_only_new_images_are_encoded_and_those_of_a_prompt_in_one_call(
    family_name: str, engines: dict[str, _Engine], monkeypatch: pytest.MonkeyPatch
) -> None:
    engine, rng = engines[family_name], np.random.default_rng(0)
    one, two, three, four = (_picture(rng) for _ in range(4))
    runner, seen = engine.runner(), list[int]()
    see = runner._network._see

    def look(groups: Any, check: Any) -> Any:
        seen.extend(len(group) for group in groups)
        return see(groups, check)

    monkeypatch.setattr(runner._network, "_see", look)
    schema = plan_schema("navigation", 1)
    for pictures in ((one,), (one, two), (two, one, two), (three, four)):
        engine.decode(runner, Prompt("v", "", tuple(pictures), schema), Decoding(max_new_tokens=400))
    assert seen == [1, 1, 2]


def test_an_image_in_the_store_keeps_no_other_in_memory(family_name: str, engines: dict[str, _Engine]) -> None:
    engine, rng = engines[family_name], np.random.default_rng(0)
    prompt = Prompt("v", "", (_picture(rng), _picture(rng)), plan_schema("navigation", 1))
    found: Any = engine.runner().encode_images(engine.checkpoint.family.encode(prompt))
    for image in found.features:
        for tensor in (image.embeddings, *image.deepstack):
            assert tensor.untyped_storage().nbytes() == tensor.nbytes


def test_after_a_missed_deadline_the_next_answer_is_correct(family_name: str, engines: dict[str, _Engine]) -> None:
    """At every reading of the clock in turn, keeping the cache of the tokens run before."""
    engine = engines[family_name]
    first, second = _episode(np.random.default_rng(3), 2)
    expected = engine.decode(engine.runner(), second).tokens
    runner = engine.runner()
    for late_at in range(1, 20):
        ticks = iter(range(10_000))
        options = Decoding(max_new_tokens=400, deadline=late_at)
        with pytest.raises(DeadlineExceeded):
            engine.decode(runner, first, options, clock=lambda ticks=ticks: next(ticks))
        assert engine.decode(runner, second, Decoding(max_new_tokens=400)).tokens == expected


def test_after_a_cancellation_the_next_answer_is_correct(engines: dict[str, _Engine]) -> None:
    engine, canceled = engines["qwen3_vl"], threading.Event()
    first, second = _episode(np.random.default_rng(3), 2)
    runner = engine.runner()
    looks = iter(range(10_000))

    def clock() -> float:
        if next(looks) == 5:
            canceled.set()
        return 0.0

    with pytest.raises(BackendError, match="canceled: [1-9]"):
        engine.decode(runner, first, Decoding(max_new_tokens=400, canceled=canceled), clock=clock)
    expected = engine.decode(engine.runner(), second).tokens
    assert engine.decode(runner, second, Decoding(max_new_tokens=400)).tokens == expected


@pytest.mark.parametrize("passes", range(3))
def test_after_a_pass_that_failed_midway_nothing_is_reused(engines: dict[str, _Engine], passes: int) -> None:
    """The first layer's cache has grown, and the second's has not."""
    engine = engines["qwen3_vl"]
    first, second = _episode(np.random.default_rng(3), 2)
    runner, layer = engine.runner(), engine.checkpoint.model.model.language_model.layers[1]
    count = iter(range(10_000))

    def fail(*_: Any) -> None:
        if next(count) == passes:
            raise RuntimeError("a cable came loose")

    hook = layer.register_forward_pre_hook(fail)
    try:
        with pytest.raises(RuntimeError, match="cable"):
            engine.decode(runner, first, Decoding(drafts=False, max_new_tokens=400))
        again = engine.decode(runner, second, Decoding(max_new_tokens=400))
    finally:
        hook.remove()
    assert again.reused_tokens == 0
    assert again.tokens == engine.decode(engine.runner(), second).tokens


def test_logits_are_the_models_own(
    family_name: str, engines: dict[str, _Engine], draw_prompt: Callable[..., Prompt]
) -> None:
    """After every token of a prefill and a step, after a trim, for few rows and all: equal to one pass of the model."""
    engine, rng = engines[family_name], np.random.default_rng(8)
    model, runner = engine.checkpoint.model, engine.runner()
    for _ in range(3):
        inputs = engine.checkpoint.family.encode(draw_prompt(rng))
        forced, wrong, tokens = ([int(token) for token in rng.integers(0, 200, count)] for count in (3, 4, 5))
        ids = torch.tensor([[*inputs.input_ids, *forced, *tokens]])
        arguments = {name: torch.from_numpy(array) for name, array in inputs.pixels.items()}
        if "image_grid_thw" in arguments:
            kinds = torch.zeros_like(ids, dtype=torch.int32)
            kinds[0, : len(inputs.is_image)] = torch.from_numpy(inputs.is_image.astype(np.int32))
            arguments["mm_token_type_ids"] = kinds
        with torch.inference_mode():
            expected = model(input_ids=ids, **arguments).logits[0].numpy()
        few = np.zeros(expected.shape[1], dtype=np.bool_)
        few[[3, 77, 300]] = True
        every = np.ones_like(few)
        runner.prefill(inputs, runner.encode_images(inputs), forced)
        behind = len(inputs.input_ids) + len(forced)
        for after in range(-1, -len(forced) - 2, -1):
            np.testing.assert_allclose(runner.logits(few, after), expected[behind + after][few], atol=2e-4)
        runner.step(wrong)
        runner.trim(len(wrong))
        runner.step([*tokens[:2], *wrong])
        runner.trim(len(wrong))
        runner.step(tokens[2:])
        np.testing.assert_allclose(runner.logits(every), expected[-1], atol=2e-4)
        np.testing.assert_allclose(runner.logits(few, -2), expected[-2][few], atol=2e-4)


def test_more_than_the_last_pass_cannot_be_trimmed(engines: dict[str, _Engine]) -> None:
    engine = engines["qwen3_vl"]
    inputs = engine.checkpoint.family.encode(_episode(np.random.default_rng(0), 1)[0])
    runner = engine.runner()
    runner.prefill(inputs, runner.encode_images(inputs), [])
    runner.step([1, 2])
    with pytest.raises(BackendError, match="trim 3"):
        runner.trim(3)


def test_every_tensor_is_made_on_the_models_device(family_name: str, checkpoints: dict[str, Path]) -> None:
    """Run on the meta device, where an operation with a CPU tensor raises.

    The vision tower is left out: it is transformers' own, and reads the values of its grid.
    """
    checkpoint = load_checkpoint(checkpoints[family_name], device="cpu")
    inputs = checkpoint.family.encode(_episode(np.random.default_rng(0), 1)[0])
    images: Any = TorchRunner(checkpoint.model).encode_images(inputs)
    features = [
        replace(image, embeddings=image.embeddings.to("meta"), deepstack=tuple(x.to("meta") for x in image.deepstack))
        for image in images.features
    ]
    runner = TorchRunner(checkpoint.model.to("meta"))
    # transformers adds DeepStack's features through a mask, whose size a device without values cannot know
    plain = tuple(replace(image, deepstack=()) for image in features)
    runner.prefill(inputs, replace(images, features=plain), [1, 2])
    whole = runner._embedded(inputs.input_ids.tolist(), 0, list(zip(images.spans, features, strict=True)))
    tensors = [whole.embeds, *whole.deepstack, *([] if whole.is_image is None else [whole.is_image])]
    assert {tensor.device.type for tensor in tensors} == {"meta"}
    runner.trim(1)
    runner.step([3, 4])
    for rows in (np.array([1, 5]), np.arange(checkpoint.vocabulary_size)):
        assert runner._hidden is not None
        assert runner._network.rows(runner._hidden[-1], rows, place=0).device.type == "meta"


@pytest.mark.gpu
def test_on_a_gpu_no_option_changes_a_token(family_name: str, checkpoints: dict[str, Path]) -> None:
    engine = _Engine(load_checkpoint(checkpoints[family_name], device="cuda", dtype="float32"))
    _check(engine, _episode(np.random.default_rng(1), 4), Decoding(max_new_tokens=400))
