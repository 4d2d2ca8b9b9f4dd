"""Write a trained model as a checkpoint directory with the family's standard files and a model card."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, get_args

from si_embodied.embodiment import TaskKind
from si_embodied.errors import RecordError, extra
from si_embodied.remedies import to_write
from si_embodied.runs import share_weights
from si_embodied.training.architecture import image_processor
from si_embodied.training.nano_settings import NANO_PROMPTS
from si_embodied.training.pictures import IMAGE_PX, SMALL_IMAGE_PX
from si_embodied.training.vocabulary import make_tokenizer

with extra("models"):
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import save_file

if TYPE_CHECKING:
    from pathlib import Path

    from si_embodied.config import Prompts


_ONE_VIEW = """It was trained on the tabletop tasks base, spatial and stack, and on the apartment task objectnav. It
sees one view and is told only its last attempt."""
_MANY_VIEWS = "It was trained on the tasks above, with the decisions of a teacher that knows the scene."


@dataclass(frozen=True, slots=True)
class Story:
    """How a checkpoint was made, for its model card."""

    images: dict[str, int]  # by world
    data_digest: str
    seed: int
    steps: int
    minutes: float
    held_out: dict[str, float] = field(default_factory=dict)
    prompts: Prompts = NANO_PROMPTS
    decisions: dict[str, int] = field(default_factory=dict)  # by task
    notes: str = ""  # scores in the worlds, and anything else worth knowing


def export(model: Any, directory: Path, story: Story) -> Path:
    """Write a checkpoint that transformers and our own backend load like any other of the family.

    Weights are written in float16 to halve the size; the dtype to run in is chosen on loading.

    Raises:
        RecordError: the directory cannot be written.
    """
    try:
        _write(model, directory, story)
    except (OSError, SafetensorError) as error:
        raise RecordError(
            f"cannot write the checkpoint to {directory} ({error}): {to_write(error)}; the training's state is kept, "
            "so --resume writes it"
        ) from error
    return directory


def _write(model: Any, directory: Path, story: Story) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    make_tokenizer().save_pretrained(str(directory))
    model.config.save_pretrained(str(directory))
    model.generation_config.save_pretrained(str(directory))
    weights = {
        name: tensor.detach().to(torch.float16).contiguous()
        for name, tensor in model.state_dict().items()
        if name != "lm_head.weight"  # tied to the embedding
    }
    save_file(weights, str(directory / "model.safetensors"), metadata={"format": "pt"})
    share_weights(directory)
    processor = image_processor(model.config.vision_config.patch_size)
    processor.save_pretrained(str(directory))
    _write_json(directory / "processor_config.json", {"processor_class": "Qwen3VLProcessor"})
    video = {
        "video_processor_type": "Qwen3VLVideoProcessor", "patch_size": processor.patch_size,
        "temporal_patch_size": 2, "merge_size": processor.merge_size, "size": dict(processor.size),
        "image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5],
    }  # fmt: skip
    _write_json(directory / "video_preprocessor_config.json", video)
    listed = "".join(f"  {kind}: {version}\n" for kind, version in _versions(story.prompts).items())
    (directory / "planner.yaml").write_text(
        f"# The prompts this checkpoint was trained with.\nprompts:\n{listed}", encoding="utf-8"
    )
    (directory / "README.md").write_text(card(model, story), encoding="utf-8")


def _versions(prompts: Prompts) -> dict[TaskKind, str]:
    """The prompts that are named, by kind of task."""
    kinds: tuple[TaskKind, ...] = get_args(TaskKind)
    return {kind: version for kind in kinds if (version := prompts.version(kind))}


def card(model: Any, story: Story) -> str:
    """The model card."""
    parameters = sum(parameter.numel() for parameter in model.parameters()) / 1e6
    images = ", ".join(f"{count:,} {world} images" for world, count in sorted(story.images.items()))
    decided = "".join(f"; {count:,} decisions of {task}" for task, count in sorted(story.decisions.items()))
    prompts = " and ".join(f"`{name}`" for name in _versions(story.prompts).values())
    limits = _MANY_VIEWS if story.decisions else _ONE_VIEW
    scores = "\n".join(f"| {name} | {value:.1%} |" for name, value in sorted(story.held_out.items()))
    return f"""---
license: apache-2.0
pipeline_tag: image-text-to-text
tags: [robotics, planning, qwen3_vl]
---
# si-nano

A planner with {parameters:.1f} million parameters in Qwen3-VL's architecture, trained from scratch on images of this
project's simulated worlds. It is **not** a SenseNova-SI model and knows nothing but these worlds.

- Input: images of {IMAGE_PX} or {SMALL_IMAGE_PX} px (others are resized) and an instruction in the worlds' own words;
  prompts {prompts} (`planner.yaml`). Output: a plan in the planner's JSON.
- Data: {images}{decided}, rendered from seeds below 80,000; held out: seeds 80,000 to 99,999; seeds
  of 100,000 and above were never used. Checksum of the data: `{story.data_digest}`. New instructions and plans are
  drawn each time an image is shown.
- Training: {story.steps:,} steps in {story.minutes:.0f} minutes. To repeat it from scratch:
  `si-embodied train nano --out DIR --seed {story.seed} --steps {story.steps}`.

## Held-out accuracy
`point …`: the pixel lies on the named object. `… words`: skills, names and `done`, given the correct preceding tokens.
`… points`: coordinates within 40 of 1000.

| kind | right |
| --- | --- |
{scores}

## In the worlds
{story.notes or "Not measured yet."}

## Limits
{limits} It knows only these objects and colours, and answers anything else with well-formed
nonsense.
"""


def _write_json(file: Path, value: dict[str, Any]) -> None:
    file.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")
