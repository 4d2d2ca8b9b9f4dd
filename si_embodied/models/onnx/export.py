"""Exports a checkpoint as a directory for ONNX Runtime: graphs, tables, tokenizer, image processor, manifest."""

from __future__ import annotations

import shutil
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from si_embodied.errors import CheckpointError, ConfigError, extra
from si_embodied.models.checkpoints import new_directory, written_whole
from si_embodied.models.onnx.graphs import Graph, decoder_graph, exportable, vision_graph
from si_embodied.models.onnx.manifest import (
    DECODER,
    EMBEDDING,
    HEAD,
    OPSET,
    OUTPUT_ROWS,
    PRECISIONS,
    TRIM,
    VISION,
    Manifest,
    Precision,
)
from si_embodied.models.onnx.operators import head_graph, trim_graph
from si_embodied.models.onnx.quantize import quantize_export, quiet

with extra("onnx"):
    import onnx
    import onnxscript  # noqa: F401 - required by torch.onnx
    import torch

    from si_embodied.models.loading import Checkpoint, load_checkpoint
    from si_embodied.models.patches import embed_patches_linearly

_CARRIED = ("planner.yaml", "README.md", "LICENSE")


def export_model(model: str | Path, out: str | Path, *, precision: Precision = "fp32") -> Path:
    """Export a checkpoint for `OnnxRunner`.

    Args:
        model: a checkpoint's directory, or its id on the hub.
        out: a new or empty directory.
        precision: "fp32", "fp16" (for a GPU), or "int8" and "int4" (`quantize_export`).

    Returns:
        The directory.

    Raises:
        CheckpointError: the checkpoint cannot be loaded, or torch cannot export it.
        ConfigError: an unknown precision, or the directory is not empty.
        RecordError: the directory cannot be written.
    """
    if precision not in PRECISIONS:
        raise ConfigError(f"expected precision to be one of {', '.join(PRECISIONS)}, got: {precision!r}")
    path = new_directory(out)
    checkpoint = load_checkpoint(model, device="cpu", dtype="float16" if precision == "fp16" else "float32")
    with written_whole(path):
        if precision in ("fp32", "fp16"):
            _write(checkpoint, path, precision)
        else:
            with TemporaryDirectory(dir=path.parent) as folder:
                _write(checkpoint, Path(folder), "fp32")
                quantize_export(folder, path, precision)
    return path


def _write(checkpoint: Checkpoint, path: Path, precision: Precision) -> None:
    """Write everything, and the manifest last: a directory without one is not an export."""
    manifest = _describe(checkpoint, precision)
    model = checkpoint.model
    embed_patches_linearly(model)
    with exportable(model), torch.inference_mode(), quiet():
        _save(vision_graph(model, manifest.family), path / VISION)
        _save(decoder_graph(model, manifest), path / DECODER)
    np.save(path / EMBEDDING, model.get_input_embeddings().weight.detach().numpy())
    if not manifest.tied_embeddings:
        np.save(path / OUTPUT_ROWS, model.get_output_embeddings().weight.detach().numpy())
    onnx.save(head_graph(manifest, path / (EMBEDDING if manifest.tied_embeddings else OUTPUT_ROWS)), path / HEAD)
    onnx.save(trim_graph(manifest), path / TRIM)
    model.config.save_pretrained(path)
    checkpoint.family.image_processor.save_pretrained(path)
    (path / "tokenizer.json").write_text(checkpoint.tokenizer_json, encoding="utf-8")
    for name in _CARRIED:
        if (checkpoint.directory / name).is_file():
            shutil.copyfile(checkpoint.directory / name, path / name)
    manifest.write(path)


def _describe(checkpoint: Checkpoint, precision: Precision) -> Manifest:
    """The manifest of a checkpoint's export."""
    model, family = checkpoint.model, checkpoint.family.model_type
    text, vision = model.config.get_text_config(), model.config.vision_config
    head = model.get_output_embeddings()
    if head.bias is not None:
        raise CheckpointError(
            f"{checkpoint.directory}: the output layer has a bias, which the export does not support (no supported "
            "family has one)"
        )
    plain = family in ("internvl", "bagel")
    numbers: dict[str, int] = {} if plain else {"merge": vision.spatial_merge_size}
    if family == "qwen3_vl":
        numbers["table_side"] = int(vision.num_position_embeddings**0.5)
    elif family == "qwen2_5_vl":
        numbers["window"] = vision.window_size // vision.spatial_merge_size // vision.patch_size
    return Manifest(
        family=family,
        precision=precision,
        dtype="float16" if precision == "fp16" else "float32",
        source=checkpoint.name,
        versions={name: version(name) for name in ("si-embodied", "torch", "transformers", "onnx", "onnxscript")},
        opset=OPSET,
        layers=text.num_hidden_layers,
        shared_heads=text.num_key_value_heads,
        head_dim=getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads,
        hidden_size=text.hidden_size,
        vocabulary_size=checkpoint.vocabulary_size,
        tied_embeddings=head.weight is model.get_input_embeddings().weight,
        position_axes=1 if plain else 3,
        deepstack_layers=len(getattr(vision, "deepstack_visual_indexes", None) or ()),
        vision=numbers,
    )


def _save(graph: Graph, file: Path) -> None:
    """Trace a graph with torch and write it, with its weights in one file next to it."""
    try:
        program: Any = torch.onnx.export(
            graph.module.eval(),
            kwargs=graph.inputs,
            output_names=list(graph.outputs),
            dynamic_shapes=graph.varying,
            opset_version=OPSET,
            dynamo=True,
            external_data=True,
            verbose=False,
        )
    except torch.onnx.errors.OnnxExporterError as error:
        raise CheckpointError(
            f"torch {torch.__version__} cannot export {type(graph.module).__name__} to ONNX: {error.__cause__ or error}"
        ) from error
    for node in program.model.graph.all_nodes():
        node.metadata_props.clear()  # stack traces from torch: half of the file, and they contain local paths
    program.save(file, external_data=True)
