"""Opens a model for decoding, with either runtime: a checkpoint (torch) or an export (ONNX Runtime)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from si_embodied.errors import CheckpointError, ConfigError, extra
from si_embodied.models.cache_memory import USUAL
from si_embodied.models.onnx.manifest import is_exported

if TYPE_CHECKING:
    from si_embodied.models.cache_memory import CacheMemory
    from si_embodied.models.families import Family
    from si_embodied.models.footprint import Weights
    from si_embodied.models.runner import ModelRunner


@dataclass(frozen=True, slots=True, eq=False)
class OpenedModel:
    """A model, ready to decode."""

    name: str  # the directory's name, or the hub id with its commit; with an adapter, "+" and its label
    family: Family
    runner: ModelRunner
    tokenizer_json: str
    vocabulary_size: int  # rows of the output layer
    kernel: str  # attention kernel or ONNX providers, as logged
    dtype: str  # of the weights, as logged


def open_model(
    model: str | Path,
    *,
    device: str = "auto",
    dtype: str = "auto",
    weights: Weights = "full",
    adapter: str | Path = "",
    compiled: bool = False,
    memory: CacheMemory = USUAL,
) -> OpenedModel:
    """Open a checkpoint or an export.

    Args:
        model: a directory of either kind, or a checkpoint on the hub.
        device: for a checkpoint "auto", "cpu", "cuda", "cuda:1"; for an export its execution providers in order,
            "tensorrt,cuda,cpu", or "auto".
        dtype: for a checkpoint; an export has a fixed dtype.
        weights: for a checkpoint; an export has a fixed precision.
        adapter: the directory of a LoRA adapter to merge into a checkpoint; empty: none.
        compiled: for a checkpoint, compile the steps with torch; an export is always compiled.
        memory: limits of what it keeps between prompts.

    Raises:
        CheckpointError: the model cannot be opened, or the adapter does not fit it.
        ConfigError: unknown device, dtype or weights, or an adapter with an export or quantized weights.
        MissingExtraError: the runtime is not installed.
    """
    if is_exported(model):
        if (dtype, weights) != ("auto", "full"):
            raise ConfigError(
                f"the precision of an export is fixed, got: dtype {dtype!r}, weights {weights!r}; leave them out, "
                "or export the checkpoint again with another --precision"
            )
        if adapter:
            raise ConfigError(
                f"the weights of an export are fixed, got adapter {str(adapter)!r}; merge it into the checkpoint "
                "(si-embodied train lora --merge) and export the merged directory"
            )
        return _open_export(Path(model).expanduser(), device, memory)
    from si_embodied.models.loading import load_checkpoint
    from si_embodied.models.torch_runner import TorchRunner

    loaded = load_checkpoint(model, device=device, dtype=dtype, weights=weights, adapter=adapter)
    loaded.family.keep_pixels(memory.pixels)
    return OpenedModel(
        loaded.name,
        loaded.family,
        TorchRunner(loaded.model, store_bytes=memory.features, compiled=compiled),
        loaded.tokenizer_json,
        loaded.vocabulary_size,
        loaded.kernel,
        loaded.dtype,
    )


def _open_export(directory: Path, providers: str, memory: CacheMemory) -> OpenedModel:
    """Open an export. Neither this nor running the export imports torch."""
    with extra("onnx"):
        from transformers import AutoConfig
    from si_embodied.models.families import FAMILIES
    from si_embodied.models.onnx.runner import OnnxRunner

    runner = OnnxRunner(directory, providers, store_bytes=memory.features)
    manifest = runner.manifest
    family_class = FAMILIES[manifest.family]
    try:
        tokenizer_json = (directory / "tokenizer.json").read_text(encoding="utf-8")
        config = AutoConfig.from_pretrained(str(directory), local_files_only=True)
        image_processor = family_class.load_image_processor(directory)
    except (OSError, ValueError) as error:
        raise CheckpointError(f"cannot read the settings in {directory} ({error}): export the model again") from error
    family = family_class(tokenizer_json, image_processor, config)
    family.keep_pixels(memory.pixels)
    return OpenedModel(
        directory.resolve().name,
        family,
        runner,
        tokenizer_json,
        manifest.vocabulary_size,
        f"onnx/{'+'.join(runner.providers)}",
        manifest.precision,
    )
