"""Compiled steps are tried out first, and skipped with a reason if they fail."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

pytest.importorskip("transformers")

import torch

from si_embodied.models.compiled import compiled_pass
from si_embodied.models.loading import load_checkpoint
from si_embodied.models.torch_runner import TorchRunner
from si_embodied.plan import plan_schema
from si_embodied.types import Prompt

if TYPE_CHECKING:
    from pathlib import Path


def _language(**_: Any) -> None:
    return None


def test_on_a_cpu_steps_are_not_compiled_and_the_log_says_so(
    checkpoints: dict[str, Path], caplog: pytest.LogCaptureFixture
) -> None:
    """The runner then works uncompiled."""
    checkpoint = load_checkpoint(checkpoints["qwen3_vl"], device="cpu")
    inputs = checkpoint.family.encode(Prompt("v", "", ("Go.",), plan_schema("navigation", 1)))
    allowed, found = np.ones(checkpoint.vocabulary_size, dtype=np.bool_), []
    for compiled in (False, True):
        runner = TorchRunner(checkpoint.model, compiled=compiled)
        runner.prefill(inputs, runner.encode_images(inputs), [])
        runner.step([5, 6])
        found.append(runner.logits(allowed))
    np.testing.assert_array_equal(*found)
    assert "not compiled: compiling pays only on CUDA, and the model is on cpu" in caplog.text


def test_a_failed_trial_falls_back_to_uncompiled_and_logs_the_reason(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def attempt(_: Any) -> None:
        raise RuntimeError("no C compiler found\nand much more")

    monkeypatch.setattr(torch, "compile", lambda language, **_: None)
    assert compiled_pass(_language, torch.device("cuda"), attempt) is _language
    assert [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING] == [
        "steps are not compiled: RuntimeError: no C compiler found"
    ]


def test_a_successful_trial_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[Any] = []
    monkeypatch.setattr(torch, "compile", lambda language, **_: "compiled")
    assert compiled_pass(_language, torch.device("cuda"), tried.append) == "compiled"
    assert tried == ["compiled"]


def test_the_trial_runs_steps_on_a_growing_cache(checkpoints: dict[str, Path]) -> None:
    """Of one token and of several; a compiled model that failed at one of them would fail in the middle of a plan."""
    network = TorchRunner(load_checkpoint(checkpoints["qwen3_vl"], device="cpu").model)._network
    counts = []

    def language(**arguments: Any) -> Any:
        counts.append(arguments["inputs_embeds"].shape[1])
        return network.language(**arguments)

    language.config = network.language.config  # type: ignore[attr-defined]
    network._attempt(language)
    assert counts == [1, 1, 2, 9]


@pytest.mark.gpu
def test_compiled_steps_have_the_same_logits(family_name: str, checkpoints: dict[str, Path]) -> None:
    checkpoint = load_checkpoint(checkpoints[family_name], device="cuda", dtype="float32")
    inputs = checkpoint.family.encode(Prompt("v", "", ("Go.",), plan_schema("navigation", 1)))
    found = []
    for compiled in (False, True):
        runner = TorchRunner(checkpoint.model, compiled=compiled)
        assert (runner._network.step_pass is not runner._network.language) == compiled
        runner.prefill(inputs, runner.encode_images(inputs), [])
        runner.step([5, 6])
        runner.trim(1)
        runner.step([7])
        found.append(runner.logits(np.ones(checkpoint.vocabulary_size, dtype=np.bool_)))
    np.testing.assert_allclose(*found, atol=1e-3)
