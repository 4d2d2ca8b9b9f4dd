"""Quantizes the decoder and output layer of an fp32 export to 8 or 4 bits."""

from __future__ import annotations

import dataclasses
import logging
import shutil
import warnings
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np

from si_embodied.errors import ConfigError, extra
from si_embodied.models.onnx.manifest import DECODER, EMBEDDING, HEAD, OUTPUT_ROWS, Manifest, Precision, read_manifest
from si_embodied.models.onnx.operators import quantizable_head_graph

with extra("onnx"):
    import onnx

if TYPE_CHECKING:
    from collections.abc import Iterator

_BITS: dict[Precision, int] = {"int8": 8, "int4": 4}
_BLOCK = 32  # weights per scale
_INT8_COMPUTE = 4  # MatMulNBits' accuracy_level: 8-bit activations too, which makes it fast on a CPU
_TABLES = (EMBEDDING, OUTPUT_ROWS)


def quantize_export(exported: str | Path, out: str | Path, precision: Precision) -> Path:
    """Write a quantized copy of an fp32 export: symmetric, in blocks of 32 weights (onnxruntime's MatMulNBits).

    The vision tower is not quantized; the embedding and output tables are stored in float16.

    Args:
        exported: an fp32 export written by `export_model`.
        out: a new or empty directory.
        precision: "int8" or "int4".

    Raises:
        CheckpointError: the export is incomplete.
        ConfigError: the export is not fp32, or the precision is not "int8" or "int4".
    """
    if precision not in _BITS:
        raise ConfigError(f"expected precision to be one of {', '.join(_BITS)}, got: {precision!r}")
    source, path = Path(exported).expanduser(), Path(out).expanduser()
    manifest = read_manifest(source)
    if manifest.precision != "fp32":
        raise ConfigError(f"only an fp32 export can be quantized, but {source} is {manifest.precision}: export in fp32")
    path.mkdir(parents=True, exist_ok=True)
    for name in manifest.files:
        if name in _TABLES:
            np.save(path / name, np.load(source / name, mmap_mode="r").astype(np.float16))
        elif not name.startswith((DECODER, HEAD)):
            shutil.copyfile(source / name, path / name)
    with quiet():
        _quantize(source / DECODER, path / DECODER, _BITS[precision])
        _quantize_head(manifest, source, path, _BITS[precision])
    dataclasses.replace(manifest, precision=precision).write(path)
    return path


def _quantize_head(manifest: Manifest, source: Path, path: Path, bits: int) -> None:
    """Quantize the output layer, whose weights the quantizer needs transposed."""
    rows = np.load(source / (EMBEDDING if manifest.tied_embeddings else OUTPUT_ROWS), mmap_mode="r")
    with TemporaryDirectory(dir=path) as folder:
        columns, whole = Path(folder) / "columns", Path(folder) / HEAD
        np.ascontiguousarray(rows.T).tofile(columns)
        onnx.save(quantizable_head_graph(manifest, columns), whole)
        _quantize(whole, path / HEAD, bits)


def _quantize(whole: Path, file: Path, bits: int) -> None:
    """Write a copy of a graph whose constant matrix factors are quantized."""
    from onnxruntime.quantization.matmul_nbits_quantizer import DefaultWeightOnlyQuantConfig, MatMulNBitsQuantizer

    config = DefaultWeightOnlyQuantConfig(block_size=_BLOCK, is_symmetric=True, accuracy_level=_INT8_COMPUTE, bits=bits)
    # Passed as a path: a model over 2 GB cannot be loaded otherwise.
    quantizer = MatMulNBitsQuantizer(str(whole), algo_config=config)
    quantizer.process()
    quantizer.model.save_model_to_file(str(file), use_external_data_format=True)


@contextmanager
def quiet() -> Iterator[None]:
    """Silence the libraries' messages about every operator, and undo their changes to the root logger."""
    root: Any = logging.getLogger()
    handlers, level, disabled = list(root.handlers), root.level, root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        root.handlers[:], root.level = handlers, level
        logging.disable(disabled)
