"""Checks a checkpoint directory before anything heavy is imported or loaded.

Only safetensors weights are read, and code that comes with a checkpoint is never run.
"""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from si_embodied.errors import CheckpointError, ConfigError, RecordError
from si_embodied.models.conversion import convert_config, is_original
from si_embodied.models.footprint import STORED_BITS, StoredTensor
from si_embodied.models.quantized import Quantization, read_quantization
from si_embodied.remedies import to_write

SUPPORTED = ("qwen3_vl", "qwen2_5_vl", "internvl", "bagel")
"""`model_type`s that run locally; `families.FAMILIES` has one entry per type."""

ADAPTER_CONFIG = "adapter_config.json"
"""peft's file in the directory of a LoRA adapter."""

LLM_CONFIG, VIT_CONFIG = "llm_config.json", "vit_config.json"
"""Files that only an original BAGEL checkpoint has: the settings of its language model and its vision tower."""

_BAGEL_WEIGHTS = "ema.safetensors"  # in the original BAGEL; SenseNova-SI's is called model.safetensors
_MAX_HEADER_BYTES = 100_000_000  # the safetensors format's own limit
_MAX_DIMENSIONS = 16


def shipped_checkpoint() -> Path:
    """The small trained planner in the package: si-nano."""
    return Path(__file__).parent / "nano"


@dataclass(frozen=True, slots=True)
class CheckpointFiles:
    """A checkpoint directory that has every file needed for loading."""

    directory: Path
    model_type: str  # the family's, also for an original format
    original: bool  # InternVL's or BAGEL's original format, converted on load
    weights: tuple[Path, ...]  # safetensors files
    size_bytes: int  # total size of the weights
    quantization: Quantization = Quantization()  # of weights that are stored quantized
    has_adapter: bool = False  # whether a LoRA adapter lies beside the weights; it is applied only when asked for


def inspect_checkpoint(directory: str | Path) -> CheckpointFiles:
    """Check a Hugging Face model directory: its family, its tokenizer, and the integrity of every weight file.

    Raises:
        CheckpointError: the checkpoint cannot be loaded; the message gives the reason and the fix.
    """
    try:
        path = Path(directory).expanduser()
        return _inspect(path)
    except (OSError, RuntimeError) as error:  # RuntimeError: no such user in "~user"
        raise unreadable(directory, error) from error


def unreadable(path: str | Path, error: Exception) -> CheckpointError:
    """The error for a model that the operating system does not let this process read."""
    return CheckpointError(
        f"{path} cannot be read ({getattr(error, 'strerror', None) or error}): check the path and its permissions "
        "(chmod -R u+rX)"
    )


def _inspect(path: Path) -> CheckpointFiles:
    if not path.exists():
        raise CheckpointError(
            f"no checkpoint at {path}: give the directory of a downloaded model, or create a tiny untrained one with "
            f"'si-embodied models tiny {path}'"
        )
    if not path.is_dir():
        if path.suffix == ".gguf":
            raise _gguf(path)
        raise CheckpointError(f"{path} is a file: give the directory that holds config.json and the weights")
    named = ("model.safetensors", "model.safetensors.index.json", _BAGEL_WEIGHTS)
    has_weights = any((path / name).is_file() for name in named)
    has_adapter = (path / ADAPTER_CONFIG).is_file()
    if has_adapter and not (has_weights and (path / "config.json").is_file()):
        base = read_json(path / ADAPTER_CONFIG).get("base_model_name_or_path")
        raise CheckpointError(
            f"{path} is a LoRA adapter without the weights of its base model, {base!r}: give the base as the model and "
            "this directory as the adapter, or merge the two (train with --merge) and give the merged directory"
        )
    if not has_weights and (gguf := next(iter(sorted(path.glob("*.gguf"))), None)):
        raise _gguf(gguf)
    config = _read_config(path)
    model_type, original = _model_type(path, config)
    quantization = read_quantization(path, config, original=original)
    _check_processors(path, original=original)
    weights = _weight_files(path, (_BAGEL_WEIGHTS, "model.safetensors") if _is_bagel(path) else ("model.safetensors",))
    for file in weights:
        read_header(file)
    size_bytes = sum(file.stat().st_size for file in weights)
    return CheckpointFiles(path, model_type, original, weights, size_bytes, quantization, has_adapter)


def _gguf(file: Path) -> CheckpointError:
    return CheckpointError(
        f"{file} is in GGUF format, which is not loaded here: get the checkpoint in safetensors format, or serve this "
        "one with llama.cpp and give its address (--server URL --model NAME)"
    )


def new_directory(directory: str | Path) -> Path:
    """The path of a directory to write a model into.

    Raises:
        ConfigError: something already exists there that is not an empty directory.
    """
    path = Path(directory).expanduser()
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise ConfigError(f"{path} exists and is not an empty directory: give a new directory")
    return path


@contextmanager
def written_whole(path: Path) -> Iterator[None]:
    """Write a model into a new directory in the block; if that fails, it is removed, and the next try finds it new.

    Raises:
        RecordError: the directory cannot be written.
    """
    from safetensors import SafetensorError  # its own error also for a full disk

    try:
        path.mkdir(parents=True, exist_ok=True)
        yield
    except (OSError, SafetensorError) as error:
        shutil.rmtree(path, ignore_errors=True)
        raise RecordError(f"cannot write to {path} ({error}): {to_write(error)}") from error
    except BaseException:
        shutil.rmtree(path, ignore_errors=True)
        raise


