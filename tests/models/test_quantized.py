"""Checkpoints whose weights are stored quantized: loaded as their format says, or rejected with the library's name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

import pytest

pytest.importorskip("transformers")

import torch
from safetensors.torch import load_file, save_file

from si_embodied.errors import CheckpointError, ConfigError
from si_embodied.models import quantized
from si_embodied.models.checkpoints import inspect_checkpoint
from si_embodied.models.footprint import StoredTensor, weight_bytes
from si_embodied.models.loading import load_checkpoint
from si_embodied.models.tiny import make_tiny_checkpoint

Kind = Literal["int8", "int4", "fp8"]
FORMATS = {"int8": "int-quantized", "int4": "pack-quantized", "fp8": "float-quantized"}


def set_quantization(path: Path, **settings: Any) -> None:
    config = json.loads((path / "config.json").read_text())
    (path / "config.json").write_text(json.dumps({**config, "quantization_config": settings}))


def store(weight: torch.Tensor, kind: Kind) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
    """One scale a row. What compressed-tensors stores of a linear layer, and the weight that it stands for."""
    most = weight.abs().amax(1, keepdim=True).clamp(min=1e-3)  # a row may be all zeros
    if kind == "fp8":
        scale = most / 400
        stored = (weight / scale).to(torch.float8_e4m3fn)
        return {"weight": stored, "weight_scale": scale}, stored.float() * scale
    scale = most / (127 if kind == "int8" else 7)
    rounded = (weight / scale).round()
    if kind == "int8":
        return {"weight": rounded.to(torch.int8), "weight_scale": scale}, rounded * scale
    nibbles = (rounded.to(torch.int64) + 8).reshape(len(weight), -1, 8)  # the first weight in the lowest bits
    packed = (nibbles << 4 * torch.arange(8)).sum(-1)
    packed = torch.where(packed >= 1 << 31, packed - (1 << 32), packed).to(torch.int32)
    shape = torch.tensor(weight.shape)
    return {"weight_packed": packed, "weight_scale": scale, "weight_shape": shape}, rounded * scale


def compress(path: Path, kind: Kind) -> dict[str, torch.Tensor]:
    """Quantize the language model's linear layers of a checkpoint; returns what their weights now stand for."""
    tensors, expected = {}, {}
    for name, tensor in load_file(path / "model.safetensors").items():
        if ".language_model.layers." in name and name.endswith("_proj.weight"):
            parts, expected[name] = store(tensor.float(), kind)
            tensors |= {name.removesuffix("weight") + part: value for part, value in parts.items()}
        else:
            tensors[name] = tensor
    save_file(tensors, path / "model.safetensors", metadata={"format": "pt"})
    kind_of = {"num_bits": 4 if kind == "int4" else 8, "type": "float" if kind == "fp8" else "int"}
    weights = {**kind_of, "symmetric": True, "strategy": "channel", "dynamic": False}
    group: dict[str, Any] = {"targets": ["Linear"], "weights": weights}
    if kind == "fp8":
        group["input_activations"] = {**kind_of, "symmetric": True, "strategy": "token", "dynamic": True}
    set_quantization(
        path, quant_method="compressed-tensors", format=FORMATS[kind], quantization_status="compressed",
        config_groups={"group_0": group}, ignore=["lm_head", "re:.*visual.*"],
    )  # fmt: skip
    return expected


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    return make_tiny_checkpoint(tmp_path / "tiny")


@pytest.mark.parametrize("kind", FORMATS)
def test_weights_that_compressed_tensors_packed_are_restored(kind: Kind, tiny: Path) -> None:
    pytest.importorskip("compressed_tensors")
    expected = compress(tiny, kind)
    assert len(expected) == 14
    loaded = load_checkpoint(tiny, device="cpu")
    assert loaded.dtype == f"float32+compressed-tensors-{4 if kind == 'int4' else 8}bit"
    weights = loaded.model.state_dict()
    for name, weight in expected.items():
        torch.testing.assert_close(weights[name], weight, rtol=0, atol=0)


