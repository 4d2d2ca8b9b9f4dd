"""Memory and time run out, and the next plan works."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

pytest.importorskip("transformers")

import torch

from si_embodied.backends import LocalBackend
from si_embodied.errors import BackendError, DeadlineExceeded, PromptTooLong
from si_embodied.models.loading import load_checkpoint
from si_embodied.models.torch_runner import TorchRunner

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from si_embodied.types import Prompt


def test_a_pass_that_runs_out_of_memory_costs_one_plan(
    family_name: str, checkpoints: dict[str, Path], prompts: list[Prompt], device: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """The error says what to do, and the next answer is that of a model to which nothing happened."""
    first, second = prompts[:2]
    expected = LocalBackend(checkpoints[family_name], device=device, dtype="float32").generate(second, deadline_s=60.0)
    models: list[Any] = []
    from si_embodied.models import loading

    load = loading._load_model
    monkeypatch.setattr(loading, "_load_model", lambda *given: (models.append(load(*given)), models[-1])[1])
    backend = LocalBackend(checkpoints[family_name], device=device, dtype="float32")

    def fail(*_: object) -> None:
        raise torch.OutOfMemoryError("tried to allocate 20.00 GiB")

    hook = models[0][0].model.language_model.layers[-1].register_forward_pre_hook(fail)
    with pytest.raises(BackendError, match="out of memory on .*fewer or smaller images"):
        backend.generate(first, deadline_s=60.0)
    hook.remove()
    assert backend.generate(second, deadline_s=60.0).text == expected.text


@pytest.mark.gpu
def test_a_prompt_too_large_for_the_gpu_costs_one_plan(
    checkpoints: dict[str, Path], prompts: list[Prompt], heavy_prompt: Callable[[int], Prompt]
) -> None:
    """The allocator is held to what the model already has and 8 MB more, so that the driver's own failure occurs."""
    backend = LocalBackend(checkpoints["qwen3_vl"], device="cuda", dtype="float32")
    expected = backend.generate(prompts[0], deadline_s=60.0).text
    torch.cuda.empty_cache()
    total = torch.cuda.mem_get_info()[1]
    torch.cuda.set_per_process_memory_fraction((torch.cuda.memory_reserved() + 2**23) / total)
    try:
        with pytest.raises(BackendError, match="out of memory"):
            backend.generate(heavy_prompt(24), deadline_s=60.0)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert backend.generate(prompts[0], deadline_s=60.0).text == expected


def test_a_prompt_beyond_the_context_is_refused_before_it_takes_memory(
    checkpoints: dict[str, Path], prompts: list[Prompt], device: str
) -> None:
    backend = LocalBackend(checkpoints["qwen3_vl"], device=device)
    long = replace(prompts[0], content=("chair " * 40_000, *prompts[0].content))
    with pytest.raises(PromptTooLong, match=r"the model's context is 32768.*less text"):
        backend.generate(long, deadline_s=60.0)
    assert backend.generate(prompts[0], deadline_s=60.0).text


@pytest.mark.gpu
def test_a_deadline_is_kept_on_the_gpu(checkpoints: dict[str, Path], heavy_prompt: Callable[[int], Prompt]) -> None:
    """Work is queued on the device ahead of the clock, so that a deadline is kept only if the queue is waited for."""
    backend = LocalBackend(checkpoints["qwen3_vl"], device="cuda")
    backend.generate(heavy_prompt(2), deadline_s=60.0)  # kernels are loaded
    started = time.perf_counter()
    backend.generate(heavy_prompt(60), deadline_s=60.0)
    whole_s = time.perf_counter() - started
    for share in (0.2, 0.5):
        started = time.perf_counter()
        with pytest.raises(DeadlineExceeded):
            backend.generate(heavy_prompt(61), deadline_s=share * whole_s)
        assert time.perf_counter() - started < share * whole_s + max(0.25, 0.5 * whole_s)


@pytest.mark.gpu
def test_images_on_the_device_stay_within_the_stores_limit(
    family_name: str, checkpoints: dict[str, Path], heavy_prompt: Callable[[int], Prompt]
) -> None:
    """Sixty images, one prompt after another, of which a store of 64 kB keeps a few."""
    checkpoint = load_checkpoint(checkpoints[family_name], device="cuda", dtype="float32")
    limit = 64 * 1024
    runner = TorchRunner(checkpoint.model, store_bytes=limit)
    runner.encode_images(checkpoint.family.encode(heavy_prompt(1)))
    before = torch.cuda.memory_allocated()
    for count in range(2, 12):
        runner.encode_images(checkpoint.family.encode(heavy_prompt(count)))
    assert torch.cuda.memory_allocated() - before <= limit + 2**16


@pytest.mark.gpu
def test_memory_does_not_grow_with_plans(
    family_name: str, checkpoints: dict[str, Path], draw_prompt: Callable[..., Prompt]
) -> None:
    """Sixty different prompts; after the first twenty, what the allocator holds stays, up to a prompt's own size."""
    import numpy as np

    backend, rng, held = LocalBackend(checkpoints[family_name], device="cuda"), np.random.default_rng(0), []
    for _ in range(60):
        backend.generate(draw_prompt(rng), deadline_s=60.0)
        held.append(torch.cuda.memory_allocated())
    # The store of images and the kept caches fill up at first; their contents differ from prompt to prompt.
    assert max(held[40:]) <= 1.5 * max(held[20:40])


@pytest.mark.gpu
def test_a_canceled_plan_frees_the_gpu_at_once(
    checkpoints: dict[str, Path], heavy_prompt: Callable[[int], Prompt]
) -> None:
    """The next plan of another thread does not wait for the rest of the canceled one."""
    import threading

    backend = LocalBackend(checkpoints["qwen3_vl"], device="cuda")
    started = time.perf_counter()
    backend.generate(heavy_prompt(60), deadline_s=60.0)
    whole_s = time.perf_counter() - started
    timer = threading.Timer(0.3 * whole_s, backend.cancel)
    timer.start()
    started = time.perf_counter()
    with pytest.raises(BackendError, match="cancel"):
        backend.generate(heavy_prompt(61), deadline_s=60.0)
    assert time.perf_counter() - started < 0.3 * whole_s + max(0.25, 0.5 * whole_s)
