"""Hand-built graphs of one operator each: the output layer, and trimming the cache."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from si_embodied.errors import extra
from si_embodied.models.onnx.manifest import OPSET, cache_names

with extra("onnx"):
    from onnx import TensorProto, helper, numpy_helper

if TYPE_CHECKING:
    from si_embodied.models.onnx.manifest import Manifest

_IR_VERSION = 10  # file format version that matches the opset
_TYPES = {"float32": TensorProto.FLOAT, "float16": TensorProto.FLOAT16}


def head_graph(manifest: Manifest, rows: Path) -> Any:
    """The output layer, (1, H) to (1, V), with its weights in the .npy file `rows` (V, H) next to the graph."""
    weight = _stored(rows, manifest.dtype, (manifest.vocabulary_size, manifest.hidden_size), _npy_offset(rows))
    return _head(manifest, helper.make_node("Gemm", ["hidden", "weight"], ["logits"], transB=1), weight)


def quantizable_head_graph(manifest: Manifest, columns: Path) -> Any:
    """The output layer with its weights in the raw file `columns` (H, V), the only form that the quantizer accepts."""
    weight = _stored(columns, manifest.dtype, (manifest.hidden_size, manifest.vocabulary_size), 0)
    return _head(manifest, helper.make_node("MatMul", ["hidden", "weight"], ["logits"], name="output_layer"), weight)


def trim_graph(manifest: Manifest) -> Any:
    """Cuts every key and value to its first `length` positions, on the cache's device."""
    inputs = [helper.make_tensor_value_info("length", TensorProto.INT64, [1])]
    outputs, nodes = list[Any](), list[Any]()
    names = zip(cache_names("past", manifest.layers), cache_names("present", manifest.layers), strict=True)
    for past, present in names:
        nodes.append(helper.make_node("Slice", [past, "start", "length", "axis"], [present]))
        for name, length, values in ((past, "seen", inputs), (present, "kept", outputs)):
            shape = [1, manifest.shared_heads, length, manifest.head_dim]
            values.append(helper.make_tensor_value_info(name, _TYPES[manifest.dtype], shape))
    constants = [numpy_helper.from_array(np.array([n]), name) for n, name in ((0, "start"), (2, "axis"))]
    return _model(helper.make_graph(nodes, "trim", inputs, outputs, initializer=constants))


def _head(manifest: Manifest, node: Any, weight: Any) -> Any:
    dtype = _TYPES[manifest.dtype]
    inputs = [helper.make_tensor_value_info("hidden", dtype, [1, manifest.hidden_size])]
    outputs = [helper.make_tensor_value_info("logits", dtype, [1, manifest.vocabulary_size])]
    return _model(helper.make_graph([node], "head", inputs, outputs, initializer=[weight]))


def _stored(file: Path, dtype: str, shape: tuple[int, int], offset: int) -> Any:
    """A weight stored in an external file, because a protobuf is limited to 2 GB and a large vocabulary may not fit."""
    tensor = TensorProto(name="weight", data_type=_TYPES[dtype], dims=shape, data_location=TensorProto.EXTERNAL)
    length = shape[0] * shape[1] * np.dtype(dtype).itemsize
    for key, value in (("location", file.name), ("offset", offset), ("length", length)):
        tensor.external_data.add(key=key, value=str(value))
    return tensor


def _npy_offset(file: Path) -> int:
    """Byte offset of an array's values in its .npy file."""
    array = np.load(file, mmap_mode="r")
    assert isinstance(array, np.memmap)
    return int(array.offset)


def _model(graph: Any) -> Any:
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=_IR_VERSION)
