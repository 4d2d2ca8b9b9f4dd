"""How much memory a checkpoint's weights take, read off their headers, and how much there is.

Loading sixteen gigabytes to fail at the last one takes minutes and may end other programs on the machine; this takes
a millisecond.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Literal, TypeAlias, get_args

from si_embodied.errors import CheckpointError

Weights: TypeAlias = Literal["full", "8bit", "4bit"]
"""How linear layers are held: in the dtype, or quantized by bitsandbytes (LLM.int8; NF4 with double quantization)."""
WEIGHTS: tuple[Weights, ...] = get_args(Weights)

BYTES_PER_ELEMENT: Mapping[str, float] = {"float32": 4.0, "bfloat16": 2.0, "float16": 2.0}
QUANTIZED_BYTES: Mapping[str, float] = {"8bit": 1.0, "4bit": 0.5 + 1 / 64 + 4 / (64 * 256)}
"""An element of a quantized layer. NF4 has a one-byte scale for each 64, and a four-byte one for each 256 of those
(QLoRA, arXiv 2305.14314); LLM.int8 one scale a row, which is nothing beside the row (arXiv 2208.07339)."""

_NEVER_QUANTIZED = ("embed_tokens.weight", "pos_embed.weight", "lm_head.weight")


def weight_bytes(shapes: Mapping[str, tuple[int, ...]], dtype: str, weights: Weights = "full") -> int:
    """What the weights take once loaded, in bytes.

    Args:
        shapes: of every tensor, by name.
        dtype: "float32", "bfloat16", "float16".
        weights: what bitsandbytes holds the linear layers in.
    """
    sizes = {name: math.prod(shape) for name, shape in shapes.items()}
    linear = sum(size for name, size in sizes.items() if _is_linear(name, shapes[name]))
    return total_bytes(sum(sizes.values()), linear, dtype, weights)


def total_bytes(parameters: int, linear: int, dtype: str, weights: Weights) -> int:
    """Bytes of so many parameters, of which `linear` are in layers that can be quantized."""
    element = BYTES_PER_ELEMENT[dtype]
    return round((parameters - linear) * element + linear * QUANTIZED_BYTES.get(weights, element))


def free_ram_bytes(proc: Path = Path("/proc/meminfo"), cgroup: Path = Path("/sys/fs/cgroup")) -> int | None:
    """Memory that can be had without swapping, within a container's limit; None where the system does not say.

    Args:
        proc: Linux's memory figures.
        cgroup: the limits of control groups, version 2.
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
    except (OSError, ValueError):  # no control group, or its limit is "max"
        pass
    return min(free, default=None)


def check_fits(name: str, needed: int, free: int | None, device: str, alternatives: Iterable[str]) -> None:
    """Refuse to load what cannot fit.

    Raises:
        CheckpointError: with what is needed, what is free, and what would help.
    """
    if free is not None and needed > free:
        raise CheckpointError(
            f"{name}: too little memory on {device}: its weights need {needed / 1e9:.1f} GB and {free / 1e9:.1f} GB "
            f"are free; {', '.join([*alternatives, 'free some memory', 'take a smaller checkpoint'])} "
            "(si-embodied models list)"
        )


def _is_linear(name: str, shape: tuple[int, ...]) -> bool:
    """Whether a weight is a linear layer's that bitsandbytes quantizes; it leaves embedding and output layer alone."""
    return len(shape) == 2 and name.endswith(".weight") and not name.endswith(_NEVER_QUANTIZED)