def read_json(file: Path) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        CheckpointError: the file is unreadable, or not a JSON object.
    """
    try:
        value = json.loads(file.read_text(encoding="utf-8"), parse_constant=_finite, parse_float=_finite)
    except OSError as error:
        raise unreadable(file, error) from error
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{file} cannot be read as JSON ({error}): download it again") from error
    if not isinstance(value, dict):
        raise CheckpointError(f"{file} is not a JSON object: download it again")
    return value


def _finite(text: str) -> float:
    """Refuse NaN and infinity, also as 1e999: JSON has no such numbers, and a model computes nothing with them."""
    if not math.isfinite(number := float(text)):
        raise ValueError(f"{text} is not a finite number")
    return number


def _check_processors(path: Path, *, original: bool) -> None:
    """Check the files of tokenizer and image processor; an original format needs fewer, its code builds the rest."""
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


def _read_config(path: Path) -> dict[str, Any]:
    """A checkpoint's config.json, which an original BAGEL may lack."""
    if _is_bagel(path) and not (path / "config.json").exists():
        return {"architectures": []}
    if not (path / "config.json").is_file():
        raise CheckpointError(f"{path} has no config.json: it is not a Hugging Face model directory")
    config = read_json(path / "config.json")
    names = config.get("architectures")
    return {**config, "architectures": [str(name) for name in names] if isinstance(names, list) else []}


def _model_type(path: Path, config: Mapping[str, Any]) -> tuple[str, bool]:
    """The model type in config.json, and whether it is an original format."""
    model_type, architectures = str(config.get("model_type", "")), config["architectures"]
    if _is_bagel(path):
        if not (path / VIT_CONFIG).is_file():
            raise CheckpointError(f"{path} is a BAGEL checkpoint without {VIT_CONFIG}: also download that file")
        return "bagel", True
    if model_type == "bagel" and not config.get("text_config"):
        raise CheckpointError(f"{path} is a BAGEL checkpoint without {LLM_CONFIG}: also download that file")
    if model_type in SUPPORTED:
        return model_type, False
    supported = f"Supported model types: {', '.join(SUPPORTED)}."
    if is_original(config):
        try:
            convert_config(config)
        except CheckpointError as error:
            raise CheckpointError(f"{path}: {error}") from error
        except (TypeError, ValueError, LookupError, ArithmeticError, AttributeError) as error:
            raise CheckpointError(f"{path / 'config.json'} is malformed ({error}): download it again") from error
        return "internvl", True
    raise CheckpointError(
        f"{path}: unsupported architecture: model_type {model_type or 'missing'!r}, "
        f"architectures {architectures}. {supported}"
    )


def _is_bagel(path: Path) -> bool:
    """Whether a directory has BAGEL's original format."""
    return (path / LLM_CONFIG).is_file()


def _weight_files(path: Path, whole: tuple[str, ...]) -> tuple[Path, ...]:
    """The safetensors files with the weights: the first of `whole` that exists, or else all shards of the index."""
    index = path / "model.safetensors.index.json"
    if single := next((path / name for name in whole if (path / name).is_file()), None):
        return (single,)
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


def read_header(file: Path) -> dict[str, StoredTensor]:
    """The tensors in a safetensors file, by name, without reading them.

    The header is checked against the file's size, which detects truncated downloads and Git LFS pointers.

    Raises:
        CheckpointError: the file is unreadable, incomplete or corrupted.
    """
    try:
        size = file.stat().st_size
        with file.open("rb") as stream:
            length = int.from_bytes(stream.read(8), "little")
            if size < 8 or length > min(_MAX_HEADER_BYTES, size - 8):
                raise CheckpointError(f"{file} is not a complete safetensors file ({size} bytes): download it again")
            header = stream.read(length)
    except OSError as error:
        raise unreadable(file, error) from error
    try:
        tensors, end = _parse_header(header)
    except (ValueError, AttributeError, KeyError, TypeError, RecursionError, MemoryError) as error:
        raise CheckpointError(f"{file} has a corrupted header ({error}): download it again") from error
    if not tensors or end != size - 8 - length:
        raise CheckpointError(
            f"{file} is corrupted: its header describes {end} bytes of tensors, but it has {size - 8 - length}; "
            "download it again"
        )
    return tensors


def _parse_header(header: bytes) -> tuple[dict[str, StoredTensor], int]:
    """The tensors that a safetensors header describes, and where the last one ends."""
    tensors, last = {}, 0
    for name, entry in json.loads(header).items():
        if name == "__metadata__":
            continue
        dtype, shape, (begin, end) = entry["dtype"], entry["shape"], entry["data_offsets"]
        if not (isinstance(dtype, str) and isinstance(shape, list) and len(shape) <= _MAX_DIMENSIONS):
            raise ValueError(f"{name!r} has no dtype or shape")
        if not all(type(number) is int and 0 <= number < 1 << 63 for number in (*shape, begin, end)):
            raise ValueError(f"{name!r} has a number that is not a size: {[*shape, begin, end]}")
        tensors[name] = tensor = StoredTensor(dtype, tuple(shape))
        bits = STORED_BITS.get(dtype)
        if end < begin or (bits is not None and 8 * (end - begin) != tensor.elements * bits):
            raise ValueError(f"{name!r} takes {end - begin} bytes, which is not the size of {dtype} {shape}")
        last = max(last, end)
    return tensors, last
