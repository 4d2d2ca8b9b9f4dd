"""Speeds that others published, to be shown as such: another model, engine, prompt and board than what is measured."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Published:
    """A published speed of decoding."""

    model: str
    machine: str
    engine: str
    tokens_per_s: float
    source: str


_ORIN_NANO = "https://hokwangchoi.com/blog/vlm-benchmarks/ (April 2026)"
_EDGE_LLM = (
    "https://nvidia.github.io/TensorRT-Edge-LLM/latest/user_guide/performance/performance-benchmarks.html (0.7.0)"
)

PUBLISHED = (
    Published("Cosmos-Reason2-2B", "Jetson Orin Nano 8 GB", "TensorRT Edge-LLM, W4A16", 60.0, _ORIN_NANO),
    Published("Cosmos-Reason2-2B", "Jetson Orin Nano 8 GB", "vLLM, W4A16", 56.0, _ORIN_NANO),
    Published("Cosmos-Reason2-2B", "Jetson Orin Nano 8 GB", "llama.cpp, Q4_K_M", 38.0, _ORIN_NANO),
    Published("Qwen3.5-0.8B", "Jetson AGX Thor", "TensorRT Edge-LLM, NVFP4", 232.2, _EDGE_LLM),
)
