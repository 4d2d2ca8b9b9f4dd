"""The settings that LoRA and full fine-tuning share, and the record of a run in its folder (`run.json`)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated

from typing_extensions import Doc

from si_embodied.errors import ConfigError


@dataclass(frozen=True, slots=True)
class TuningConfig:
    """How a run is carried out."""

    steps: Annotated[int | None, Doc("optimizer steps, instead of epochs")] = None
    gradient_checkpointing: Annotated[bool, Doc("less memory, about a third more time")] = False
    save_every: Annotated[int, Doc("optimizer steps between two checkpoints")] = 200
    workers: Annotated[int, Doc("processes that read images")] = 0
    seed: Annotated[int, Doc("of the order of the data, and of LoRA's first weights")] = 0
    device: Annotated[str, Doc("auto, cpu or cuda; CUDA_VISIBLE_DEVICES selects the GPU")] = "auto"
    dtype: Annotated[
        str, Doc("of LoRA's frozen weights, or of full fine-tuning's computation: bfloat16 on CUDA, float32 on a CPU")
    ] = "auto"

    def __post_init__(self) -> None:
        """Reject values that cannot be trained with."""
        self._expect("save_every", self.save_every >= 1, "at least 1")
        for name in ("workers", "seed"):
            self._expect(name, 0 <= getattr(self, name) < math.inf, "at least 0")
        self._expect("steps", self.steps is None or self.steps >= 1, "at least 1")
        known = self.device in ("auto", "cpu", "cuda")
        self._expect("device", known, "auto, cpu or cuda (select a GPU with CUDA_VISIBLE_DEVICES)")

    def _expect(self, name: str, holds: bool, wanted: str) -> None:
        if not holds:
            raise ConfigError(f"expected {name} to be {wanted}, got: {getattr(self, name)!r}")


@dataclass(frozen=True, slots=True)
class TuningSettings:
    """What a run was asked to do. A run resumes only with the same settings."""

    model: str  # the base checkpoint's name
    family: str
    data: tuple[str, ...]  # names of the data sets
    data_sha256: str
    records: int  # conversations in the data
    config: TuningConfig


@dataclass(frozen=True, slots=True)
class TuningOutcome:
    """What came of a run, for the model card."""

    losses: tuple[float, ...]  # one per optimizer step, over the whole run
    kernel: str  # attention kernel
    dtype: str
