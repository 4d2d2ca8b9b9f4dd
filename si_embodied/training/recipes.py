"""How SenseNova-SI was trained from each family: the constants of full fine-tuning, as published.

The paper (arXiv 2511.13719) gives no constants; its repository does. Sources, with the names used below:

- *8M scripts*: OpenSenseNova/SenseNova-SI at commit 5a2dd8d, the scripts for SenseNova-SI-8M:
  `training/intern_vl/internvl_chat/shell/sensenova_si_8M_internvl3_8b.sh`, `training/qwen3_vl/train_config_8M.yaml`,
  `training/bagel/scripts/train_sensenova_si_8M.sh` and, for what the last leaves at its default,
  `training/bagel/train/pretrain_unified_navit.py`. Their batches are for 8 GPUs.
- *Qwen guide*: QwenLM/Qwen3-VL at commit 23ec840, `qwen-vl-finetune/README.md`, the family's own recipe for
  Qwen2.5-VL, for which SenseNova-SI's repository has none.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from si_embodied.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Recipe:
    """The constants of one family. A pack is what one GPU passes through the model at a time."""

    learning_rate: float  # peak
    batch: int  # packs per optimizer step, over all GPUs
    max_tokens: int  # per example
    warmup: float  # share of the steps, or from 1 on their number
    schedule: Literal["cosine", "constant_with_warmup"] = "cosine"  # cosine falls to zero
    weight_decay: float = 0.0  # of AdamW, as the next two
    betas: tuple[float, float] = (0.9, 0.999)
    epsilon: float = 1e-8
    epochs: float = 1.0
    pack_tokens: int = 0  # examples are packed up to so many tokens; 0: one example per pack
    projector: bool = True  # train the projector between vision tower and language model
    max_gradient_norm: float = 1.0

    def __post_init__(self) -> None:
        """Raise `ConfigError` for values that cannot be trained with."""
        for name in ("batch", "max_tokens"):
            self._expect(name, getattr(self, name) >= 1, "at least 1")
        for name in ("learning_rate", "epochs"):
            self._expect(name, 0 < getattr(self, name) < math.inf, "above 0")
        for name in ("warmup", "weight_decay", "pack_tokens"):
            self._expect(name, 0 <= getattr(self, name) < math.inf, "at least 0")

    def _expect(self, name: str, holds: bool, wanted: str) -> None:
        if not holds:
            raise ConfigError(f"expected {name} to be {wanted}, got: {getattr(self, name)!r}")


RECIPES = {
    # 8M scripts. AdamW's betas and epsilon, and the gradient norm, are the Trainer's defaults there.
    "internvl": Recipe(learning_rate=5e-6, batch=128, max_tokens=16384, warmup=0.03, weight_decay=0.05),
    # 8M scripts: one example on each of 8 GPUs. `packing` is off there, and its `packing_length` is 40,000. It has no
    # longest example; 40,000 is ours. `max_steps: 1000` would stop after 8,000 examples, so an epoch is trained
    # instead. `freeze_modules: null` trains the vision tower too, which `--vision` does.
    "qwen3_vl": Recipe(learning_rate=1e-5, batch=8, max_tokens=40000, warmup=0.01),
    # Qwen guide: 4 examples on each GPU, 4 times, here on 8 GPUs; the language model alone. One epoch instead of the
    # guide's three, as all of the 8M scripts, and `max_tokens` as InternVL3's: the guide's 4,096 hold few images.
    "qwen2_5_vl": Recipe(
        learning_rate=2e-7, batch=128, max_tokens=16384, warmup=0.03, weight_decay=0.01, projector=False
    ),
    # 8M scripts: about 32,768 tokens on each of 8 GPUs. 50,000 steps there; here an epoch. The running mean of the
    # weights (0.9999) is left out.
    "bagel": Recipe(
        learning_rate=1e-6, batch=8, max_tokens=50000, warmup=2000, schedule="constant_with_warmup",
        betas=(0.9, 0.95), epsilon=1e-15, pack_tokens=32768,
    ),
}  # fmt: skip
"""The recipe of each family, by transformers' `model_type`."""
