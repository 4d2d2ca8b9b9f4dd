"""What an exported directory says of itself, and the check that all of it is there."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal

from si_embodied.errors import CheckpointError
from si_embodied.models.checkpoints import SUPPORTED, read_json

Precision = Literal["fp32", "fp16", "int8", "int4"]
PRECISIONS: tuple[Precision, ...] = ("fp32", "fp16", "int8", "int4")

FILE = "si_embodied_onnx.json"
FORMAT = 1
OPSET = 20  # what TensorRT and NVIDIA's builds for Jetson read
VISION, DECODER, HEAD, TRIM = "vision.onnx", "decoder.onnx", "head.onnx", "trim.onnx"
EMBEDDING, OUTPUT_ROWS = "embedding.npy", "output_rows.npy"


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """What the runner has to know before it opens a graph."""

    format: int = FORMAT
    family: str  # transformers' model_type
    precision: Precision  # of the decoder's and the output layer's weights
    dtype: Literal["float32", "float16"]  # of hidden states and cache
    source: str  # the checkpoint's name
    versions: dict[str, str]  # of the libraries that wrote it
    opset: int
    layers: int
    shared_heads: int  # key/value heads
    head_dim: int
    hidden_size: int
    vocabulary_size: int  # rows of the output layer
    tied_embeddings: bool  # whether the output layer's rows are the embedding's
    position_axes: int  # 3 for Qwen-VL's rotary positions, else 1
    deepstack_layers: int  # Qwen3-VL: layers after which image features are added
    vision: dict[str, int] = field(default_factory=dict)  # the numbers that layout.py needs
    files: dict[str, int] = field(default_factory=dict)  # bytes of every file that must be there

    def write(self, directory: Path) -> None:
        """Write it beside the files that it then names: everything that is there."""
        files = {file.name: file.stat().st_size for file in sorted(directory.iterdir()) if file.name != FILE}
        text = json.dumps(asdict(replace(self, files=files)), indent=2) + "\n"
        (directory / FILE).write_text(text, encoding="utf-8")


def is_exported(directory: str | Path) -> bool:
    """Whether a directory is an export, and not a checkpoint."""
    return (Path(directory).expanduser() / FILE).is_file()


def read_manifest(directory: str | Path) -> Manifest:
    """Read the manifest, and check every file's length.

    Raises:
        CheckpointError: it is no export, one of another version, or incomplete.
    """
    path = Path(directory).expanduser()
    if not is_exported(path):
        raise CheckpointError(
            f"{path} is not an exported model, it has no {FILE}: write one with si-embodied models export"
        )
    manifest = _parse(path / FILE, read_json(path / FILE))
    for name, size in manifest.files.items():
        if Path(name).name != name:
            raise CheckpointError(f"{path / FILE} names a file outside its directory: {name!r}; do not trust it")
        if not (path / name).is_file():
            raise CheckpointError(f"{path} lacks {name}: export or copy the model again")
        if (found := (path / name).stat().st_size) != size:
            raise CheckpointError(f"{path / name} has {found} bytes, not the {size} that were written: copy it again")
    return manifest


def _parse(file: Path, values: dict[str, Any]) -> Manifest:
    """A manifest of this version."""
    if values.get("format") != FORMAT:
        raise CheckpointError(
            f"{file} is of format {values.get('format')!r}, and this version reads {FORMAT}: export the model again"
        )
    if names := {entry.name for entry in fields(Manifest)} ^ values.keys():
        raise CheckpointError(f"{file} lacks or has too much: {', '.join(sorted(names))}; export the model again")
    if values["family"] not in SUPPORTED or values["precision"] not in PRECISIONS:
        raise CheckpointError(
            f"{file} is of family {values['family']!r} and precision {values['precision']!r}; here run families "
            f"{', '.join(SUPPORTED)} and precisions {', '.join(PRECISIONS)}"
        )
    return Manifest(**values)


def cache_names(when: Literal["past", "present"], layers: int) -> list[str]:
    """The decoder's names for keys and values, as `past_0` and `past_1` of the first layer."""
    return [f"{when}_{index}" for index in range(2 * layers)]
