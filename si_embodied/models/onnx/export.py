"""Write a checkpoint as an ONNX Runtime directory: graphs, tables, tokenizer, image processor, manifest."""

from __future__ import annotations

import logging
import shutil
import warnings
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np

from si_embodied.errors import CheckpointError, ConfigError, MissingExtraError
from si_embodied.models.onnx.graphs import Graph, decoder_graph, exportable, head_graph, vision_graph
from si_embodied.models.onnx.manifest import (
    DECODER,
    EMBEDDING,
    FILE,
    HEAD,
    OUTPUT_ROWS,
    PRECISIONS,
    TRIM,
    VISION,
    Manifest,
    Precision,
    cache_names,
)

try:
    import onnx
    import onnxscript  # noqa: F401 - torch.onnx needs it
    import torch

    from si_embodied.models.loading import Checkpoint, load_checkpoint
except ModuleNotFoundError as error:
    raise MissingExtraError(error.name or "onnx", "onnx") from error

if TYPE_CHECKING:
    from collections.abc import Iterator

_LOG = logging.getLogger(__name__)

OPSET = 20  # what TensorRT and NVIDIA's builds for Jetson read
_IR = 10  # the file format that goes with it
_BITS = {"int8": 8, "int4": 4}
_BLOCK = 32  # weights that share a scale
_INT8_COMPUTE = 4  # MatMulNBits' accuracy_level: activations to 8 bits too, which is what makes it fast on a CPU
_CARRIED = ("planner.yaml", "README.md", "LICENSE")


def export_model(model: str | Path, out: str | Path, *, precision: Precision = "fp32") -> Path:
    """Export a checkpoint for `OnnxRunner`.

    Args:
        model: a checkpoint's directory or its id on the hub.
        out: a new or empty directory.
        precision: "fp32", "fp16" (for a GPU), or "int8" and "int4": the decoder's and the output layer's weights in
            blocks of 32, everything else as in fp32.

    Returns:
        The directory.

    Raises:
        CheckpointError: the checkpoint cannot be loaded, or the export failed.
        ConfigError: an unknown precision, or the directory is not empty or cannot be written.
    """
    if precision not in PRECISIONS:
        raise ConfigError(f"expected a precision of {', '.join(PRECISIONS)}, got: {precision!r}")
    path = Path(out).expanduser()
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise ConfigError(f"{path} is there and not an empty directory: give a new one for the export")
    checkpoint = load_checkpoint(model, device="cpu", dtype="float16" if precision == "fp16" else "float32")
    try:
        path.mkdir(parents=True, exist_ok=True)
        _write(checkpoint, path, precision)
    except OSError as error:
        shutil.rmtree(path, ignore_errors=True)
        raise ConfigError(f"the export could not be written to {path}: {error}") from error
    except BaseException:
        shutil.rmtree(path, ignore_errors=True)
        raise
    return path


def _write(checkpoint: Checkpoint, path: Path, precision: Precision) -> None:
    """Everything, the manifest last: what has none is no export."""
    manifest = _describe(checkpoint, precision)
    model = checkpoint.model
    with exportable(model), torch.inference_mode():
        graphs = {
            VISION: vision_graph(model, manifest.family),
            DECODER: decoder_graph(model, manifest),
            HEAD: head_graph(model, manifest),
        }
        for name, graph in graphs.items():
            _LOG.info("exporting %s", name)
            bits = _BITS.get(precision) if name != VISION else None
            with _quiet():
                _save(_to_onnx(graph), path / name, bits)
    onnx.save(trim_graph(manifest), path / TRIM)
    np.save(path / EMBEDDING, model.get_input_embeddings().weight.detach().numpy())
    if not manifest.tied_embeddings:
        np.save(path / OUTPUT_ROWS, model.get_output_embeddings().weight.detach().numpy())
    model.config.save_pretrained(path)
    checkpoint.family.image_processor.save_pretrained(path)
    (path / "tokenizer.json").write_text(checkpoint.tokenizer_json, encoding="utf-8")
    for name in _CARRIED:
        if (checkpoint.directory / name).is_file():
            shutil.copyfile(checkpoint.directory / name, path / name)
    manifest.files.update({file.name: file.stat().st_size for file in sorted(path.iterdir()) if file.name != FILE})
    manifest.write(path)


