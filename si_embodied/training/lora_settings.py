"""The settings of a LoRA run."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated

from typing_extensions import Doc

from si_embodied.training.tuning_settings import TuningConfig


@dataclass(frozen=True, slots=True)
class LoraConfig(TuningConfig):
    """Every setting of a run; together with the data and the checkpoint, they determine the result."""

    rank: Annotated[int, Doc("rank of the update")] = 16
    alpha: Annotated[int, Doc("the update is scaled by alpha / rank")] = 32
    dropout: Annotated[float, Doc("of the update's input")] = 0.05
    projector: Annotated[bool, Doc("also tune the projector between vision tower and language model")] = False
    learning_rate: Annotated[float, Doc("peak, with cosine decay to zero")] = 1e-4
    warmup: Annotated[float, Doc("share of the steps")] = 0.03
    weight_decay: Annotated[float, Doc("of AdamW")] = 0.0
    epochs: Annotated[float, Doc("passes over the data")] = 1.0
    batch_size: Annotated[int, Doc("examples per batch")] = 1
    accumulation: Annotated[int, Doc("batches per optimizer step")] = 8
    max_tokens: Annotated[int, Doc("per example; longer examples are an error")] = 16384

    def __post_init__(self) -> None:
        """Reject values that cannot be trained with."""
        TuningConfig.__post_init__(self)
        for name in ("rank", "batch_size", "accumulation", "max_tokens"):
            self._expect(name, getattr(self, name) >= 1, "at least 1")
        for name in ("alpha", "learning_rate", "epochs"):
            self._expect(name, 0 < getattr(self, name) < math.inf, "above 0")
        for name in ("dropout", "warmup"):
            self._expect(name, 0 <= getattr(self, name) < 1, "from 0 to below 1")
        self._expect("weight_decay", 0 <= self.weight_decay < math.inf, "at least 0")
