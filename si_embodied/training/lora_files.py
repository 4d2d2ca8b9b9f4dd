"""What a LoRA run leaves: the adapter in peft's format, and the whole checkpoint with it added in."""

from __future__ import annotations

import json
import platform
import shutil
from importlib import metadata
from typing import TYPE_CHECKING, Any

from si_embodied import __version__
from si_embodied.models.loading import no_progress_bars
from si_embodied.runs import write_json, write_text

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_WEIGHTS = (".safetensors", ".safetensors.index.json", ".bin", ".bin.index.json", ".pt", ".pth", ".gguf")
_OWN = ("config.json", "README.md")  # what a merged checkpoint has of its own
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
| run on | attention {kernel}, dtype {dtype}; {versions} |

The loss is that of single steps on the training data: it says nothing about answers to new questions. Measure held-out
accuracy and episodes before you use this. Limits and licence are those of the base and of the data.

```json
{config}
```
"""


def save_adapter(model: Any, folder: Path, run: Mapping[str, Any]) -> None:
    """Write `adapter_config.json`, `adapter_model.safetensors` and a model card.

    Args:
        model: the peft model.
        folder: is created; an adapter that is there is replaced.
        run: what was asked for and what came of it, for the card.
    """
    model.save_pretrained(str(folder))
    front = "library_name: peft\npipeline_tag: image-text-to-text"
    what = f"A peft adapter: load the base, then `peft.PeftModel.from_pretrained(model, {folder.name!r})`."
    write_text(folder / "README.md", _card(run, front, what))


def save_merged(model: Any, base: Path, folder: Path, run: Mapping[str, Any]) -> None:
    """Add the update to the weights and write a whole checkpoint, with the base's tokenizer and processor files.

    The model is not a peft model any more afterwards.
    """
    merged = model.merge_and_unload()
    with no_progress_bars():
        merged.save_pretrained(str(folder))
    # The architecture is the base's, so its config.json is too; the Trainer changes settings in the one in memory.
    dtype = json.loads((folder / "config.json").read_text(encoding="utf-8")).get("dtype")
    config = json.loads((base / "config.json").read_text(encoding="utf-8"))
    config.pop("torch_dtype", None)
    write_json(folder / "config.json", {**config, "dtype": dtype})
    for file in sorted(base.iterdir()):
        if file.is_file() and not file.name.endswith(_WEIGHTS) and file.name not in _OWN:
            shutil.copyfile(file, folder / file.name)
    front = "library_name: transformers\npipeline_tag: image-text-to-text"
    write_text(folder / "README.md", _card(run, front, "A whole checkpoint: the base with the update added in."))


def _card(run: Mapping[str, Any], front: str, what: str) -> str:
    """The model card, without paths of the machine."""
    config = run["config"]
    packages = [f"{name} {metadata.version(name)}" for name in ("torch", "transformers", "peft")]
    return _CARD.format(
        front=front,
        what=what,
        name=run["model"],
        family=run["family"],
        data=", ".join(run["data"]),
        records=run["records"],
        sha=run["data_sha256"],
        steps=run["steps"],
        batch=config["batch_size"] * config["accumulation"],
        seed=config["seed"],
        first=run["losses"][0],
        last=run["losses"][-1],
        kernel=run["kernel"],
        dtype=run["dtype"],
        versions=", ".join([f"si-embodied {__version__}", f"Python {platform.python_version()}", *packages]),
        config=json.dumps(config, indent=2),
    )
