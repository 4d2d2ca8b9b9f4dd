"""LoRA adapters in peft's format: checked against the checkpoint that they are given with, and merged into its weights.

An adapter is applied only when asked for, and its label is part of the model's name in every record.
"""

from __future__ import annotations

import hashlib
import logging
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from si_embodied.errors import CheckpointError, ConfigError, extra
from si_embodied.models.checkpoints import ADAPTER_CONFIG, read_header, read_json, unreadable
from si_embodied.models.hub import model_name

if TYPE_CHECKING:
    from si_embodied.models.checkpoints import CheckpointFiles
    from si_embodied.models.footprint import Weights

_LOG = logging.getLogger(__name__)

ADAPTER_WEIGHTS = "adapter_model.safetensors"
"""peft's other file in the directory of a LoRA adapter."""

_SHOWN_DIGITS = 12


@dataclass(frozen=True, slots=True)
class Adapter:
    """A LoRA adapter whose files are complete."""

    directory: Path
    base: str  # the checkpoint that it was trained on, as its configuration names it; empty: not named
    digest: str  # SHA-256 of its weights and configuration, in hexadecimal

    @property
    def label(self) -> str:
        """The adapter in records: its directory as given, and the start of its digest."""
        return f"{self.directory}@{self.digest[:_SHOWN_DIGITS]}"


def inspect_adapter(directory: str | Path) -> Adapter:
    """Check the files of an adapter. Reads no weights into memory and needs no extra.

    Args:
        directory: with `adapter_config.json` and `adapter_model.safetensors`; may be that of a whole checkpoint.

    Raises:
        CheckpointError: a file is missing or corrupted, or the adapter is of another kind than LoRA.
    """
    try:
        path = Path(directory).expanduser()
        if missing := [name for name in (ADAPTER_CONFIG, ADAPTER_WEIGHTS) if not (path / name).is_file()]:
            raise CheckpointError(
                f"{path} is not a LoRA adapter, because it lacks {' and '.join(missing)}: give the directory that "
                "'si-embodied train lora' or peft's save_pretrained wrote"
            )
        config = read_json(path / ADAPTER_CONFIG)
        if (kind := config.get("peft_type")) != "LORA":
            raise CheckpointError(f"{path} is an adapter of peft's type {kind!r}: give a LoRA adapter")
        read_header(path / ADAPTER_WEIGHTS)
        digest = hashlib.sha256((path / ADAPTER_CONFIG).read_bytes())
        with (path / ADAPTER_WEIGHTS).open("rb") as stream:
            while block := stream.read(1 << 20):
                digest.update(block)
    except (OSError, RuntimeError) as error:  # RuntimeError: no such user in "~user"
        raise unreadable(directory, error) from error
    return Adapter(path, str(config.get("base_model_name_or_path") or ""), digest.hexdigest())


def choose_adapter(files: CheckpointFiles, directory: str | Path, weights: Weights) -> Adapter | None:
    """The adapter to merge into a checkpoint; None if none was asked for.

    An adapter that lies beside the weights and was not asked for is reported in a warning.

    Args:
        files: the checkpoint.
        directory: the adapter's; empty: none.
        weights: the precision to load the checkpoint with.

    Raises:
        CheckpointError: the adapter is not complete, or names another base. Folders, owners and commits may differ:
            "org/base@1a2b" is "/models/base".
        ConfigError: the weights are quantized.
    """
    adapter = inspect_adapter(directory) if directory else None
    if files.has_adapter and not (adapter and adapter.directory.samefile(files.directory)):
        _LOG.warning(
            "%s: the LoRA adapter beside the weights is not applied; to use it, set adapter to this directory",
            files.directory,
        )
    if adapter is None:
        return None
    if weights != "full" or files.quantization.method:
        raise ConfigError(
            f"an adapter is merged into weights in full precision, got adapter {str(directory)!r} with weights "
            f"{files.quantization.method or weights}; merge it once (si-embodied train lora --merge) and load "
            "the result"
        )
    name = model_name(files.directory)
    if adapter.base and _last(model_name(Path(adapter.base))) != _last(name):
        raise CheckpointError(
            f"{adapter.directory} was trained on {adapter.base!r}, not on {name!r}: give that checkpoint as the model "
            f"or, if both have the same weights, write {name!r} as base_model_name_or_path into its {ADAPTER_CONFIG}"
        )
    return adapter


def merged(model: Any, adapter: Adapter, name: str) -> Any:
    """The model with the adapter's update merged into its weights. `model` itself changes.

    Args:
        model: a transformers model in full precision.
        adapter: the adapter.
        name: the checkpoint's, for messages.

    Raises:
        CheckpointError: the adapter's layers are not those of the model, or its weights are not finite.
        MissingExtraError: peft is not installed.
    """
    with extra("train"):
        import peft
        from safetensors.torch import load_file

    other = f"{adapter.directory}, trained on {adapter.base or 'an unnamed base'!r}, does not fit {name!r}"
    given = {key: tensor.shape for key, tensor in read_header(adapter.directory / ADAPTER_WEIGHTS).items()}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # peft uses a deprecated name of transformers
            config = peft.PeftConfig.from_pretrained(str(adapter.directory), local_files_only=True)
            tuned = peft.get_peft_model(model, config)
        wanted = {key: tuple(value.shape) for key, value in peft.get_peft_model_state_dict(tuned).items()}
        if difference := _difference(given, wanted):
            raise CheckpointError(f"{other}: {difference}; give the checkpoint that it was trained on as the model")
        peft.set_peft_model_state_dict(tuned, load_file(adapter.directory / ADAPTER_WEIGHTS))
        return tuned.merge_and_unload(safe_merge=True).eval()
    except CheckpointError:
        raise
    except Exception as error:  # peft raises many types, most of them where a layer is missing
        raise CheckpointError(f"{other} ({' '.join(str(error).split())}); give the checkpoint it belongs to") from error


def _last(name: str) -> str:
    """The last part of a model's name, without owner and commit."""
    return name.partition("@")[0].rpartition("/")[2].lower()


def _difference(given: Mapping[str, tuple[int, ...]], wanted: Mapping[str, tuple[int, ...]]) -> str:
    """The first layer that an adapter has and the model has not, or the reverse, or in another shape; empty: none."""
    for key in sorted(given.keys() | wanted.keys()):
        if given.get(key) != wanted.get(key):
            return f"{key} is {_shape(given.get(key))} in the adapter and {_shape(wanted.get(key))} in the model"
    return ""


def _shape(shape: tuple[int, ...] | None) -> str:
    return "missing" if shape is None else " x ".join(map(str, shape))
