"""The results of a LoRA run: the adapter in peft's format, and a whole checkpoint with the update merged in."""

from __future__ import annotations

import json
import platform
import shutil
from dataclasses import asdict
from importlib import metadata
from typing import TYPE_CHECKING, Any

from si_embodied import __version__
from si_embodied.models.loading import no_progress_bars
from si_embodied.runs import write_json, write_text

if TYPE_CHECKING:
    from pathlib import Path

    from si_embodied.training.lora_settings import LoraOutcome, LoraSettings

_WEIGHTS = (".safetensors", ".safetensors.index.json", ".bin", ".bin.index.json", ".pt", ".pth", ".gguf")
_OWN = ("config.json", "README.md")  # not copied from the base into a merged checkpoint
_CARD = """\
---
{front}
---

# {name}, tuned with LoRA

{what}

| | |
| --- | --- |
| base | {name} ({family}) |
| data | {data}: {records} conversations, SHA-256 `{sha}` |
| steps | {steps} optimizer steps of {batch} conversations, seed {seed} |
| training loss | {first:.4f} at the first step, {last:.4f} at the last |
| run with | attention {kernel}, dtype {dtype}; {versions} |

The loss is that of single steps on the training data and says nothing about answers to new questions. Measure held-out
accuracy and episodes before you use this model. The limits and licences of the base and of the data apply.

```json
{config}
```
"""


def save_adapter(model: Any, folder: Path, settings: LoraSettings, outcome: LoraOutcome) -> None:
    """Write `adapter_config.json`, `adapter_model.safetensors` and a model card.

    Args:
        model: the peft model.
        folder: created if missing; an existing adapter is replaced.
        settings: the run's settings, for the card.
        outcome: the run's outcome, for the card.
    """
    model.save_pretrained(str(folder))
    front = "library_name: peft\npipeline_tag: image-text-to-text"
    what = (
        "A peft adapter: give it to `si-embodied` with its base (`--model BASE --adapter DIR`), or load the base, "
        f"then `peft.PeftModel.from_pretrained(model, {folder.name!r})`."
    )
    write_text(folder / "README.md", _card(settings, outcome, front, what))


def save_merged(model: Any, base: Path, folder: Path, settings: LoraSettings, outcome: LoraOutcome) -> None:
    """Merge the update into the weights and write a whole checkpoint, with the base's tokenizer and processor files.

    Afterwards, `model` is no longer a peft model.
    """
    merged = model.merge_and_unload()
    with no_progress_bars():
        merged.save_pretrained(str(folder))
    # The architecture is unchanged, so keep the base's config.json: the Trainer has modified the one in memory.
    dtype = json.loads((folder / "config.json").read_text(encoding="utf-8")).get("dtype")
    config = json.loads((base / "config.json").read_text(encoding="utf-8"))
    config.pop("torch_dtype", None)
    write_json(folder / "config.json", {**config, "dtype": dtype})
    for file in sorted(base.iterdir()):
        if file.is_file() and not file.name.endswith(_WEIGHTS) and file.name not in _OWN:
            shutil.copyfile(file, folder / file.name)
    front = "library_name: transformers\npipeline_tag: image-text-to-text"
    write_text(
        folder / "README.md", _card(settings, outcome, front, "A whole checkpoint: the base with the update merged in.")
    )


def _card(settings: LoraSettings, outcome: LoraOutcome, front: str, what: str) -> str:
    """The model card, without paths on this machine."""
    config = settings.config
    packages = [f"{name} {metadata.version(name)}" for name in ("torch", "transformers", "peft")]
    return _CARD.format(
        front=front,
        what=what,
        name=settings.model,
        family=settings.family,
        data=", ".join(settings.data),
        records=settings.records,
        sha=settings.data_sha256,
        steps=len(outcome.losses),
        batch=config.batch_size * config.accumulation,
        seed=config.seed,
        first=outcome.losses[0],
        last=outcome.losses[-1],
        kernel=outcome.kernel,
        dtype=outcome.dtype,
        versions=", ".join([f"si-embodied {__version__}", f"Python {platform.python_version()}", *packages]),
        config=json.dumps(asdict(config), indent=2),
    )
