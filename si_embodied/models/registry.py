"""The released SenseNova-SI checkpoints: architecture, strengths and memory needs.

EASI-8 means come from the model cards. Parameter counts are computed from the architectures' configurations, and the
tests count them again. BAGEL's are of its understanding branch, which is what is loaded: its card says 14.7 billion.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from si_embodied.models.footprint import WEIGHTS, Weights, total_bytes

Format: TypeAlias = Literal["transformers", "original InternVL", "original BAGEL"]

OWNER, SERIES = "sensenova", "SenseNova-SI-"
_HEADROOM = 0.2
"""Fraction of the 16-bit weights, for images and key/value cache: an 8B model, one 6-tile image and 8,192 tokens."""


@dataclass(frozen=True, slots=True)
class Architecture:
    """A network architecture, shared by several checkpoints."""

    family: str  # its `model_type` once loaded
    format: Format  # of the released files
    parameters: int
    linear_parameters: int  # in linear layers, which can be quantized to 8 or 4 bits

    def memory_bytes(self, weights: Weights) -> int:
        """GPU memory to run it in bfloat16 (quantized layers as `weights` says), with images and cache."""
        headroom = _HEADROOM * total_bytes(self.parameters, self.linear_parameters, "bfloat16", "full")
        return round(total_bytes(self.parameters, self.linear_parameters, "bfloat16", weights) + headroom)


INTERNVL3_8B = Architecture("internvl", "original InternVL", 7_944_373_760, 6_854_803_456)
INTERNVL3_2B = Architecture("internvl", "original InternVL", 2_088_957_440, 1_620_836_352)
QWEN3_VL_8B = Architecture("qwen3_vl", "transformers", 8_767_123_696, 7_517_270_016)
QWEN25_VL_7B = Architecture("qwen2_5_vl", "transformers", 8_292_166_656, 7_199_817_728)
QWEN25_VL_3B = Architecture("qwen2_5_vl", "transformers", 3_754_622_976, 3_441_197_056)
BAGEL_7B = Architecture("bagel", "original BAGEL", 8_052_719_008, 6_938_785_280)


@dataclass(frozen=True, slots=True)
class Release:
    """One released checkpoint."""

    short_name: str  # without owner and series name
    architecture: Architecture
    best_at: str
    easi8: float | None  # mean of the eight benchmarks, percent; None if not published

    @property
    def hub_id(self) -> str:
        """`owner/name` on the Hugging Face hub."""
        return f"{OWNER}/{SERIES}{self.short_name}"

    @property
    def family(self) -> str:
        """The model family."""
        return self.architecture.family

    def to_json(self) -> dict[str, Any]:
        """Everything about it as plain values."""
        memory = {weights: round(self.architecture.memory_bytes(weights) / 1e9, 1) for weights in WEIGHTS}
        return {
            "name": self.short_name, "hub_id": self.hub_id, "family": self.family,
            "format": self.architecture.format, "parameters": self.architecture.parameters, "best_at": self.best_at,
            "easi8": self.easi8, "memory_gb": memory,
        }  # fmt: skip


RELEASES = (
    Release("1.3-InternVL3-8B", INTERNVL3_8B, "relations, perspective, open questions", 65.2),
    Release("1.4-InternVL3-8B", INTERNVL3_8B, "grounding (RefCOCO 89.2), metric depth", 63.7),
    Release("1.5-InternVL3-8B", INTERNVL3_8B, "solid geometry", 64.4),
    Release("1.2-InternVL3-8B", INTERNVL3_8B, "general; 1.3 follows it", 64.5),
    Release("1.1-InternVL3-8B", INTERNVL3_8B, "general; the paper's figures", 61.5),
    Release("1.1-InternVL3-2B", INTERNVL3_2B, "small machines", 49.4),
    Release("1.3-Qwen3-VL-8B", QWEN3_VL_8B, "open questions, SITE", 61.4),
    Release("1.1-Qwen3-VL-8B", QWEN3_VL_8B, "open questions, SITE", 58.1),
    Release("1.1-Qwen2.5-VL-7B", QWEN25_VL_7B, "general, on Qwen2.5-VL", 51.0),
    Release("1.1-Qwen2.5-VL-3B", QWEN25_VL_3B, "small machines", 45.7),
    Release("1.1-InternVL3-8B-800K", INTERNVL3_8B, "research on data scale: trained on SenseNova-SI-800K alone", None),
    Release("1.1-BAGEL-7B-MoT", BAGEL_7B, "understanding and generation in one; only the former runs here", 48.6),
)
"""All releases, the most useful to a robot first."""


def find_release(name: str) -> Release | None:
    """The release called `name`, with or without owner and series name, ignoring case; None if there is none."""
    wanted = name.lower().removeprefix(f"{OWNER}/").removeprefix(SERIES.lower())
    return next((release for release in RELEASES if release.short_name.lower() == wanted), None)
