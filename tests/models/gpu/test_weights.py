"""Fewer bits on a GPU: the logits stay close, and si-nano decides the same."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

pytest.importorskip("transformers")

import torch

from si_embodied.backends import LocalBackend
from si_embodied.backends.config import BackendConfig
from si_embodied.models.loading import load_checkpoint

if TYPE_CHECKING:
    from pathlib import Path

    from si_embodied.types import Prompt

BITS = pytest.mark.parametrize("weights", ["8bit", "4bit"])


def _needs_bitsandbytes() -> None:
    pytest.importorskip("bitsandbytes", reason="needs bitsandbytes (si-embodied[quant])")


@BITS
def test_linear_layers_take_fewer_bytes(
    weights: Any, family_name: str, checkpoints: dict[str, Path], cuda: str
) -> None:
    _needs_bitsandbytes()
    full, few = (
        load_checkpoint(checkpoints[family_name], device=cuda, weights=each).model for each in ("full", weights)
    )
    sizes = [sum(each.nbytes for each in model.model.language_model.layers.parameters()) for model in (full, few)]
    assert sizes[1] < {"8bit": 0.7, "4bit": 0.5}[weights] * sizes[0]


@BITS
def test_every_family_answers_in_fewer_bits(
    weights: Any, family_name: str, checkpoints: dict[str, Path], prompts: list[Prompt], cuda: str
) -> None:
    """With a plan, the same one again for the same prompt."""
    _needs_bitsandbytes()
    backend = LocalBackend(checkpoints[family_name], device=cuda, weights=weights)
    assert backend.info.dtype.endswith(f"+{weights}")
    for prompt in prompts[:3]:
        texts = {backend.generate(prompt, deadline_s=60.0).text for _ in range(2)}
        assert len(texts) == 1


@pytest.mark.parametrize(
    ("dtype", "family", "where"),
    [
        ("bfloat16", "qwen3_vl", "cpu"),  # one case shows on a CPU that the test works
        *(
            pytest.param(dtype, family, "cuda", marks=pytest.mark.gpu)
            for dtype in ("bfloat16", "float16")
            for family in ("qwen3_vl", "qwen2_5_vl", "internvl", "bagel")
        ),
    ],
)
def test_half_precision_logits_are_close(dtype: str, family: str, where: str, checkpoints: dict[str, Path]) -> None:
    """Within a hundredth of their spread, on the mean over 32 tokens of text."""
    ids = torch.arange(32, device=where)[None]
    with torch.inference_mode():
        exact, coarse = (
            load_checkpoint(checkpoints[family], device=where, dtype=each).model(input_ids=ids).logits.float().cpu()
            for each in ("float32", dtype)
        )
    assert float((exact - coarse).abs().mean()) < 0.01 * float(exact.std()) + 0.01


@pytest.mark.parametrize("weights", ["full", "8bit", "4bit"])
def test_si_nano_on_a_gpu_decides_as_on_the_cpu(weights: Any, cuda: str, tmp_path: Path) -> None:
    """`compare`, without success: float32 on the CPU against the GPU's own dtype, and against fewer bits.

    Twelve of twelve are at least 0.76 in Wilson's interval, so that this asks for 0.7 of the decisions.
    """
    pytest.importorskip("mujoco")
    if weights != "full":
        _needs_bitsandbytes()
    from si_embodied.benchmarking.comparison.run import run_comparison
    from si_embodied.benchmarking.comparison.settings import ComparisonRun, Thresholds
    from si_embodied.evaluation.config import EvaluationConfig
    from si_embodied.models.checkpoints import shipped_checkpoint

    nano = BackendConfig(model=str(shipped_checkpoint()), device="cpu")
    config = EvaluationConfig("si_embodied/Tabletop-v0", "planner", "base", nano, episodes=8, seed=100_000)
    run = ComparisonRun(
        config, replace(nano, device=cuda, weights=weights), tmp_path, decisions_only=True, no_memory=True,
        thresholds=Thresholds(agreement=0.7),
    )  # fmt: skip
    report = run_comparison(run, lambda *_: nullcontext(lambda _: None))
    assert report.verdict == "the same", report.table()
    assert np.isfinite(report.distance.p50)
