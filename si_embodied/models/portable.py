"""Writes checkpoints in the form of the released ones, which transformers 4.57 and 5 and the servers on them read.

transformers 5 writes some settings under new names. 4.57 rejects some of them (the tokenizer's) and ignores others
without a word: with another rotary base, every answer is wrong. Both versions read the names of 4.57, and so do vLLM
and TensorRT-Edge-LLM, which read the weights under the names of the released `InternVL3-…-hf` checkpoints.
"""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from si_embodied.errors import CheckpointError, extra
from si_embodied.models.checkpoints import CheckpointFiles, inspect_checkpoint, new_directory, read_json, written_whole
from si_embodied.models.original import (
    IMAGE_TOKEN,
    IMAGENET_MEAN,
    IMAGENET_STD,
    original_format,
    original_tokenizer,
    stored_shards,
)
from si_embodied.runs import share_weights, write_json

with extra("models"):
    from safetensors.torch import save_file

    from si_embodied.models.loading import check_processors

_LOG = logging.getLogger(__name__)

_CONFIG, _TOKENIZER, _IMAGES = "config.json", "tokenizer_config.json", "preprocessor_config.json"
_VIDEOS, _PROCESSOR = "video_preprocessor_config.json", "processor_config.json"
_GENERATION = "generation_config.json"
_PARTS = {"image_processor": _IMAGES, "video_processor": _VIDEOS}
"""Parts of the processor: transformers 5 may keep them in processor_config.json, 4.57 reads a file for each."""
_END_TOKEN = "<|im_end|>"  # nosec B105  # a token of the vocabulary
_INTERNVL_TOKENS = {
    "start_image_token": "<img>",  # nosec B105  # tokens of the vocabulary
    "end_image_token": "</img>",  # nosec B105
    "context_image_token": IMAGE_TOKEN,
    "video_token": "<video>",  # nosec B105
}
"""Tokens that transformers' InternVLProcessor asks the tokenizer for by name."""
_RUNTIME = ("backend", "is_local", "local_files_only")  # what transformers 5 remembers of how it loaded a tokenizer
_PLAIN_TOKENIZER = {"TokenizersBackend": "PreTrainedTokenizerFast"}  # its names in transformers 5 and 4.57


def convert_checkpoint(directory: str | Path, out: str | Path) -> Path:
    """Write a checkpoint so that transformers 4.57 and 5 load the same model from one directory.

    An original InternVL checkpoint is converted to transformers' `internvl`, one shard at a time. A checkpoint in the
    form of transformers 5 is copied, with its settings under the names that 4.57 knows too. An original BAGEL
    checkpoint is written with its understanding branch alone, which only this package loads.

    Args:
        directory: the checkpoint.
        out: a new or empty directory; loadable only once everything is written.

    Returns:
        The new directory.

    Raises:
        CheckpointError: both versions read the checkpoint as it is, or it cannot be converted.
        ConfigError: `out` is not empty.
        RecordError: `out` cannot be written.
    """
    files = inspect_checkpoint(directory)
    if not files.original and not _is_new(files.directory):
        raise CheckpointError(
            f"{files.directory} is already in transformers' own format, which its versions 4.57 and 5 both read: "
            "nothing to convert"
        )
    path = new_directory(out)
    if not files.original:  # its files are copied as they are
        check_processors(files)
    with written_whole(path):
        config = _convert(files, path) if files.original else _copy(files, path)
        _rename_settings(path, config)
        write_json(path / _CONFIG, portable_config(config))  # last: a directory without config.json does not load
        share_weights(path)
    _LOG.info("converted %s to %s", files.directory, path)
    return path


def portable_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """A config.json with rotary settings, tied embeddings and dtype as transformers 4.57 and 5 both read them."""
    values = dict(config)
    if isinstance(text := values.get("text_config"), Mapping):
        values["text_config"] = text = _older_rope(text)
        if "tie_word_embeddings" in values:  # 4.57 reads it inside
            text["tie_word_embeddings"] = values["tie_word_embeddings"]
    if dtype := values.get("dtype"):
        values["torch_dtype"] = dtype
    return values


def portable_tokenizer_config(config: Mapping[str, Any], named: Mapping[str, str]) -> dict[str, Any]:
    """A tokenizer_config.json with the special tokens as transformers 4.57 and 5 both read them.

    Args:
        config: as either version wrote it.
        named: tokens that the processor asks for, by name.
    """
    values = {key: value for key, value in config.items() if key not in _RUNTIME}
    if isinstance(listed := values.get("extra_special_tokens"), list):
        values["additional_special_tokens"] = listed
        values["extra_special_tokens"] = {}
    values["extra_special_tokens"] = {**values.get("extra_special_tokens", {}), **named}
    name = str(values.get("tokenizer_class", ""))
    return {**values, "tokenizer_class": _PLAIN_TOKENIZER.get(name, name)}


