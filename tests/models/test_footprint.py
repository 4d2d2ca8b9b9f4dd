"""Memory needed by weights, and memory available."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from si_embodied.errors import CheckpointError
from si_embodied.models.footprint import StoredTensor, check_fits, free_ram_bytes, weight_bytes

TENSORS = {
    "model.embed_tokens.weight": StoredTensor("BF16", (100, 8)),
    "layer.weight": StoredTensor("BF16", (64, 32)),
    "layer.bias": StoredTensor("F32", (64,)),
    "conv.weight": StoredTensor("BF16", (4, 3, 2, 2)),
}
LINEAR, OTHERS = 64 * 32, 100 * 8 + 64 + 4 * 3 * 2 * 2


@pytest.mark.parametrize(
    ("dtype", "weights", "expected"),
    [
        ("float32", "full", 4 * (LINEAR + OTHERS)),
        ("bfloat16", "full", 2 * (LINEAR + OTHERS)),
        ("bfloat16", "8bit", LINEAR + 2 * OTHERS),
        # half a byte each, a byte for 64 of them, and four bytes for 256 of those, of which there are 32 here
        ("bfloat16", "4bit", LINEAR // 2 + LINEAR // 64 + round(4 * LINEAR / 64 / 256) + 2 * OTHERS),
    ],
)
def test_bytes_of_weights(dtype: str, weights: str, expected: int) -> None:
    """Quantization shrinks only the linear layers."""
    assert weight_bytes(TENSORS, dtype, weights) == pytest.approx(expected, abs=1)  # type: ignore[arg-type]


def test_weights_that_are_stored_in_8_bits_and_stay_so_take_a_byte_each() -> None:
    """An FP8 checkpoint: the scales are 32-bit floats, loaded in the dtype; packed 4-bit weights are bytes."""
    tensors = {
        "layer.weight": StoredTensor("F8_E4M3", (128, 128)),
        "layer.weight_scale_inv": StoredTensor("F32", (1, 1)),
        "packed.weight": StoredTensor("U8", (50, 1)),
    }
    assert weight_bytes(tensors, "bfloat16", keeps_fp8=True) == 128 * 128 + 2 + 50
    assert weight_bytes(tensors, "bfloat16") == 2 * 128 * 128 + 2 + 50


def test_the_estimate_equals_the_loaded_models_size(family_name: str, checkpoints: dict[str, Path]) -> None:
    """To the byte, in float32."""
    pytest.importorskip("transformers")
    from si_embodied.models.checkpoints import inspect_checkpoint, read_header
    from si_embodied.models.loading import load_checkpoint

    tensors = {
        key: tensor
        for file in inspect_checkpoint(checkpoints[family_name]).weights
        for key, tensor in read_header(file).items()
    }
    model = load_checkpoint(checkpoints[family_name], device="cpu").model
    assert weight_bytes(tensors, "float32") == sum(parameter.nbytes for parameter in model.parameters())


def _linux(
    tmp_path: Path, available_kb: int, limit: str | None = None, used: int = 0, cached: int = 0
) -> dict[str, Path]:
    (tmp_path / "meminfo").write_text(f"MemTotal:       64000000 kB\nMemAvailable:   {available_kb} kB\n")
    if limit is not None:
        (tmp_path / "memory.max").write_text(f"{limit}\n")
        (tmp_path / "memory.current").write_text(f"{used}\n")
        (tmp_path / "memory.stat").write_text(f"anon 5\ninactive_file {cached}\n")
    return {"proc": tmp_path / "meminfo", "cgroup": tmp_path}


def test_free_memory_is_what_linux_reports(tmp_path: Path) -> None:
    """Without a container."""
    assert free_ram_bytes(**_linux(tmp_path, 2_000_000)) == 2_048_000_000


def test_a_containers_limit_applies(tmp_path: Path) -> None:
    """A container may have less memory than the machine; its page cache is reclaimable."""
    assert free_ram_bytes(**_linux(tmp_path, 2_000_000, "1000000000", used=700_000_000, cached=100)) == 300_000_100
    assert free_ram_bytes(**_linux(tmp_path, 2_000_000, "max", used=700_000_000)) == 2_048_000_000


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_this_machine_reports_free_memory() -> None:
    """A plausible value."""
    assert 1e6 < (free_ram_bytes() or 0) < 1e14


def test_weights_that_do_not_fit_are_rejected() -> None:
    """The message gives memory needed and free, and alternatives. If free memory is unknown, nothing is rejected."""
    with pytest.raises(
        CheckpointError, match=r"too little memory on cpu.*need 16\.0 GB and 8\.0 GB are free; buy more"
    ):
        check_fits("big", 16 * 10**9, 8 * 10**9, "cpu", ["buy more"])
    check_fits("big", 16 * 10**9, 16 * 10**9, "cpu", [])
    check_fits("big", 16 * 10**9, None, "cpu", [])