@pytest.mark.gpu
@pytest.mark.parametrize("kind", FORMATS)
def test_a_gpu_computes_with_quantized_weights_what_they_stand_for(kind: Kind, tiny: Path) -> None:
    """From Ada on, FP8 weights stay in FP8 and activations become FP8 too; all others are restored."""
    pytest.importorskip("compressed_tensors")
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    expected = compress(tiny, kind)
    loaded = load_checkpoint(tiny, device="cuda", dtype="bfloat16").model
    ids = torch.arange(1, 33, device="cuda")[None]
    with torch.inference_mode():
        quantized_logits = loaded(input_ids=ids).logits.float().cpu()
        plain = load_checkpoint(make_tiny_checkpoint(tiny.parent / "plain"), device="cuda", dtype="bfloat16").model
        plain.load_state_dict({name: weight.bfloat16() for name, weight in expected.items()}, strict=False)
        logits = plain(input_ids=ids).logits.float().cpu()
    assert torch.corrcoef(torch.stack([quantized_logits.flatten(), logits.flatten()]))[0, 1] > 0.99


@pytest.mark.parametrize(
    ("method", "missing", "install"),
    [
        ("awq", "gptqmodel", "'gptqmodel'"),
        ("gptq", "optimum and gptqmodel", "'optimum' 'gptqmodel'"),
        ("compressed-tensors", "compressed_tensors", "'si-embodied[quant]'"),
        ("bitsandbytes", "bitsandbytes", "'si-embodied[quant]'"),
    ],
)
def test_a_missing_library_is_named_with_what_to_install(
    method: str, missing: str, install: str, tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quantized, "_is_installed", lambda module: module == "accelerate")
    set_quantization(tiny, quant_method=method, bits=4)
    with pytest.raises(CheckpointError) as error:
        load_checkpoint(tiny, device="cpu")
    assert f"quantized with {method}" in str(error.value)
    assert f"{missing} is not installed: pip install {install}" in str(error.value)
    assert "--server URL" in str(error.value)


@pytest.mark.parametrize("method", ["awq", "gptq"])
def test_kernels_that_only_a_gpu_has_are_not_used_on_a_cpu(
    method: str, tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quantized, "_is_installed", lambda module: True)
    set_quantization(tiny, quant_method=method, bits=4)
    with pytest.raises(ConfigError, match=f"quantized with {method}.*CUDA device, got: cpu.*ONNX Runtime"):
        load_checkpoint(tiny, device="cpu")


def test_weights_that_are_not_what_config_json_says_are_rejected(tiny: Path) -> None:
    pytest.importorskip("compressed_tensors")
    compress(tiny, "int8")
    set_quantization(tiny, quant_method="fp8")
    with pytest.raises(CheckpointError, match="keys|could not be loaded"):
        load_checkpoint(tiny, device="cpu")


def test_an_unknown_method_is_rejected(tiny: Path) -> None:
    set_quantization(tiny, quant_method="hqq")
    with pytest.raises(CheckpointError, match=r"quantized with hqq, which is not loaded here.*full precision"):
        inspect_checkpoint(tiny)


def test_bits_and_type_are_read_from_every_format(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quantized, "_is_installed", lambda module: True)
    for settings, bits, floats in (
        ({"quant_method": "awq", "bits": 4}, 4, False),
        ({"quant_method": "awq", "w_bit": 4}, 4, False),
        ({"bits": 8, "group_size": 128}, 8, False),  # GPTQ's first checkpoints
        ({"quant_method": "fp8"}, 8, True),
        ({"quant_method": "compressed-tensors", "config_groups": "x"}, 0, False),
    ):
        set_quantization(tiny, **settings)
        found = inspect_checkpoint(tiny).quantization
        assert (found.bits, found.floats) == (bits, floats)
    compress(tiny, "fp8")
    assert (inspect_checkpoint(tiny).quantization.bits, inspect_checkpoint(tiny).quantization.floats) == (8, True)


def test_restored_weights_take_the_memory_of_the_dtype() -> None:
    """By hand: 4,096 weights in bfloat16, of 512 packed integers; a scale a row; the shape."""
    tensors = {
        "q_proj.weight_packed": StoredTensor("I32", (64, 8)),
        "q_proj.weight_scale": StoredTensor("F32", (64, 1)),
        "q_proj.weight_shape": StoredTensor("I64", (2,)),
    }
    assert weight_bytes(tensors, "bfloat16", restored_bits=4) == 4096 * 2 + 64 * 2 + 16
    assert weight_bytes(tensors, "bfloat16") == 512 * 4 + 64 * 2 + 16
    stored = {"q_proj.weight": StoredTensor("I8", (64, 64))}
    assert weight_bytes(stored, "bfloat16", restored_bits=8) == 4096 * 2
