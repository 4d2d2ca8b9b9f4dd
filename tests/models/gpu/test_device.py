"""Where a model lands, and how much memory it takes there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

pytest.importorskip("transformers")

import torch

from si_embodied.errors import CheckpointError, ConfigError
from si_embodied.models.checkpoints import inspect_checkpoint, read_header
from si_embodied.models.footprint import weight_bytes
from si_embodied.models.loading import load_checkpoint
from si_embodied.models.original import new_names

if TYPE_CHECKING:
    from pathlib import Path

_GRAIN = 512  # bytes; torch's allocator rounds every tensor up to a multiple


def _tensors(model: Any) -> list[torch.Tensor]:
    return [*model.parameters(), *model.buffers()]


def _estimate(directory: Path, dtype: str, weights: Any) -> int:
    files = inspect_checkpoint(directory)
    read = new_names(files)
    tensors = {key: tensor for file in files.weights for key, tensor in read_header(file).items() if read(key)}
    return weight_bytes(tensors, dtype, weights)


def test_auto_takes_the_gpu_and_its_dtype(family_name: str, checkpoints: dict[str, Path], cuda: str) -> None:
    """Nothing is left on the host, and nothing is offloaded."""
    checkpoint = load_checkpoint(checkpoints[family_name])
    assert {tensor.device.type for tensor in _tensors(checkpoint.model)} == {cuda}
    ampere = torch.cuda.get_device_capability() >= (8, 0)
    assert checkpoint.dtype == ("bfloat16" if ampere else "float16")
    assert {each.dtype for each in checkpoint.model.parameters()} == {torch.bfloat16 if ampere else torch.float16}


@pytest.mark.parametrize("where", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def test_a_device_that_is_not_there_is_refused(where: str, checkpoints: dict[str, Path]) -> None:
    """The first that is missing: cuda:0 without a GPU, cuda:1 with one. The message says how many there are."""
    count = torch.cuda.device_count()
    assert (count > 0) or where == "cpu"
    with pytest.raises(ConfigError, match=rf"'cuda:{count}'.*sees {count} CUDA devices"):
        load_checkpoint(checkpoints["qwen3_vl"], device=f"cuda:{count}")


@pytest.mark.gpu
def test_the_second_gpu_is_used_if_asked_for(checkpoints: dict[str, Path]) -> None:
    if torch.cuda.device_count() < 2:
        pytest.skip("needs two CUDA devices")
    model = load_checkpoint(checkpoints["qwen3_vl"], device="cuda:1").model
    assert {tensor.device for tensor in _tensors(model)} == {torch.device("cuda:1")}


def test_the_estimate_is_what_the_weights_take(family_name: str, checkpoints: dict[str, Path], device: str) -> None:
    """In float32, every weight counted once: tied ones too. A few buffers (rotary frequencies) are not in the file."""
    model = load_checkpoint(checkpoints[family_name], device=device, dtype="float32").model
    taken = sum(each.nbytes for each in {each.data_ptr(): each for each in _tensors(model)}.values())
    assert _estimate(checkpoints[family_name], "float32", "full") == pytest.approx(taken, rel=0.02)


@pytest.mark.parametrize("weights", ["full", "8bit", "4bit"])
def test_the_estimate_is_what_the_gpu_allocates(weights: Any, cuda: str) -> None:
    """Measured by torch's allocator, whose grain is added for each tensor. si-nano: a tiny model is all grain."""
    from si_embodied.models.checkpoints import shipped_checkpoint

    if weights != "full":
        pytest.importorskip("bitsandbytes", reason="needs bitsandbytes (si-embodied[quant])")
    before = torch.cuda.memory_allocated()
    checkpoint = load_checkpoint(shipped_checkpoint(), device=cuda, weights=weights)
    taken = torch.cuda.memory_allocated() - before
    estimate = _estimate(shipped_checkpoint(), checkpoint.dtype.partition("+")[0], weights)
    grains = _GRAIN * len(_tensors(checkpoint.model))
    assert 0.9 * estimate <= taken <= 1.1 * estimate + 3 * grains


@pytest.mark.gpu
def test_a_full_gpu_is_noticed_before_the_weights_are_read() -> None:
    """By what the driver says is free, with all of it but 4 MB held by others."""
    from si_embodied.models.checkpoints import shipped_checkpoint

    torch.cuda.empty_cache()
    free = torch.cuda.mem_get_info()[0]
    held = []
    size = free
    while size > 2**21:
        try:
            held.append(torch.empty(size, dtype=torch.uint8, device="cuda"))
            size = torch.cuda.mem_get_info()[0]
        except torch.OutOfMemoryError:
            size //= 2
    try:
        with pytest.raises(CheckpointError, match=r"memory on cuda"):
            load_checkpoint(shipped_checkpoint())
    finally:
        held.clear()
        torch.cuda.empty_cache()
    assert load_checkpoint(shipped_checkpoint()).device.startswith("cuda")
