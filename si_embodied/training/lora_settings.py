"""The settings of a LoRA run, and the record of them in its folder (`run.json`)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated

from typing_extensions import Doc

from si_embodied.errors import ConfigError


@dataclass(frozen=True, slots=True)
class LoraConfig:
    """Every setting of a run; together with the data and the checkpoint, they determine the result."""

    rank: Annotated[int, Doc("rank of the update")] = 16
    alpha: Annotated[int, Doc("the update is scaled by alpha / rank")] = 32
    dropout: Annotated[float, Doc("of the update's input")] = 0.05
    projector: Annotated[bool, Doc("also tune the projector between vision tower and language model")] = False
    learning_rate: Annotated[float, Doc("peak, with cosine decay to zero")] = 1e-4
    warmup: Annotated[float, Doc("share of the steps")] = 0.03
    weight_decay: Annotated[float, Doc("of AdamW")] = 0.0
    epochs: Annotated[float, Doc("passes over the data")] = 1.0
    steps: Annotated[int | None, Doc("optimizer steps, instead of epochs")] = None
    batch_size: Annotated[int, Doc("examples per batch")] = 1
    accumulation: Annotated[int, Doc("batches per optimizer step")] = 8
    gradient_checkpointing: Annotated[bool, Doc("less memory, about a third more time")] = False
    max_tokens: Annotated[int, Doc("per example; longer examples are an error")] = 16384
    save_every: Annotated[int, Doc("optimizer steps between two checkpoints")] = 200
    workers: Annotated[int, Doc("processes that read images")] = 0
    seed: Annotated[int, Doc("of the update's first weights and the order of the data")] = 0
    device: Annotated[str, Doc("auto, cpu or cuda; CUDA_VISIBLE_DEVICES selects the GPU")] = "auto"
    dtype: Annotated[str, Doc("of the checkpoint's own weights: bfloat16 on CUDA, float32 on a CPU")] = "auto"

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
