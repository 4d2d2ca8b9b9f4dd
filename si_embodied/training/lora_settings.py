"""The settings of a LoRA run, and the record of them in its folder (`run.json`)."""

from __future__ import annotations

import math
from dataclasses import dataclass

from si_embodied.errors import ConfigError


@dataclass(frozen=True, slots=True)
class LoraConfig:
    """Every setting of a run; together with the data and the checkpoint, they determine the result."""

    rank: int = 16
    alpha: int = 32  # the update is scaled by alpha / rank
    dropout: float = 0.05
    projector: bool = False  # also tune the projector between vision tower and language model
    learning_rate: float = 1e-4  # peak, with cosine decay to zero
    warmup: float = 0.03  # share of the steps
    weight_decay: float = 0.0
    epochs: float = 1.0
    steps: int | None = None  # optimizer steps, instead of epochs
    batch_size: int = 1
    accumulation: int = 8  # batches per optimizer step
    gradient_checkpointing: bool = False  # less memory, about a third more time
    max_tokens: int = 16384  # per example; longer examples are an error
    save_every: int = 200  # optimizer steps
    workers: int = 0  # processes that read images
    seed: int = 0
    device: str = "auto"  # auto, cpu or cuda; CUDA_VISIBLE_DEVICES selects the GPU
    dtype: str = "auto"  # of the checkpoint's own weights: bfloat16 on CUDA, float32 on a CPU

    def __post_init__(self) -> None:
        """Reject values that cannot be trained with."""
        for name in ("rank", "batch_size", "accumulation", "max_tokens", "save_every"):
            self._expect(name, getattr(self, name) >= 1, "at least 1")
        for name in ("alpha", "learning_rate", "epochs"):
            self._expect(name, 0 < getattr(self, name) < math.inf, "above 0")
        for name in ("dropout", "warmup"):
            self._expect(name, 0 <= getattr(self, name) < 1, "from 0 to below 1")
        for name in ("weight_decay", "workers", "seed"):
            self._expect(name, 0 <= getattr(self, name) < math.inf, "at least 0")
        self._expect("steps", self.steps is None or self.steps >= 1, "at least 1")
        known = self.device in ("auto", "cpu", "cuda")
        self._expect("device", known, "auto, cpu or cuda (select a GPU with CUDA_VISIBLE_DEVICES)")

    def _expect(self, name: str, holds: bool, wanted: str) -> None:
        if not holds:
            raise ConfigError(f"expected {name} to be {wanted}, got: {getattr(self, name)!r}")


@dataclass(frozen=True, slots=True)
class LoraSettings:
    """What a run was asked to do. A run resumes only with the same settings."""

    model: str  # the base checkpoint's name
    family: str
    data: tuple[str, ...]  # names of the data sets
    data_sha256: str
    records: int  # conversations in the data
    config: LoraConfig


@dataclass(frozen=True, slots=True)
class LoraOutcome:
    """What came of a run, for the model card."""

    losses: tuple[float, ...]  # one per optimizer step, over the whole run
    kernel: str  # attention kernel
    dtype: str