def _is_new(directory: Path) -> bool:
    """Whether transformers 4.57 would misread a checkpoint that transformers 5 wrote."""
    config, tokenizer = read_json(directory / _CONFIG), _read(directory / _TOKENIZER)
    text, processor = config.get("text_config"), _read(directory / _PROCESSOR)
    return config.get("model_type") != "bagel" and (
        (isinstance(text, Mapping) and "rope_parameters" in text)
        or isinstance(tokenizer.get("extra_special_tokens"), list)
        or any(key in processor for key in _PARTS)
    )


def _older_rope(text: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a language model with `rope_theta` and `rope_scaling` instead of `rope_parameters`."""
    values = dict(text)
    if not isinstance(found := values.pop("rope_parameters", None), Mapping):
        return values
    if "rope_theta" not in found:
        raise CheckpointError("config.json lacks text_config.rope_parameters.rope_theta: download it again")
    parameters = dict(found)
    values["rope_theta"] = parameters.pop("rope_theta")
    kinds = [parameters.pop(key, None) for key in ("rope_type", "type")]
    kind = kinds[0] or kinds[1] or "default"
    plain = kind == "default" and not parameters
    values["rope_scaling"] = None if plain else {**parameters, "rope_type": kind, "type": kind}
    return values


def _convert(files: CheckpointFiles, path: Path) -> dict[str, Any]:
    """Write what an original checkpoint becomes, all but its configuration, which is returned."""
    how, tokenizer = original_format(files), original_tokenizer(files.directory)
    config = how.config(files.directory)
    tokenizer.chat_template = how.chat_template(config) if how.chat_template else None
    _write_weights(files, path)
    tokenizer.save_pretrained(path)
    how.image_processor(config).save_pretrained(path)
    if (generation := files.directory / _GENERATION).is_file():
        shutil.copyfile(generation, path / _GENERATION)
    else:
        ends = {"eos_token_id": tokenizer.convert_tokens_to_ids(_END_TOKEN), "pad_token_id": tokenizer.pad_token_id}
        write_json(path / _GENERATION, ends)
    values: dict[str, Any] = json.loads(config.to_json_string())
    return values


def _copy(files: CheckpointFiles, path: Path) -> dict[str, Any]:
    """Copy a checkpoint in transformers' own format, all but its configuration, which is returned."""
    for file in sorted(files.directory.iterdir()):
        if file.is_file() and file.name != _CONFIG:
            shutil.copyfile(file, path / file.name)
    return read_json(files.directory / _CONFIG)


def _rename_settings(path: Path, config: Mapping[str, Any]) -> None:
    """Rewrite the settings of tokenizer and processors; InternVL gets the files that its processor asks for."""
    processor = _read(path / _PROCESSOR)
    for key, file in _PARTS.items():
        if isinstance(part := processor.pop(key, None), Mapping):
            write_json(path / file, part)
            write_json(path / _PROCESSOR, processor)
    internvl = config["model_type"] == "internvl"
    named = _INTERNVL_TOKENS if internvl else {}
    write_json(path / _TOKENIZER, portable_tokenizer_config(_read(path / _TOKENIZER), named))
    if not internvl:
        return
    name = {"processor_class": "InternVLProcessor"}
    # vLLM accepts only the processor of this name.
    images = {**_read(path / _IMAGES), **name, "image_processor_type": "GotOcr2ImageProcessorFast"}
    write_json(path / _IMAGES, images)
    write_json(path / _PROCESSOR, {**processor, **name, "image_seq_length": config.get("image_seq_length", 256)})
    video = {
        **name,
        "video_processor_type": "InternVLVideoProcessor",
        "size": images["size"],
        "image_mean": list(IMAGENET_MEAN),
        "image_std": list(IMAGENET_STD),
    }
    write_json(path / _VIDEOS, video)


def _read(file: Path) -> dict[str, Any]:
    """A JSON object; empty if there is no such file."""
    return read_json(file) if file.is_file() else {}


def _write_weights(files: CheckpointFiles, path: Path) -> None:
    """Write one file per original shard, and their index."""
    index: dict[str, str] = {}
    total = 0
    for number, weights in enumerate(stored_shards(files), start=1):
        name = f"model-{number:05d}-of-{len(files.weights):05d}.safetensors"
        # The parts of a split weight share memory, which safetensors refuses to write.
        save_file({key: tensor.clone() for key, tensor in weights.items()}, path / name, metadata={"format": "pt"})
        index |= dict.fromkeys(weights, name)
        total += sum(tensor.nbytes for tensor in weights.values())
    write_json(path / "model.safetensors.index.json", {"metadata": {"total_size": total}, "weight_map": index})
