"""A deadline holds within a long prefill and within an image, and chunks change neither tokens nor prefix reuse."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from si_embodied.errors import BackendError, DeadlineExceeded
from si_embodied.models import runner as running
from si_embodied.models.opening import open_model
from si_embodied.types import Prompt

torch = pytest.importorskip("torch")


def reader(checkpoints: dict[str, Path], family: str) -> tuple[Any, Any]:
    model = open_model(checkpoints[family], device="cpu")
    return model.family, model.runner


def hidden(runner: Any) -> Any:
    return runner._hidden.float().numpy()


@pytest.mark.parametrize("chunk", [1, 7, 64])
def test_chunks_give_the_hidden_state_of_one_pass(
    checkpoints: dict[str, Path],
    family_name: str,
    draw_prompt: Callable[..., Prompt],
    monkeypatch: pytest.MonkeyPatch,
    chunk: int,
) -> None:
    family, whole = reader(checkpoints, family_name)
    _, parts = reader(checkpoints, family_name)
    inputs = family.encode(draw_prompt(np.random.default_rng(chunk)))
    forced = [5, 6, 7]
    whole.prefill(inputs, whole.encode_images(inputs), forced)
    monkeypatch.setattr(running, "PREFILL_CHUNK", chunk)
    calls: list[int] = []
    parts.prefill(inputs, parts.encode_images(inputs), forced, check=lambda: calls.append(1))
    assert len(calls) >= len(inputs.input_ids) // (chunk + 8)
    assert hidden(parts).shape == hidden(whole).shape == (len(forced) + 1, hidden(whole).shape[1])
    np.testing.assert_allclose(hidden(parts), hidden(whole), atol=2e-4)
    assert parts._held == whole._held
    assert parts._next_position == whole._next_position


def test_what_was_read_before_an_abort_is_reused(
    checkpoints: dict[str, Path], family_name: str, draw_prompt: Callable[..., Prompt], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Aborted at every check in turn: the next prefill continues from the chunks that were read."""
    monkeypatch.setattr(running, "PREFILL_CHUNK", 16)
    family, fresh = reader(checkpoints, family_name)
    _, runner = reader(checkpoints, family_name)
    inputs = family.encode(draw_prompt(np.random.default_rng(3)))
    fresh.prefill(inputs, fresh.encode_images(inputs), [])
    features, reused = runner.encode_images(inputs), []
    for abort_at in range(1, 12):
        calls = iter(range(abort_at))

        def check(calls: Any = calls) -> None:
            if next(calls, None) is None:
                raise DeadlineExceeded("late")

        runner._reset()
        with pytest.raises(DeadlineExceeded):
            runner.prefill(inputs, features, [], check=check)
        reused.append(runner.prefill(inputs, features, []))
        np.testing.assert_allclose(hidden(runner), hidden(fresh), atol=2e-4)
    assert reused[0] == 0
    assert max(reused) > 0


def test_an_image_is_aborted_between_two_layers(
    checkpoints: dict[str, Path], family_name: str, draw_prompt: Callable[..., Prompt]
) -> None:
    family, runner = reader(checkpoints, family_name)
    inputs = family.encode(draw_prompt(np.random.default_rng(0), max_images=1))
    calls = iter(range(2))  # before the image, and before its first layer

    def check() -> None:
        if next(calls, None) is None:
            raise BackendError("canceled")

    with pytest.raises(BackendError, match="canceled"):
        runner.encode_images(inputs, check=check)
    assert all(not layer._forward_pre_hooks for layer in runner._network.layers), "the hooks are removed"
    assert runner.encode_images(inputs).features
