"""Checkpoints whose weights are stored quantized: which libraries have their kernels, and which are not loaded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from si_embodied.errors import CheckpointError

if TYPE_CHECKING:
    from pathlib import Path

_PACKAGES: Mapping[str, Mapping[str, str]] = {  # by `quant_method`: modules, and what to install for them
    "bitsandbytes": {"bitsandbytes": "si-embodied[quant]", "accelerate": "si-embodied[quant]"},
    "fp8": {"accelerate": "si-embodied[models]"},
    "compressed-tensors": {"compressed_tensors": "si-embodied[quant]"},
    "gptq": {"optimum": "optimum", "gptqmodel": "gptqmodel"},
    "awq": {"gptqmodel": "gptqmodel", "accelerate": "accelerate"},
}
"""What transformers 5 loads, except methods that nobody publishes checkpoints of our families in."""

GPU_ONLY = ("gptq", "awq")
"""Methods that are not loaded on a CPU. gptqmodel has kernels for it, which nobody has compared here."""

_ELSEWHERE = (
    "get the checkpoint in full precision (weights 8bit or 4bit shrink it on load), or serve this one with vLLM or "
    "SGLang and give its address (--server URL)"
)


@dataclass(frozen=True, slots=True)
class Quantization:
    """How the weights of a checkpoint's linear layers are stored."""

    method: str = ""  # `quant_method` in config.json; empty: in full precision
    bits: int = 0  # of a weight; 0: config.json does not say
    floats: bool = False  # FP8, not integers

    @property
    def label(self) -> str:
        """As logged: "awq-4bit"."""
        return f"{self.method}-{self.bits}bit" if self.bits else self.method


def read_quantization(path: Path, config: Mapping[str, Any], *, original: bool) -> Quantization:
    """How the weights of a checkpoint are stored.

    Args:
        path: its directory.
        config: its config.json.
        original: whether its weights are renamed on load.

    Raises:
        CheckpointError: in a way that is not loaded here, or by a library that is not installed.
    """
    groups = (config, *(config.get(name) for name in ("text_config", "llm_config")))
    settings = [group.get("quantization_config") for group in groups if isinstance(group, dict)]
    found: dict[str, Any] = next((each for each in settings if isinstance(each, dict)), {})
    method = str(found.get("quant_method") or ("gptq" if "bits" in found else ""))
    if not method:
        return Quantization()
    if method not in _PACKAGES:
        raise CheckpointError(f"{path} is quantized with {method}, which is not loaded here: {_ELSEWHERE}")
    if original:
        words = "in a format whose weights are renamed on load, which is not done with quantized ones"
        raise CheckpointError(f"{path} is quantized with {method}, {words}: {_ELSEWHERE}")
    packages = _PACKAGES[method]
    if missing := [module for module in packages if not _is_installed(module)]:
        install = " ".join(dict.fromkeys(f"'{packages[module]}'" for module in missing))
        raise CheckpointError(
            f"{path} is quantized with {method}, whose kernels are in {' and '.join(packages)}; "
            f"{' and '.join(missing)} is not installed: pip install {install}, {_ELSEWHERE}"
        )
    return _read(method, found)


def _read(method: str, settings: Mapping[str, Any]) -> Quantization:
    """Bits and type of the weights; of several groups of layers, the fewest bits, and FP8 only if all are."""
    if method != "compressed-tensors":
        bits = settings.get("bits", settings.get("w_bit", 8 if method == "fp8" else 0))
        return Quantization(method, bits if type(bits) is int else 0, floats=method == "fp8")
    groups = settings.get("config_groups")
    groups = list(groups.values()) if isinstance(groups, dict) else []
    weights = [
        group["weights"] for group in groups if isinstance(group, dict) and isinstance(group.get("weights"), dict)
    ]
    known = [each["num_bits"] for each in weights if type(each.get("num_bits")) is int and each["num_bits"] > 0]
    floats = bool(weights) and all((each.get("type"), each.get("num_bits")) == ("float", 8) for each in weights)
    return Quantization(method, min(known, default=0), floats)


def _is_installed(module: str) -> bool:
    return find_spec(module) is not None
