"""Targets: recordings, settings, results, data sets and checkpoints as files."""

from __future__ import annotations

import json
import math
from contextlib import suppress
from pathlib import Path
from typing import Any

from harness import folder, target, written

from si_embodied.config import checkpoint_prompts, load_planner_config
from si_embodied.data.records import read_conversations, read_labels
from si_embodied.errors import CheckpointError, ConfigError, DataError, ObservationError, UnknownNameError
from si_embodied.evaluation.records import RecordFile, episode_to_json, plan_to_json
from si_embodied.images.files import read_depth, read_rgb
from si_embodied.models.checkpoints import inspect_checkpoint, read_header
from si_embodied.models.footprint import weight_bytes
from si_embodied.models.onnx.manifest import FILE, read_manifest
from si_embodied.runs import JsonLines, claim

BAGS = ("mcap", "rosbags", "zstandard", "lz4", "cv2", "msgpack")

# --- recordings -----------------------------------------------------------------------------------------------------


def _read_recording(path: Path) -> None:
    from si_embodied.ros_nodes.recording.reader import Recording
    from si_embodied.ros_nodes.recording.replay import Replayer

    try:
        recording = Recording(path)
        for replayed in Replayer().replay(recording):
            assert replayed.verdict
    except DataError:
        return
    assert 0 <= recording.lost_s < math.inf


@target("mcap", *BAGS, weight=0.2)
def mcap(data: bytes) -> None:
    """An MCAP file, with the ROS messages in it."""
    _read_recording(written("bag.mcap", data))


@target("sqlite", *BAGS, weight=0.2)
def sqlite(data: bytes) -> None:
    """A SQLite file, with the ROS messages in it."""
    _read_recording(written("bag.db3", data))


@target("yaml", *BAGS, weight=0.5)
def bag_metadata(data: bytes) -> None:
    """The metadata.yaml of a recording whose file is cut off."""
    from si_embodied.ros_nodes.recording.bag_files import BagFiles
    from si_embodied.ros_nodes.recording.mcap_records import MAGIC

    written("folder/bag_0.mcap", MAGIC)
    files = BagFiles(written("folder/metadata.yaml", data).parent)
    assert list(files.messages(lambda *_: True)) == []
    assert files.damage.lost_s >= 0
    assert files.damage.reasons[-1] == "bag_0.mcap is cut off"


@target("json", "msgpack", "PIL", weight=0.5)
def decision_record(data: bytes) -> None:
    """A decision in a recording; one that is accepted survives a round trip."""
    from si_embodied.ros_nodes.recording.decision_records import DecisionRecord

    try:
        record = DecisionRecord.from_json(data.decode("utf-8", "surrogateescape"))
    except DataError:
        return
    text = record.to_json()
    assert DecisionRecord.from_json(text).to_json() == text


# --- settings and results -------------------------------------------------------------------------------------------


@target("yaml")
def settings_file(data: bytes) -> None:
    """A planner's settings, and the prompts of a checkpoint."""
    file = written("settings/planner.yaml", data)
    with suppress(ConfigError):
        config = load_planner_config(file)
        assert config.deadline_s > 0
    with suppress(ConfigError):
        assert isinstance(checkpoint_prompts(file.parent).navigation, str)


@target("json", "msgpack")
def node_settings(data: bytes) -> None:
    """A node's parameters, as nested values."""
    from si_embodied.config import from_mapping
    from si_embodied.ros_nodes.node.settings import NodeSettings

    try:
        values = json.loads(data)
    except (ValueError, RecursionError):
        return
    if isinstance(values, dict):
        with suppress(ConfigError, UnknownNameError):
            from_mapping(NodeSettings, values)


@target("lines")
def results_file(data: bytes) -> None:
    """The records of a run."""
    file = written("records.jsonl", data)
    with suppress(ConfigError):
        assert all(isinstance(row, dict) for row in JsonLines(file).rows)
    written("records.jsonl", data)
    try:
        records = RecordFile(file, {"seed": 1})
    except ConfigError:
        return
    for result in records.episodes.values():
        assert all(isinstance(value, float) for value in episode_to_json(result)["metrics"].values())
        assert all(isinstance(plan_to_json(each, 0, 0)["plan"], str | None) for each in result.plans)


@target("json")
def run_settings(data: bytes) -> None:
    """The settings of a run that is resumed."""
    with suppress(ConfigError):
        claim(written("run.json", data), {"seed": 1, "config": {"workers": 2}}, may_change=("config.workers",))


@target("lines")
def questions_file(data: bytes) -> None:
    """The questions of a data set, and their labels."""
    file = written("questions.jsonl", data)
    with suppress(DataError):
        for entry in read_conversations(file):
            assert entry.question is not None
            json.dumps(entry.as_json())
    with suppress(DataError):
        for label in read_labels(file):
            json.dumps(label.as_json())
            with suppress(DataError):
                assert len(label.box) == 4


# --- models ---------------------------------------------------------------------------------------------------------


@target("safetensors")
def weights_file(data: bytes) -> None:
    """The header of a safetensors file; where it is accepted, the reference reader accepts it too."""
    file = written("weights.safetensors", data)
    try:
        tensors = read_header(file)
    except CheckpointError:
        return
    assert weight_bytes(tensors, "bfloat16", "4bit") >= 0
    assert all(type(size) is int and size >= 0 for tensor in tensors.values() for size in tensor.shape)


def _tensor() -> bytes:
    header = b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}'
    return len(header).to_bytes(8, "little") + header + b"\0\0\0\0"


def _directory(name: str, **files: bytes) -> Path:
    for file, data in {"tokenizer.json": b"{}", "preprocessor_config.json": b"{}", **files}.items():
        path = written(f"{name}/{file}", data)
    return path.parent


@target("json")
def checkpoint_config(data: bytes) -> None:
    """A checkpoint's config.json."""
    files: dict[str, Any] = {"config.json": data, "model.safetensors": _tensor()}
    with suppress(CheckpointError):
        inspect_checkpoint(_directory("config", **files))


@target("json")
def checkpoint_index(data: bytes) -> None:
    """The index of a checkpoint in shards, and an adapter's settings."""
    config = b'{"model_type":"qwen3_vl"}'
    files: dict[str, Any] = {"config.json": config, "a.safetensors": _tensor(), "model.safetensors.index.json": data}
    with suppress(CheckpointError):
        found = inspect_checkpoint(_directory("index", **files))
        assert all(file.parent == folder() / "index" for file in found.weights)
    with suppress(CheckpointError):
        inspect_checkpoint(written("adapter/adapter_config.json", data).parent)


@target("json")
def onnx_manifest(data: bytes) -> None:
    """The manifest of an exported model."""
    try:
        manifest = read_manifest(written(f"onnx/{FILE}", data).parent)
    except CheckpointError:
        return
    assert type(manifest.layers) is int
    assert all(type(size) is int for size in (*manifest.vision.values(), *manifest.files.values()))


@target("image", "PIL", weight=0.5)
def image_file(data: bytes) -> None:
    """An image and a depth image in files."""
    file = written("image.png", data)
    with suppress(ObservationError):
        assert read_rgb(file).shape[2] == 3
    for path in (file, written("depth.npy", data)):
        with suppress(ObservationError):
            assert read_depth(path).ndim == 2
