"""Reads checkpoints in InternVL's original format, and converts them to transformers' format on disk.

Tokenizer, image processor and chat template, which their own code builds at run time, are built here from their
settings and vocabulary. Their Python files are never read.
"""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

from si_embodied.errors import CheckpointError, RecordError, extra
from si_embodied.models.checkpoints import CheckpointFiles, inspect_checkpoint, new_directory, read_json
from si_embodied.models.conversion import convert_config, convert_weights

with extra("models"):
    from safetensors import SafetensorError, safe_open
    from safetensors.torch import save_file
    from transformers import GotOcr2ImageProcessorPil, InternVLConfig, Qwen2Tokenizer
    from transformers.utils import logging as transformers_logging

if TYPE_CHECKING:
    from collections.abc import Iterator

_LOG = logging.getLogger(__name__)

IMAGE_TOKEN = "<IMG_CONTEXT>"  # nosec B105  # a token of the vocabulary
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
{%- if part.type == 'image' -%}{{- '<IMG_CONTEXT>\\n' -}}{%- elif part.type == 'text' -%}{{- part.text -}}{%- endif -%}
{%- endfor -%}
{%- endif -%}
{{- '<|im_end|>\\n' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\\n' -}}{%- endif -%}
"""
"""The `internvl2_5` conversation; SYSTEM is its system message, which precedes the caller's own."""


def original_config(directory: Path) -> Any:
    """The transformers configuration of an original directory."""
    values = convert_config(read_json(directory / "config.json"))
    values["image_token_id"] = original_tokenizer(directory).convert_tokens_to_ids(IMAGE_TOKEN)
    return InternVLConfig(**values)


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


def original_weights(files: CheckpointFiles) -> dict[str, Any]:
    """All weights under their new names, memory-mapped from the files."""
    return convert_weights(stored_weights(files))


def stored_weights(files: CheckpointFiles) -> dict[str, Any]:
    """All weights under their own names, memory-mapped from the files."""
    return {name: tensor for shard in _shards(files) for name, tensor in shard.items()}


def convert_checkpoint(directory: str | Path, out: str | Path) -> Path:
    """Write an original InternVL checkpoint in transformers' own format, one shard at a time.

    Args:
        directory: the original checkpoint.
        out: a new or empty directory; loadable only once everything is written.

    Returns:
        The new directory.

    Raises:
        CheckpointError: not an original InternVL checkpoint, or one that cannot be converted.
        ConfigError: `out` is not empty.
        RecordError: `out` cannot be written.
    """
    files = inspect_checkpoint(directory)
    if not files.original:
        raise CheckpointError(f"{files.directory} is already in transformers' own format: nothing to convert")
    path = new_directory(out)
    config, tokenizer = original_config(files.directory), original_tokenizer(files.directory)
    system = json.dumps(config.system_message, ensure_ascii=False)
    tokenizer.chat_template = "{%- set SYSTEM = " + system + " -%}\n" + CHAT_TEMPLATE
    try:
        path.mkdir(parents=True, exist_ok=True)
        _write_weights(files, path)
        tokenizer.save_pretrained(path)
        original_image_processor(config).save_pretrained(path)
        if (generation := files.directory / "generation_config.json").is_file():
            (path / generation.name).write_bytes(generation.read_bytes())
        config.save_pretrained(path)  # last: a directory without config.json does not load
    except (OSError, SafetensorError) as error:
        raise RecordError(f"cannot write to {path} ({error}): free some space or give another directory") from error
    _LOG.info("converted %s to %s", files.directory, path)
    return path


def _shards(files: CheckpointFiles) -> Iterator[dict[str, Any]]:
    """The weights of each file."""
    for file in files.weights:
        with safe_open(str(file), framework="pt") as stream:
            yield {key: stream.get_tensor(key) for key in stream.keys()}  # noqa: SIM118


def _write_weights(files: CheckpointFiles, path: Path) -> None:
    """Write one file per original shard, and their index."""
    index: dict[str, str] = {}
    total = 0
    for number, weights in enumerate(map(convert_weights, _shards(files)), start=1):
        name = f"model-{number:05d}-of-{len(files.weights):05d}.safetensors"
        # The parts of a split weight share memory, which safetensors refuses to write.
        save_file({key: tensor.clone() for key, tensor in weights.items()}, path / name, metadata={"format": "pt"})
        index |= dict.fromkeys(weights, name)
        total += sum(tensor.nbytes for tensor in weights.values())
    text = json.dumps({"metadata": {"total_size": total}, "weight_map": index}, indent=2) + "\n"
    (path / "model.safetensors.index.json").write_text(text, encoding="utf-8")
