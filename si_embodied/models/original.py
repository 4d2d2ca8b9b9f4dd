"""Reads checkpoints in InternVL's or BAGEL's original format.

Tokenizer, image processor and chat template, which their own code builds at run time, are built here from their
settings and vocabulary. Their Python files are never read, nor are weights that the network here does not have.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from si_embodied.errors import CheckpointError, extra
from si_embodied.models.bagel import config as bagel
from si_embodied.models.bagel.images import BagelImageProcessor
from si_embodied.models.checkpoints import LLM_CONFIG, VIT_CONFIG, CheckpointFiles, read_json
from si_embodied.models.conversion import convert_config, convert_keys

with extra("models"):
    from safetensors import safe_open
    from transformers import GotOcr2ImageProcessorPil, InternVLConfig, Qwen2Tokenizer
    from transformers.utils import logging as transformers_logging

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

IMAGE_TOKEN, BAGEL_IMAGE_TOKEN = "<IMG_CONTEXT>", "<|image_pad|>"  # nosec B105  # tokens of the vocabulary
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # InternVL's `build_transform`
_MAX_TILES = 12  # per image, by default; InternVL3's `max_dynamic_patch`

CHAT_TEMPLATE = """\
{%- if messages[0].role != 'system' and SYSTEM -%}
{{- '<|im_start|>system\\n' + SYSTEM + '<|im_end|>\\n' -}}
{%- endif -%}
{%- for message in messages -%}
{{- '<|im_start|>' + message.role + '\\n' -}}
{%- if loop.first and message.role == 'system' and SYSTEM -%}{{- SYSTEM + '\\n' -}}{%- endif -%}
{%- if message.content is string -%}
{{- message.content -}}
{%- else -%}
{%- for part in message.content -%}
{%- if part.type == 'image' -%}{{- '<IMG_CONTEXT>\\n' -}}{%- elif part.type == 'video' -%}{{- '<video>\\n' -}}
{%- elif part.type == 'text' -%}{{- part.text -}}{%- endif -%}
{%- endfor -%}
{%- endif -%}
{{- '<|im_end|>\\n' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\\n' -}}{%- endif -%}
"""
"""The `internvl2_5` conversation; SYSTEM is its system message, which precedes the caller's own."""


@dataclass(frozen=True, slots=True)
class OriginalFormat:
    """How a checkpoint in an original format is read."""

    config: Callable[[Path], Any]  # its directory's transformers configuration
    image_processor: Callable[[Any], Any]  # by the configuration
    new_names: Callable[[str], tuple[str, ...]]  # a weight's: several if it is split, none if it is not read
    chat_template: Callable[[Any], str] | None = None  # by the configuration; none: it has no roles


def original_format(files: CheckpointFiles) -> OriginalFormat:
    """The format of a checkpoint that is in an original one."""
    return _FORMATS[files.model_type]


def original_config(directory: Path) -> Any:
    """The transformers configuration of an original InternVL directory."""
    values = convert_config(read_json(directory / "config.json"))
    values["image_token_id"] = original_tokenizer(directory).convert_tokens_to_ids(IMAGE_TOKEN)
    return InternVLConfig(**values)


def original_bagel_config(directory: Path) -> bagel.BagelConfig:
    """The configuration of an original BAGEL directory; its config.json may be missing."""
    own = read_json(directory / "config.json") if (directory / "config.json").is_file() else {}
    values = bagel.convert_config(own, read_json(directory / LLM_CONFIG), read_json(directory / VIT_CONFIG))
    values["image_token_id"] = original_tokenizer(directory).convert_tokens_to_ids(BAGEL_IMAGE_TOKEN)
    return bagel.BagelConfig(**values)


def original_tokenizer(directory: Path) -> Any:
    """The fast tokenizer of an original directory, built from vocab.json and merges.txt if it has no tokenizer.json.

    Raises:
        CheckpointError: an added token's id differs from added_tokens.json, so it would get another token's embedding.
    """
    level = transformers_logging.get_verbosity()
    transformers_logging.set_verbosity_error()
    try:
        tokenizer = Qwen2Tokenizer.from_pretrained(str(directory), local_files_only=True)
    finally:
        transformers_logging.set_verbosity(level)
    added = directory / "added_tokens.json"
    for token, number in (read_json(added) if added.is_file() else {}).items():
        if tokenizer.convert_tokens_to_ids(token) != number:
            raise CheckpointError(
                f"{directory}: the token {token!r} has id {tokenizer.convert_tokens_to_ids(token)}, but "
                f"added_tokens.json says {number}; use the tokenizer files of one checkpoint"
            )
    return tokenizer


def original_image_processor(config: Any) -> Any:
    """An image processor with the vision tower's tile size and ImageNet normalisation."""
    height, width = config.vision_config.image_size
    return GotOcr2ImageProcessorPil(
        size={"height": height, "width": width},
        image_mean=list(IMAGENET_MEAN),
        image_std=list(IMAGENET_STD),
        crop_to_patches=True,
        min_patches=1,
        max_patches=_MAX_TILES,
    )


def original_chat_template(config: Any) -> str:
    """InternVL's chat template, with the checkpoint's system message."""
    system = json.dumps(config.system_message, ensure_ascii=False)
    return "{%- set SYSTEM = " + system + " -%}\n" + CHAT_TEMPLATE


_FORMATS: Mapping[str, OriginalFormat] = {
    "internvl": OriginalFormat(original_config, original_image_processor, convert_keys, original_chat_template),
    "bagel": OriginalFormat(original_bagel_config, BagelImageProcessor.from_config, bagel.convert_keys),
}
"""By the family's `model_type`."""


def new_names(files: CheckpointFiles) -> Callable[[str], tuple[str, ...]]:
    """Maps the name of a stored weight to its names in the network; none if it is not read."""
    return original_format(files).new_names if files.original else lambda name: (name,)


def stored_weights(files: CheckpointFiles) -> dict[str, Any]:
    """All weights under their names in the network, memory-mapped from the files."""
    return {name: tensor for shard in stored_shards(files) for name, tensor in shard.items()}


def stored_shards(files: CheckpointFiles) -> Iterator[dict[str, Any]]:
    """The weights of each file under their names in the network."""
    renamed = new_names(files)
    for file in files.weights:
        shard: dict[str, Any] = {}
        with safe_open(str(file), framework="pt") as stream:
            for key in stream.keys():  # noqa: SIM118
                if names := renamed(key):
                    tensor = stream.get_tensor(key)
                    parts = tensor.chunk(len(names)) if len(names) > 1 else (tensor,)
                    shard.update(zip(names, parts, strict=True))
        yield shard
