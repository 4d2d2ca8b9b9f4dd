"""Device, dtype, kernel and quantization: chosen for the machine, or rejected with the fix."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

pytest.importorskip("transformers")

import torch

from si_embodied.errors import CheckpointError, ConfigError, MissingExtraError
from si_embodied.models import loading
from si_embodied.models.loading import load_checkpoint, place

if TYPE_CHECKING:
    from pathlib import Path


@dataclass
class Gpu:
    """A machine that appears to torch to have one CUDA device."""

    patch: pytest.MonkeyPatch

    def __post_init__(self) -> None:
        self.patch.setattr(torch.cuda, "is_available", lambda: True)
        self.patch.setattr(torch.cuda, "device_count", lambda: 1)
        self.has()

    def has(
        self, capability: tuple[int, int] = (9, 0), *, flash: bool = False, quant: bool = False, free: int = 10**12
    ) -> None:
        self.patch.setattr(torch.cuda, "get_device_capability", lambda _=None: capability)
        self.patch.setattr(torch.cuda, "mem_get_info", lambda _=None: (free, 10**12))
        self.patch.setattr(loading, "is_flash_attn_2_available", lambda: flash)
        self.patch.setattr(loading, "is_bitsandbytes_available", lambda: quant)


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> Gpu:
    return Gpu(monkeypatch)


def test_a_cpu_runs_in_float32_with_torchs_attention() -> None:
    """bfloat16 may be 50 times slower on a CPU."""
    placement = place("cpu")
    assert (placement.label, placement.kernel) == ("float32", "sdpa")


@pytest.mark.parametrize(
    ("capability", "flash", "dtype", "kernel"),
    [
        ((9, 0), True, "bfloat16", "flash_attention_2"),  # Hopper
        ((8, 7), False, "bfloat16", "sdpa"),  # Orin without flash-attn
        ((7, 5), True, "float16", "sdpa"),  # Turing has no bfloat16, and FlashAttention 2 does not take it
    ],
)
def test_a_gpus_dtype_and_kernel(capability: tuple[int, int], flash: bool, dtype: str, kernel: str, gpu: Gpu) -> None:
    """The best that it supports; CUDA is used if available."""
    gpu.has(capability, flash=flash)
    placement = place()
    assert (placement.device.type, placement.dtype, placement.kernel) == ("cuda", dtype, kernel)


def test_float32_has_no_flash_attention(gpu: Gpu) -> None:
    """FlashAttention supports only 16-bit dtypes."""
    gpu.has(flash=True)
    assert place(dtype="float32").kernel == "sdpa"


def test_the_label_includes_quantization(gpu: Gpu) -> None:
    """It appears in every record."""
    gpu.has(quant=True)
    assert [place(weights="8bit").label, place(weights="4bit").label] == ["bfloat16+8bit", "bfloat16+4bit"]


def test_quantized_weights_need_cuda() -> None:
    """The message names the alternatives on a CPU."""
    with pytest.raises(ConfigError, match=r"4bit weights need a CUDA device, got: cpu.*ONNX"):
        place("cpu", weights="4bit")


def test_quantized_weights_need_their_extra(gpu: Gpu) -> None:
    """The message names it."""
    with pytest.raises(MissingExtraError, match=r"si-embodied\[quant\]"):
        place(weights="8bit")


def test_other_bits_are_rejected() -> None:
    """The message gives the value."""
    with pytest.raises(ConfigError, match="'3bit'"):
        place("cpu", weights="3bit")  # type: ignore[arg-type]


def test_too_little_memory_is_detected_before_reading(
    checkpoints: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """transformers never opens the weights."""
    monkeypatch.setattr(loading, "free_ram_bytes", lambda: 1000)
    monkeypatch.setattr(loading, "_load_model", lambda *_: pytest.fail("it was read"))
    with pytest.raises(CheckpointError, match=r"too little memory on cpu.*smaller checkpoint"):
        load_checkpoint(checkpoints["qwen3_vl"], device="cpu")


def test_too_little_memory_on_a_gpu_suggests_fewer_bits(checkpoints: dict[str, Path], gpu: Gpu) -> None:
    """8 or 4 bits; after 8, only 4."""
    gpu.has(free=1000, quant=True)
    with pytest.raises(CheckpointError, match="weights 8bit or 4bit"):
        load_checkpoint(checkpoints["qwen3_vl"])
    with pytest.raises(CheckpointError, match="weights 4bit"):
        load_checkpoint(checkpoints["qwen3_vl"], weights="8bit")


@pytest.mark.parametrize("weights", ["8bit", "4bit"])
def test_the_chosen_placement_is_passed_to_transformers(
    weights: Any, original_internvl: Path, gpu: Gpu, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Directly on the device, with the bitsandbytes configuration, also for converted weights."""
    import transformers

    asked: dict[str, Any] = {}

    def from_pretrained(name: object, **arguments: Any) -> None:
        asked.update(arguments, name=name)
        raise OSError("enough")

    gpu.has(flash=True, quant=True)
    monkeypatch.setattr(transformers.InternVLForConditionalGeneration, "from_pretrained", from_pretrained)
    with pytest.raises(CheckpointError, match="enough"):
        load_checkpoint(original_internvl, weights=weights)
    assert asked["name"] is None
    assert "vision_tower.embeddings.cls_token" in asked["state_dict"]
    assert asked["device_map"] == {"": torch.device("cuda")}
    assert (asked["dtype"], asked["attn_implementation"]) == (torch.bfloat16, "flash_attention_2")
    settings = asked["quantization_config"]
    assert (settings.load_in_8bit, settings.load_in_4bit) == (weights == "8bit", weights == "4bit")
    if weights == "4bit":
        assert (settings.bnb_4bit_quant_type, settings.bnb_4bit_compute_dtype) == ("nf4", torch.bfloat16)


@pytest.mark.gpu
@pytest.mark.parametrize("weights", ["8bit", "4bit"])
def test_quantized_logits_resemble_the_full_ones(weights: Any, original_internvl: Path) -> None:
    """On a real device, with the real bitsandbytes."""
    pytest.importorskip("bitsandbytes")
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    ids = torch.arange(32, device="cuda")[None]
    with torch.inference_mode():
        full, quantized = (
            load_checkpoint(original_internvl, device="cuda", weights=kind).model(input_ids=ids).logits.float().cpu()
            for kind in ("full", weights)
        )
    assert np.corrcoef(full.flatten(), quantized.flatten())[0, 1] > 0.9
