"""Checkpoint directories: what is wrong with one, found before anything heavy is imported or loaded.

Only safetensors weights are read, and no code that comes with a checkpoint is ever run.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from si_embodied.errors import CheckpointError

SUPPORTED = ("qwen3_vl", "qwen2_5_vl", "internvl")
"""`model_type`s that run locally; `families.FAMILIES` has one entry for each."""

_MAX_HEADER_BYTES = 100_000_000  # the safetensors format's own limit


def shipped_checkpoint() -> Path:
    """The small trained planner that comes with the package: si-nano."""
    return Path(__file__).parent / "nano"


@dataclass(frozen=True, slots=True)
class CheckpointFiles:
    """A directory that was looked through and has what loading needs."""

    directory: Path
    model_type: str
    weights: tuple[Path, ...]  # safetensors
    size_bytes: int  # of the weights


def inspect_checkpoint(directory: str | Path) -> CheckpointFiles:
    """Look through a Hugging Face model directory: its family, its tokenizer, and every weight file's integrity.

    Raises:
        CheckpointError: it cannot be loaded, with what is wrong and the fix.
    """
    path = Path(directory).expanduser()
    if not path.exists():
        raise CheckpointError(
            f"no checkpoint at {path}: give the directory of a downloaded model, or make a tiny untrained one with "
            f"'si-embodied models tiny {path}'"
        )
    if not path.is_dir():
        raise CheckpointError(f"{path} is a file: give the directory that holds config.json and the weights")
    model_type = _model_type(path)
    if not (path / "tokenizer.json").is_file():
        raise CheckpointError(
            f"{path} has no tokenizer.json: download the tokenizer's files of the same checkpoint too"
        )
    if not any((path / name).is_file() for name in ("preprocessor_config.json", "processor_config.json")):
        raise CheckpointError(
            f"{path} has no preprocessor_config.json: download the image processor's files of the same checkpoint too"
        )
    weights = _weight_files(path)
    for file in weights:
        _check_safetensors(file)
    return CheckpointFiles(path, model_type, weights, sum(file.stat().st_size for file in weights))


def _read_json(file: Path) -> dict[str, Any]:
    """A JSON object from a file."""
    try:
        value = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{file} cannot be read as JSON ({error}): download it again") from error
    if not isinstance(value, dict):
        raise CheckpointError(f"{file} is not a JSON object: download it again")
    return value


def _model_type(path: Path) -> str:
    """The family in config.json, if it is one that runs here."""
    if not (path / "config.json").is_file():
        raise CheckpointError(f"{path} has no config.json: it is not a Hugging Face model directory")
    config = _read_json(path / "config.json")
    model_type = str(config.get("model_type", ""))
    architectures = [str(name) for name in config.get("architectures") or []]
    if model_type in SUPPORTED:
        return model_type
    supported = f"Supported model types: {', '.join(SUPPORTED)}."
    if model_type == "internvl_chat" or "InternVLChatModel" in architectures:
        raise CheckpointError(
            f"{path} is an InternVL checkpoint in its original format (InternVLChatModel), which needs remote code. "
            "Converting it to transformers' own 'internvl' format will be a command of its own in a later version; "
            f"until then use a checkpoint that is already converted (often named '-hf'). {supported}"
        )
    if "bagel" in " ".join([model_type, *architectures]).lower() or (path / "llm_config.json").is_file():
        raise CheckpointError(
            f"{path} is a BAGEL checkpoint: it is not in transformers and runs only behind a server that supports it. "
            f"{supported}"
        )
    raise CheckpointError(
        f"{path} is of an architecture that does not run here: model_type {model_type or 'missing'!r}, "
        f"architectures {architectures}. {supported}"
    )


def _weight_files(path: Path) -> tuple[Path, ...]:
    """The safetensors files that hold the weights, all of them there."""
    index = path / "model.safetensors.index.json"
    if (path / "model.safetensors").is_file():
        return (path / "model.safetensors",)
    if index.is_file():
        weight_map = _read_json(index).get("weight_map")
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
            f"{path} has pickled weights only ({pickled[0]}), which can run code when read and are refused: "
            "get the checkpoint in safetensors"
        )
    raise CheckpointError(f"{path} has no weights (model.safetensors or its shards): download them")


def _check_safetensors(file: Path) -> None:
    """Compare a file's header with its length, which finds truncated downloads and Git LFS pointers."""
    size = file.stat().st_size
    with file.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        if size < 8 or length > min(_MAX_HEADER_BYTES, size - 8):
            raise CheckpointError(f"{file} is not a complete safetensors file ({size} bytes): download it again")
        try:
            header = json.loads(stream.read(length))
            ends = [entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"]
        except (ValueError, AttributeError, KeyError, IndexError, TypeError) as error:
            raise CheckpointError(f"{file} has a corrupted header ({error}): download it again") from error
    if not ends or max(ends) != size - 8 - length:
        raise CheckpointError(
            f"{file} is corrupted: its header tells of {max(ends, default=0)} bytes of tensors, "
            f"it has {size - 8 - length}; download it again"
        )
