"""Memory needed by a checkpoint's weights, computed from their headers, and memory available.

Running out of memory after loading fifteen of sixteen gigabytes wastes minutes and may kill other processes; this check
takes a millisecond.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias, get_args

from si_embodied.errors import CheckpointError

Weights: TypeAlias = Literal["full", "8bit", "4bit"]
"""Storage of linear layers: in the dtype, or quantized by bitsandbytes (LLM.int8; NF4 with double quantization)."""
WEIGHTS: tuple[Weights, ...] = get_args(Weights)

BYTES_PER_ELEMENT: Mapping[str, float] = {"float32": 4.0, "bfloat16": 2.0, "float16": 2.0}
QUANTIZED_BYTES: Mapping[str, float] = {"8bit": 1.0, "4bit": 0.5 + 1 / 64 + 4 / (64 * 256)}
"""Bytes per element of a quantized layer. NF4 has a one-byte scale per 64 elements, and a four-byte scale per 256 of
those (QLoRA, arXiv 2305.14314); LLM.int8 has one scale per row, which is negligible (arXiv 2208.07339)."""

STORED_BITS: Mapping[str, int] = {
    "F64": 64, "F32": 32, "F16": 16, "BF16": 16, "F8_E4M3": 8, "F8_E5M2": 8, "I64": 64, "U64": 64, "I32": 32, "U32": 32,
    "I16": 16, "U16": 16, "I8": 8, "U8": 8, "BOOL": 8,
}  # fmt: skip
"""Bits per element of the dtypes in safetensors files, by their names there."""
_FLOATS = ("F64", "F32", "F16", "BF16")
"""Dtypes that are converted on load. Integers hold weights that were quantized before, and are kept."""

_QUANTIZED_WEIGHTS = (".weight", ".weight_packed")
"""Ends of the names of quantized weights in compressed-tensors' formats; scales and zero points have others."""

_NEVER_QUANTIZED = ("embed_tokens.weight", "pos_embed.weight", "position_embedding.weight", "lm_head.weight")


@dataclass(frozen=True, slots=True)
class StoredTensor:
    """A tensor in a safetensors file."""

    dtype: str  # "BF16"; see `STORED_BITS`
    shape: tuple[int, ...]

    @property
    def elements(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)


def weight_bytes(
    tensors: Mapping[str, StoredTensor],
    dtype: str,
    weights: Weights = "full",
    *,
    keeps_fp8: bool = False,
    restored_bits: int = 0,
) -> int:
    """Size of the loaded weights in bytes.

    Args:
        tensors: every tensor, by name.
        dtype: "float32", "bfloat16", "float16".
        weights: how the linear layers are stored.
        keeps_fp8: whether 8-bit floats stay as they are, at a byte each, instead of being converted to `dtype`.
        restored_bits: bits per element of integer weights that are restored to `dtype` on load, several in each stored
            integer; 0: they stay as they are.
    """
    converted = {
        name: tensor
        for name, tensor in tensors.items()
        if tensor.dtype in _FLOATS or (tensor.dtype.startswith("F8") and not keeps_fp8)
    }
    stored = {name: tensor for name, tensor in tensors.items() if name not in converted}
    if restored_bits:
        for name in [name for name in stored if name.endswith(_QUANTIZED_WEIGHTS)]:
            tensor = stored.pop(name)
            elements = tensor.elements * STORED_BITS.get(tensor.dtype, 8) // min(restored_bits, 8)
            converted[name] = StoredTensor(tensor.dtype, (elements,))
    linear = sum(tensor.elements for name, tensor in converted.items() if _is_linear(name, tensor.shape))
    return total_bytes(sum(tensor.elements for tensor in converted.values()), linear, dtype, weights) + sum(
        tensor.elements * STORED_BITS.get(tensor.dtype, 8) // 8 for tensor in stored.values()
    )


def total_bytes(parameters: int, linear: int, dtype: str, weights: Weights) -> int:
    """Size of `parameters` parameters, of which `linear` are in layers that can be quantized, in bytes."""
    element = BYTES_PER_ELEMENT[dtype]
    return round((parameters - linear) * element + linear * QUANTIZED_BYTES.get(weights, element))


def free_ram_bytes(proc: Path = Path("/proc/meminfo"), cgroup: Path = Path("/sys/fs/cgroup")) -> int | None:
    """Memory available without swapping, within the container's limit; None if the system does not report it.

    Args:
        proc: Linux's memory statistics.
        cgroup: mount point of control groups, version 2.
    """
    free: list[int] = []
    try:
        lines = dict(line.split(":", 1) for line in proc.read_text(encoding="ascii").splitlines())
        free.append(int(lines["MemAvailable"].split()[0]) * 1024)
    except (OSError, KeyError, ValueError):
        if "SC_AVPHYS_PAGES" in os.sysconf_names:
            free.append(os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    try:
        limit, used = ((cgroup / name).read_text(encoding="ascii").strip() for name in ("memory.max", "memory.current"))
        reclaimable = dict(line.split() for line in (cgroup / "memory.stat").read_text(encoding="ascii").splitlines())
        free.append(int(limit) - int(used) + int(reclaimable.get("inactive_file", 0)))
    except (OSError, ValueError):  # no control group, or a limit of "max"
        pass
    return min(free, default=None)


def check_fits(name: str, needed: int, free: int | None, device: str, alternatives: Iterable[str]) -> None:
    """Check that the weights fit into memory.

    Raises:
        CheckpointError: they do not; the message gives the memory needed and free, and the alternatives.
    """
    if free is not None and needed > free:
        raise CheckpointError(
            f"{name}: too little memory on {device}: its weights need {needed / 1e9:.1f} GB and {free / 1e9:.1f} GB "
            f"are free; {', '.join([*alternatives, 'free some memory', 'use a smaller checkpoint'])} "
            "(si-embodied models list)"
        )


def _is_linear(name: str, shape: tuple[int, ...]) -> bool:
    """Whether bitsandbytes quantizes this weight: those of linear layers, except embedding and output layer."""
    return len(shape) == 2 and name.endswith(".weight") and not name.endswith(_NEVER_QUANTIZED)
