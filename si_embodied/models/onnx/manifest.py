"""The manifest of an export: its settings, and a check that the directory is complete."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

from si_embodied.errors import CheckpointError, shown
from si_embodied.models.checkpoints import SUPPORTED, read_json

Precision = Literal["fp32", "fp16", "int8", "int4"]
PRECISIONS: tuple[Precision, ...] = ("fp32", "fp16", "int8", "int4")

FILE = "si_embodied_onnx.json"
FORMAT = 1
OPSET = 20  # supported by TensorRT and by NVIDIA's builds for Jetson
VISION, DECODER, HEAD, TRIM = "vision.onnx", "decoder.onnx", "head.onnx", "trim.onnx"
EMBEDDING, OUTPUT_ROWS = "embedding.npy", "output_rows.npy"


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """The settings that the runner needs before it opens a graph."""

    format: int = FORMAT
    family: str  # transformers' model_type
    precision: Precision  # of the decoder's and the output layer's weights
    dtype: Literal["float32", "float16"]  # of hidden states and cache
    source: str  # name of the checkpoint
    versions: dict[str, str]  # of the libraries used for the export
    opset: int
    layers: int
    shared_heads: int  # number of key/value heads
    head_dim: int
    hidden_size: int
    vocabulary_size: int  # rows of the output layer
    tied_embeddings: bool  # whether the output layer shares the embedding's rows
    position_axes: int  # 3 for Qwen-VL's rotary positions, else 1
    deepstack_layers: int  # Qwen3-VL: number of layers after which image features are added
    vision: dict[str, int] = field(default_factory=dict)  # settings for layout.py
    files: dict[str, int] = field(default_factory=dict)  # size in bytes of every required file

    @property
    def takes_block_ends(self) -> bool:
        """Whether an image's tokens attend to later ones, so that the decoder takes `block_ends` as an input."""
        return self.family == "bagel"

    def write(self, directory: Path) -> None:
        """Write the manifest into `directory`, listing every file that is there."""
        files = {file.name: file.stat().st_size for file in sorted(directory.iterdir()) if file.name != FILE}
        text = json.dumps(asdict(replace(self, files=files)), indent=2) + "\n"
        (directory / FILE).write_text(text, encoding="utf-8")


def is_exported(directory: str | Path) -> bool:
    """Whether a directory is an export, as opposed to a checkpoint."""
    return (Path(directory).expanduser() / FILE).is_file()


def read_manifest(directory: str | Path) -> Manifest:
    """Read the manifest, and check every file's size.

    Raises:
        CheckpointError: not an export, an export of another version, or an incomplete one.
    """
    path = Path(directory).expanduser()
    if not is_exported(path):
        raise CheckpointError(f"{path} is not an exported model (no {FILE}): create one with si-embodied models export")
    manifest = _parse(path / FILE, read_json(path / FILE))
    for name, size in manifest.files.items():
        if Path(name).name != name:
            raise CheckpointError(f"{path / FILE} names a file outside its directory: {name!r}; do not trust it")
        if not (path / name).is_file():
            raise CheckpointError(f"{path} lacks {name}: export or copy the model again")
        if (found := (path / name).stat().st_size) != size:
            raise CheckpointError(f"{path / name} has {found} bytes instead of {size}: copy it again")
    return manifest


def _parse(file: Path, values: dict[str, Any]) -> Manifest:
    """Parse a manifest of this version."""
    if values.get("format") != FORMAT:
        raise CheckpointError(
            f"{file} has format {shown(values.get('format'))}, but this version reads {FORMAT}: export the model again"
        )
    if names := {entry.name for entry in fields(Manifest)} ^ values.keys():
        raise CheckpointError(f"{file}: missing or unknown fields: {', '.join(sorted(names))}; export the model again")
    types = get_type_hints(Manifest)
    if wrong := [name for name, value in values.items() if not _fits(value, types[name])]:
        raise CheckpointError(f"{file}: unexpected {wrong[0]}: {shown(values[wrong[0]])}; export the model again")
    if values["family"] not in SUPPORTED or values["precision"] not in PRECISIONS:
        raise CheckpointError(
            f"{file}: expected a family of {', '.join(SUPPORTED)} and a precision of {', '.join(PRECISIONS)}, "
            f"got: {values['family']!r} and {values['precision']!r}; export the model again"
        )
    return Manifest(**values)


def _fits(value: Any, expected: Any) -> bool:
    """Whether a JSON value is of a field's type: a class, a `Literal`, or a dict with values of one class."""
    if get_origin(expected) is Literal:
        return value in get_args(expected)
    if get_origin(expected) is dict:
        return isinstance(value, dict) and all(_fits(each, get_args(expected)[1]) for each in value.values())
    return type(value) is expected


def cache_names(when: Literal["past", "present"], layers: int) -> list[str]:
    """The decoder's input or output names of keys and values: `past_0` and `past_1` are those of the first layer."""
    return [f"{when}_{index}" for index in range(2 * layers)]
