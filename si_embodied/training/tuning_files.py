"""The results of a tuning run: an adapter in peft's format, or a whole checkpoint."""

from __future__ import annotations

import json
import platform
import shutil
from dataclasses import asdict
from importlib import metadata
from typing import TYPE_CHECKING, Any

from si_embodied import __version__
from si_embodied.models.loading import no_progress_bars
from si_embodied.runs import share_weights, write_json, write_text

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import torch

    from si_embodied.training.tuning_settings import TuningOutcome, TuningSettings

_WEIGHTS = (".safetensors", ".safetensors.index.json", ".bin", ".bin.index.json", ".pt", ".pth", ".gguf")
_OWN = ("config.json", "README.md")  # not copied from the base into a merged checkpoint
_CARD = """\
---
library_name: {library}
pipeline_tag: image-text-to-text
---

# {name}, {how}

{what}

| | |
| --- | --- |
| base | {name} ({family}) |
| data | {data}: {records} conversations, SHA-256 `{sha}` |
| steps | {steps} optimizer steps of {batch}, seed {seed} |
| training loss | {first:.4f} at the first step, {last:.4f} at the last |
| run with | attention {kernel}, dtype {dtype}; {versions} |

The loss is that of single steps on the training data and says nothing about answers to new questions. Measure held-out
accuracy and episodes before you use this model. The limits and licences of the base and of the data apply.

```json
{config}
```
"""


def save_adapter(model: Any, folder: Path, card: str) -> None:
    """Write `adapter_config.json`, `adapter_model.safetensors` and a model card.

    Args:
        model: the peft model.
        folder: created if missing; an existing adapter is replaced.
        card: from `model_card`.
    """
    model.save_pretrained(str(folder))
    share_weights(folder)
    write_text(folder / "README.md", card)


def save_whole(
    model: Any, base: Path, folder: Path, card: str, state: Mapping[str, torch.Tensor] | None = None
) -> None:
    """Write a whole checkpoint, with the base's tokenizer and processor files.

    Args:
        model: the network.
        base: the directory of the checkpoint that it was trained from.
        folder: created if missing.
        card: from `model_card`.
        state: the weights, if the model does not hold them whole.
    """
    with no_progress_bars():
        model.save_pretrained(str(folder), state_dict=state)
    config = json.loads((base / "config.json").read_text(encoding="utf-8"))
    # The architecture is unchanged, so keep the base's config.json: the Trainer has modified the one in memory.
    dtype = str(next(iter(state.values())).dtype).removeprefix("torch.") if state else str(model.dtype)
    config.pop("torch_dtype", None)
    write_json(folder / "config.json", {**config, "dtype": dtype.removeprefix("torch.")})
    for file in sorted(base.iterdir()):
        if file.is_file() and not file.name.endswith(_WEIGHTS) and file.name not in _OWN:
            shutil.copyfile(file, folder / file.name)
    share_weights(folder)
    write_text(folder / "README.md", card)


def model_card(
    settings: TuningSettings, outcome: TuningOutcome, *, how: str, what: str, batch: str, library: str = "transformers"
) -> str:
    """The model card, without paths on this machine.

    Args:
        settings: what the run was asked to do.
        outcome: what came of it.
        how: "tuned with LoRA".
        what: what the files are and how to open them.
        batch: what a step trains on: "8 conversations".
        library: that opens the files.
    """
    packages = [f"{name} {metadata.version(name)}" for name in ("torch", "transformers", "peft")]
    return _CARD.format(
        library=library,
        how=how,
        what=what,
        name=settings.model,
        family=settings.family,
        data=", ".join(settings.data),
        records=settings.records,
        sha=settings.data_sha256,
        steps=len(outcome.losses),
        batch=batch,
        seed=settings.config.seed,
        first=outcome.losses[0],
        last=outcome.losses[-1],
        kernel=outcome.kernel,
        dtype=outcome.dtype,
        versions=", ".join([f"si-embodied {__version__}", f"Python {platform.python_version()}", *packages]),
        config=json.dumps(asdict(settings.config), indent=2),
    )
