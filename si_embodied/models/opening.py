"""Opening a model that is ready to decode, whichever runtime it is for: a checkpoint (torch) or an export (ONNX)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from si_embodied.errors import CheckpointError, ConfigError, extra
from si_embodied.models.onnx.manifest import is_exported

if TYPE_CHECKING:
    from si_embodied.models.decoding import ModelRunner
    from si_embodied.models.families import Family
    from si_embodied.models.footprint import Weights


@dataclass(frozen=True, slots=True, eq=False)
class OpenedModel:
    """What decoding needs of a model."""

    name: str  # the directory's, or the hub id with its revision
    family: Family
    runner: ModelRunner
    tokenizer_json: str
    vocabulary_size: int  # rows of the output layer
    kernel: str  # what computes the attention, as it is logged
    dtype: str  # of the weights, as it is logged


def open_model(
    model: str | Path,
    *,
    device: str = "auto",
    dtype: str = "auto",
    weights: Weights = "full",
    compiled: bool = False,
) -> OpenedModel:
    """Open a checkpoint or an export.

    Args:
        model: a directory of either, or a checkpoint on the hub.
        device: of a checkpoint "auto", "cpu", "cuda", "cuda:1"; of an export its execution providers in order,
            "tensorrt,cuda,cpu", or "auto".
        dtype: of a checkpoint; an export has its own.
        weights: of a checkpoint; an export has its own.
        compiled: of a checkpoint, have torch compile the steps; an export is compiled anyway.

    Raises:
        CheckpointError: it cannot be opened.
        ConfigError: no such device, dtype or weights.
        MissingExtraError: what runs it is not installed.
    """
    if is_exported(model):
        if (dtype, weights) != ("auto", "full"):
            raise ConfigError(
                f"an export has its own precision, got: dtype {dtype!r}, weights {weights!r}; leave them out, "
                "or export the checkpoint again with another --precision"
            )
        return _open_export(Path(model).expanduser(), device)
    from si_embodied.models.loading import load_checkpoint
    from si_embodied.models.torch_runner import TorchRunner

    loaded = load_checkpoint(model, device=device, dtype=dtype, weights=weights)
    return OpenedModel(
        loaded.name,
        loaded.family,
        TorchRunner(loaded.model, compiled=compiled),
        loaded.tokenizer_json,
        loaded.vocabulary_size,
        loaded.kernel,
        loaded.dtype,
    )


def _open_export(directory: Path, providers: str) -> OpenedModel:
    """An export; neither this nor running it imports torch."""
    with extra("onnx"):
        from transformers import AutoConfig
    from si_embodied.models.families import FAMILIES
    from si_embodied.models.onnx.runner import OnnxRunner

    runner = OnnxRunner(directory, providers)
    manifest = runner.manifest
    family = FAMILIES[manifest.family]
    tokenizer_json = (directory / "tokenizer.json").read_text(encoding="utf-8")
    try:
        config = AutoConfig.from_pretrained(str(directory), local_files_only=True)
        image_processor = family.load_image_processor(directory)
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{directory} lacks its settings ({error}): export the model again") from error
    return OpenedModel(
        directory.resolve().name,
        family(tokenizer_json, image_processor, config),
        runner,
        tokenizer_json,
        manifest.vocabulary_size,
        f"onnx/{'+'.join(runner.providers)}",
        manifest.precision,
    )