def _describe(checkpoint: Checkpoint, precision: Precision) -> Manifest:
    """The manifest, its files still missing."""
    model, text = checkpoint.model, checkpoint.model.config.get_text_config()
    head = model.get_output_embeddings()
    if head.bias is not None:
        raise CheckpointError(f"{checkpoint.directory}: its output layer has a bias, which no supported family has")
    vision = model.config.vision_config
    numbers: dict[str, int] = {}
    if checkpoint.family.model_type != "internvl":
        merge = vision.spatial_merge_size
        numbers["merge"] = merge
        if checkpoint.family.model_type == "qwen3_vl":
            numbers["table_side"] = int(vision.num_position_embeddings**0.5)
        else:
            numbers["window"] = vision.window_size // merge // vision.patch_size
    return Manifest(
        family=checkpoint.family.model_type,
        precision=precision,
        dtype="float16" if precision == "fp16" else "float32",
        source=checkpoint.name,
        versions={name: version(name) for name in ("si-embodied", "torch", "transformers", "onnx", "onnxruntime")},
        opset=OPSET,
        layers=text.num_hidden_layers,
        shared_heads=text.num_key_value_heads,
        head_dim=getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads,
        hidden_size=text.hidden_size,
        vocabulary_size=checkpoint.vocabulary_size,
        tied_embeddings=head.weight is model.get_input_embeddings().weight,
        position_axes=1 if checkpoint.family.model_type == "internvl" else 3,
        deepstack_layers=len(getattr(vision, "deepstack_visual_indexes", None) or ()),
        vision=numbers,
    )


def _to_onnx(graph: Graph) -> Any:
    """An `ONNXProgram`."""
    try:
        return torch.onnx.export(
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
            f"torch {torch.__version__} could not export {type(graph.module).__name__} to ONNX: {error}"
        ) from error


@contextmanager
def _quiet() -> Iterator[None]:
    """Without what libraries say of every operator, and without the handler that one of them gives the root logger."""
    root = logging.getLogger()
    handlers, level, disabled = list(root.handlers), root.level, root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        root.handlers[:], root.level = handlers, level
        logging.disable(disabled)


def _save(program: Any, file: Path, bits: int | None) -> None:
    """Write a graph, its weights beside it in one file, and quantized if `bits` are given."""
    for node in program.model.graph.all_nodes():
        node.metadata_props.clear()  # the stack in which torch made it: half of the file, and paths of this machine
    if bits is None:
        program.save(file, external_data=True)
        return
    from onnxruntime.quantization.matmul_nbits_quantizer import DefaultWeightOnlyQuantConfig, MatMulNBitsQuantizer

    with TemporaryDirectory(dir=file.parent) as folder:  # a model of more than 2 GB is quantized from its files only
        whole = Path(folder) / file.name
        program.save(whole, external_data=True)
        config = DefaultWeightOnlyQuantConfig(
            block_size=_BLOCK, is_symmetric=True, accuracy_level=_INT8_COMPUTE, bits=bits
        )
        quantizer = MatMulNBitsQuantizer(str(whole), algo_config=config)
        quantizer.process()
        quantizer.model.save_model_to_file(str(file), use_external_data_format=True)


def trim_graph(manifest: Manifest) -> Any:
    """Every key and value cut to its first `length` positions, on whatever device the cache is."""
    helper, proto = onnx.helper, onnx.TensorProto
    dtype = proto.FLOAT16 if manifest.dtype == "float16" else proto.FLOAT
    inputs = [helper.make_tensor_value_info("length", proto.INT64, [1])]
    nodes, outputs = list[Any](), list[Any]()
    for past, present in zip(
        cache_names("past", manifest.layers), cache_names("present", manifest.layers), strict=True
    ):  # fmt: skip
        nodes.append(helper.make_node("Slice", [past, "start", "length", "axis"], [present]))
        for name, length, values in ((past, "seen", inputs), (present, "kept", outputs)):
            shape = [1, manifest.shared_heads, length, manifest.head_dim]
            values.append(helper.make_tensor_value_info(name, dtype, shape))
    constants = [onnx.numpy_helper.from_array(np.array([n]), name) for n, name in ((0, "start"), (2, "axis"))]
    graph = helper.make_graph(nodes, "trim", inputs, outputs, initializer=constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=_IR)
