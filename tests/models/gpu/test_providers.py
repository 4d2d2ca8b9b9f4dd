"""ONNX Runtime's providers for NVIDIA: the same answers as on the CPU, and no silent fall-back to it."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

pytest.importorskip("transformers")
pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")

import onnxruntime

from si_embodied.backends import LocalBackend
from si_embodied.models.onnx.export import export_model
from si_embodied.models.onnx.sessions import PROVIDERS
from si_embodied.models.opening import open_model

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from si_embodied.types import Prompt

FAMILIES = ("qwen3_vl", "qwen2_5_vl", "internvl", "bagel")


def _needs(provider: str) -> None:
    if PROVIDERS[provider] not in onnxruntime.get_available_providers():
        pytest.skip(f"needs onnxruntime-gpu, whose build has {PROVIDERS[provider]} (si-embodied[onnx-gpu])")


@pytest.fixture(scope="module")
def exports(checkpoints: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, str], Path]:
    """Exports, each made when it is first asked for."""
    made: dict[tuple[str, str], Path] = {}

    def get(family: str, precision: Any) -> Path:
        if (family, precision) not in made:
            out = tmp_path_factory.mktemp("exports") / f"{family}-{precision}"
            made[family, precision] = export_model(checkpoints[family], out, precision=precision)
        return made[family, precision]

    return get


def _logits(model: Any, prompt: Prompt) -> np.ndarray:
    """After the prompt, two forced tokens, a step and a trim."""
    inputs = model.family.encode(prompt)
    model.runner.prefill(inputs, model.runner.encode_images(inputs), (5, 6))
    model.runner.step([7, 8, 9])
    model.runner.trim(1)
    return np.asarray(model.runner.logits(np.ones(model.vocabulary_size, dtype=np.bool_)))


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.gpu
def test_cuda_answers_as_the_cpu(family: str, exports: Callable[..., Path], prompts: list[Prompt]) -> None:
    """In float32, within what TensorFloat-32 rounds; the keys and values stay on the device."""
    _needs("cuda")
    models = [open_model(exports(family, "fp32"), device=each) for each in ("cpu", "cuda,cpu")]
    assert models[1].kernel == "onnx/cuda+cpu"
    for prompt in prompts:
        expected, found = (_logits(model, prompt) for model in models)
        np.testing.assert_allclose(found, expected, atol=0.02 * float(expected.std()) + 1e-3)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.gpu
def test_cuda_plans_in_float16(family: str, exports: Callable[..., Path], prompts: list[Prompt]) -> None:
    _needs("cuda")
    backend = LocalBackend(exports(family, "fp16"), device="cuda,cpu")
    for prompt in prompts[:3]:
        assert len({backend.generate(prompt, deadline_s=120.0).text for _ in range(2)}) == 1


@pytest.mark.parametrize(("family", "precision"), [*((each, "fp32") for each in FAMILIES), ("qwen3_vl", "fp16")])
@pytest.mark.gpu
@pytest.mark.timeout(900)
def test_tensorrt_answers_as_the_cpu(
    family: str, precision: str, exports: Callable[..., Path], prompts: list[Prompt]
) -> None:
    """Building the engines takes minutes; they are kept beside the export, and no shape builds a new one."""
    _needs("tensorrt")
    path = exports(family, precision)
    expected = open_model(exports(family, "fp32"), device="cpu")
    found = open_model(path, device="tensorrt,cuda,cpu")
    _logits(found, prompts[0])
    engines = sorted(each.name for each in (path / "tensorrt").iterdir())
    assert engines
    for prompt in prompts:
        exact = _logits(expected, prompt)
        np.testing.assert_allclose(_logits(found, prompt), exact, atol=0.05 * float(exact.std()) + 1e-2)
    assert sorted(each.name for each in (path / "tensorrt").iterdir()) == engines


@pytest.mark.parametrize("provider", ["cuda", "tensorrt"])
@pytest.mark.gpu
def test_a_provider_that_cannot_start_is_not_replaced_by_the_cpu(provider: str, exports: Callable[..., Path]) -> None:
    """Another process sees no GPU: onnxruntime alone would print a warning and plan on the CPU."""
    _needs(provider)
    code = (
        "import sys\n"
        "from si_embodied.errors import BackendError, CheckpointError\n"
        "from si_embodied.models.opening import open_model\n"
        "try:\n"
        "    model = open_model(sys.argv[1], device=sys.argv[2])\n"
        "except (BackendError, CheckpointError) as error:\n"
        "    print('refused:', error)\n"
        "else:\n"
        "    print('opened on', model.kernel)\n"
    )
    done = subprocess.run(
        (sys.executable, "-c", code, str(exports("qwen3_vl", "fp32")), f"{provider},cpu"),
        env={**os.environ, "CUDA_VISIBLE_DEVICES": ""}, capture_output=True, text=True, check=False, timeout=240,
    )  # fmt: skip
    assert "refused:" in done.stdout, done.stdout + done.stderr[-2000:]
