"""Checks a checkpoint directory before anything heavy is imported or loaded.

Only safetensors weights are read, and code that comes with a checkpoint is never run.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from si_embodied.errors import CheckpointError, ConfigError
from si_embodied.models.conversion import convert_config, is_original

SUPPORTED = ("qwen3_vl", "qwen2_5_vl", "internvl")
"""`model_type`s that run locally; `families.FAMILIES` has one entry per type."""

_MAX_HEADER_BYTES = 100_000_000  # the safetensors format's own limit


def shipped_checkpoint() -> Path:
    """The small trained planner in the package: si-nano."""
    return Path(__file__).parent / "nano"


@dataclass(frozen=True, slots=True)
class CheckpointFiles:
    """A checkpoint directory that has every file needed for loading."""

    directory: Path
    model_type: str  # the family's, also for the original InternVL format
    original: bool  # InternVL's original format, converted on load
    weights: tuple[Path, ...]  # safetensors files
    size_bytes: int  # total size of the weights


def inspect_checkpoint(directory: str | Path) -> CheckpointFiles:
    """Check a Hugging Face model directory: its family, its tokenizer, and the integrity of every weight file.

    Raises:
        CheckpointError: the checkpoint cannot be loaded; the message gives the reason and the fix.
    """
    path = Path(directory).expanduser()
    if not path.exists():
        raise CheckpointError(
            f"no checkpoint at {path}: give the directory of a downloaded model, or create a tiny untrained one with "
            f"'si-embodied models tiny {path}'"
        )
    if not path.is_dir():
        raise CheckpointError(f"{path} is a file: give the directory that holds config.json and the weights")
    model_type, original = _model_type(path)
    _check_processors(path, original=original)
    weights = _weight_files(path)
    for file in weights:
        read_header(file)
    return CheckpointFiles(path, model_type, original, weights, sum(file.stat().st_size for file in weights))


def new_directory(directory: str | Path) -> Path:
    """The path of a directory to write a model into.

    Raises:
        ConfigError: something already exists there that is not an empty directory.
    """
    path = Path(directory).expanduser()
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise ConfigError(f"{path} exists and is not an empty directory: give a new directory")
    return path


def read_json(file: Path) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        CheckpointError: the file is unreadable, or not a JSON object.
    """
    try:
        value = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{file} cannot be read as JSON ({error}): download it again") from error
    if not isinstance(value, dict):
        raise CheckpointError(f"{file} is not a JSON object: download it again")
    return value


def _check_processors(path: Path, *, original: bool) -> None:
    """Check the files of tokenizer and image processor; an original InternVL needs fewer, its code builds the rest."""
    slow = original and all((path / name).is_file() for name in ("vocab.json", "merges.txt"))
    if not slow and not (path / "tokenizer.json").is_file():
        raise CheckpointError(
            f"{path} has no tokenizer.json{' and not both vocab.json and merges.txt' if original else ''}: "
            "also download the tokenizer files of this checkpoint"
        )
    named = ("preprocessor_config.json", "processor_config.json")
    if not original and not any((path / name).is_file() for name in named):
        raise CheckpointError(
            f"{path} has no preprocessor_config.json: also download the image processor files of this checkpoint"
        )


def _model_type(path: Path) -> tuple[str, bool]:
    """The model type in config.json, and whether it is InternVL's original format."""
    if not (path / "config.json").is_file():
        raise CheckpointError(f"{path} has no config.json: it is not a Hugging Face model directory")
    config = read_json(path / "config.json")
    model_type = str(config.get("model_type", ""))
    architectures = [str(name) for name in config.get("architectures") or []]
    if model_type in SUPPORTED:
        return model_type, False
    supported = f"Supported model types: {', '.join(SUPPORTED)}."
    if is_original(config):
        try:
            convert_config(config)
        except CheckpointError as error:
            raise CheckpointError(f"{path}: {error}") from error
        return "internvl", True
    if "bagel" in " ".join([model_type, *architectures]).lower() or (path / "llm_config.json").is_file():
        raise CheckpointError(
            f"{path} is a BAGEL checkpoint: transformers does not support it, so it runs only behind a server that "
            f"does (docs/models.md). {supported}"
        )
    raise CheckpointError(
        f"{path}: unsupported architecture: model_type {model_type or 'missing'!r}, "
        f"architectures {architectures}. {supported}"
    )


def _weight_files(path: Path) -> tuple[Path, ...]:
    """The safetensors files with the weights; all of them exist."""
    index = path / "model.safetensors.index.json"
    if (path / "model.safetensors").is_file():
        return (path / "model.safetensors",)
    if index.is_file():
        weight_map = read_json(index).get("weight_map")
        if not isinstance(weight_map, dict) or not weight_map:
            raise CheckpointError(f"{index} has no weight_map: download it again")
        names = sorted({str(name) for name in weight_map.values()})
        if outside := [name for name in names if Path(name).name != name]:
            raise CheckpointError(f"{index} names a file outside its directory: {outside[0]!r}; do not trust it")
        if missing := [name for name in names if not (path / name).is_file()]:
            raise CheckpointError(
                f"{path} lacks {len(missing)} of {len(names)} shards: {', '.join(missing[:4])}; download them again"
            )
        return tuple(path / name for name in names)
    pickled = sorted(file.name for pattern in ("*.bin", "*.pt", "*.pth") for file in path.glob(pattern))
    if pickled:
        raise CheckpointError(
            f"{path} has only pickled weights ({pickled[0]}), which are not loaded because unpickling can run code: "
            "get the checkpoint in safetensors format"
        )
    raise CheckpointError(f"{path} has no weights (model.safetensors or its shards): download them")


def read_header(file: Path) -> dict[str, tuple[int, ...]]:
    """The tensor shapes in a safetensors file, by tensor name.

    The header is checked against the file's size, which detects truncated downloads and Git LFS pointers.

    Raises:
        CheckpointError: the file is incomplete or corrupted.
    """
    size = file.stat().st_size
    with file.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        if size < 8 or length > min(_MAX_HEADER_BYTES, size - 8):
            raise CheckpointError(f"{file} is not a complete safetensors file ({size} bytes): download it again")
        try:
            header = json.loads(stream.read(length))
            entries = {name: entry for name, entry in header.items() if name != "__metadata__"}
            ends = [int(entry["data_offsets"][1]) for entry in entries.values()]
            shapes = {name: tuple(map(int, entry["shape"])) for name, entry in entries.items()}
        except (ValueError, AttributeError, KeyError, IndexError, TypeError) as error:
            raise CheckpointError(f"{file} has a corrupted header ({error}): download it again") from error
    if not ends or max(ends) != size - 8 - length:
        raise CheckpointError(
            f"{file} is corrupted: its header describes {max(ends, default=0)} bytes of tensors, but it has "
            f"{size - 8 - length}; download it again"
        )
    return shapes
