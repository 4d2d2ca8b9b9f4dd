"""Writes recordings in the format of `ros2 bag`: a folder with an MCAP file and a metadata.yaml. Needs no rclpy.

The metadata has version 5, which every `ros2 bag` from Humble on reads; Foxglove opens the MCAP file alone.
"""

from __future__ import annotations

import importlib
import re
import time
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from si_embodied.errors import ConfigError, RecordError, extra
from si_embodied.remedies import to_write

COMPRESSIONS = ("zstd", "lz4", "none")
FLUSH_S = 1.0
"""Time after which messages are on disk: what kill -9 costs at most."""
_VERSION = 5
_ROS_TYPES = {"double": "float64", "float": "float32", "boolean": "bool", "octet": "byte"}
_ARRAY = re.compile(r"^(?:sequence<(?P<item>[^,]+)(?:, \d+)?>|(?P<of>.+)\[(?P<count>\d+)\])$")
_RULE = "=" * 80
_INFINITE = {"sec": 9223372036, "nsec": 854775807}


@dataclass(frozen=True, slots=True)
class Topic:
    """A topic of a recording."""

    name: str  # with its namespace: "/tf"
    type: str  # "tf2_msgs/msg/TFMessage"
    definition: str  # the fields of the type, and of the types nested in it
    latched: bool = False  # transient local: late subscribers get the last message, in playback too

    def qos(self) -> str:
        """The publisher's quality of service as YAML, in the form that `ros2 bag` stores."""
        profile = {
            "history": 3,  # unknown
            "depth": 0,
            "reliability": 1,
            "durability": 1 if self.latched else 2,
            "deadline": _INFINITE,
            "lifespan": _INFINITE,
            "liveliness": 1,
            "liveliness_lease_duration": _INFINITE,
            "avoid_ros_namespace_conventions": False,
        }
        return yaml.safe_dump([profile], sort_keys=False)


class BagWriter:
    """Writes one recording. Not thread safe."""

    def __init__(self, folder: Path, *, compression: str = "zstd") -> None:
        """Create the folder and open the file.

        Args:
            folder: must not exist yet; its parents are created.
            compression: of the file's chunks, one of `COMPRESSIONS`.

        Raises:
            ConfigError: unknown compression.
            RecordError: the folder exists already or cannot be created.
            MissingExtraError: mcap is not installed.
        """
        with extra("bags"):
            from mcap.writer import CompressionType, Writer
        if compression not in COMPRESSIONS:
            raise ConfigError(f"expected compression to be {', '.join(COMPRESSIONS)}, got: {compression!r}")
        self.folder, self.messages = folder, 0
        self._file = folder / f"{folder.name}_0.mcap"
        self._topics: dict[str, tuple[Topic, int]] = {}  # with the MCAP channel
        self._schemas: dict[str, int] = {}
        self._counts: dict[str, int] = {}
        self._first_ns = self._last_ns = 0
        self._flushed_s = time.monotonic()
        try:
            folder.mkdir(parents=True)
            self._stream = self._file.open("xb")
            self._writer = Writer(self._stream, compression=CompressionType[compression.upper()])
            self._writer.start(profile="ros2", library="si_embodied")
        except OSError as error:
            raise self._failed(error) from error

    @property
    def topics(self) -> Collection[str]:
        """The names of the topics added so far."""
        return self._topics.keys()

    def add(self, topic: Topic) -> None:
        """Add a topic; do so before its first message.

        Raises:
            RecordError: the file cannot be written.
        """
        try:
            if topic.type not in self._schemas:
                text = topic.definition.encode()
                self._schemas[topic.type] = self._writer.register_schema(topic.type, "ros2msg", text)
            channel = self._writer.register_channel(
                topic.name, "cdr", self._schemas[topic.type], {"offered_qos_profiles": topic.qos()}
            )
        except OSError as error:
            raise self._failed(error) from error
        self._topics[topic.name], self._counts[topic.name] = (topic, channel), 0

    def write(self, topic: str, data: bytes, stamp_ns: int) -> None:
        """Write a serialised message, with the time at which it was received.

        Raises:
            RecordError: the file cannot be written; earlier messages are kept.
        """
        channel, count = self._topics[topic][1], self._counts[topic]
        try:
            self._writer.add_message(channel, stamp_ns, data, stamp_ns, count)
        except OSError as error:
            raise self._failed(error) from error
        self._first_ns = min(self._first_ns, stamp_ns) if self.messages else stamp_ns
        self._last_ns = max(self._last_ns, stamp_ns)
        self._counts[topic] = count + 1
        self.messages += 1
        self.flush()

    def flush(self) -> None:
        """Write what is buffered, if that was not done for `FLUSH_S`. A recorder calls it while nothing arrives, too.

        Raises:
            RecordError: the file cannot be written.
        """
        now_s = time.monotonic()
        if now_s - self._flushed_s < FLUSH_S or self._stream.closed:
            return
        self._flushed_s = now_s
        try:
            self._writer.flush()
            self._stream.flush()
        except OSError as error:
            raise self._failed(error) from error

    def close(self) -> None:
        """Finish the file, and describe its contents in metadata.yaml.

        Raises:
            RecordError: one of them cannot be written. `Recording` reads what is there; for other programs, `mcap
                recover` and `ros2 bag reindex` repair the recording.
        """
        if self._stream.closed:
            return
        try:
            try:
                self._writer.finish()
            finally:
                self._stream.close()
            text = yaml.safe_dump(self._metadata(), sort_keys=False)
            (self.folder / "metadata.yaml").write_text(text, encoding="utf-8")
        except OSError as error:
            raise self._failed(error) from error

    def _metadata(self) -> dict[str, Any]:
        span = {
            "duration": {"nanoseconds": max(0, self._last_ns - self._first_ns)},
            "starting_time": {"nanoseconds_since_epoch": self._first_ns},
            "message_count": self.messages,
        }
        topics = [
            {
                "topic_metadata": {
                    "name": topic.name,
                    "type": topic.type,
                    "serialization_format": "cdr",
                    "offered_qos_profiles": topic.qos(),
                },
                "message_count": self._counts[topic.name],
            }
            for topic, _ in self._topics.values()
        ]
        information = {
            "version": _VERSION,
            "storage_identifier": "mcap",
            **span,
            "topics_with_message_count": topics,
            "compression_format": "",
            "compression_mode": "",
            "relative_file_paths": [self._file.name],
            "files": [{"path": self._file.name, **span}],
        }
        return {"rosbag2_bagfile_information": _copied(information)}

    def _failed(self, error: OSError) -> RecordError:
        elsewhere = "give another folder"
        fix = elsewhere if isinstance(error, FileExistsError) else to_write(error, elsewhere)
        return RecordError(f"cannot record to {str(self.folder)!r}: {error.strerror or error}; {fix}")


def _copied(value: Any) -> Any:
    """A deep copy without shared parts: YAML would write those as references, which `ros2 bag` cannot read."""
    if isinstance(value, dict):
        return {key: _copied(each) for key, each in value.items()}
    return [_copied(each) for each in value] if isinstance(value, list) else value


def definition_of(message: type[Any]) -> str:
    """The definition of a message type, followed by those of its nested types, derived from the Python class.

    Constants and comments are left out: decoders do not need them.
    """
    texts: dict[str, str] = {}
    _collect(message, texts)
    (_, first), *others = texts.items()
    return first + "".join(f"{_RULE}\nMSG: {name}\n{text}" for name, text in others)


def _collect(message: type[Any], texts: dict[str, str]) -> None:
    name = f"{message.__module__.split('.')[0]}/{message.__name__}"
    if name in texts:
        return
    texts[name] = ""  # reserves its place: a type comes before those nested in it
    lines, inner = [], []
    for field, kind in message.get_fields_and_field_types().items():
        found = _ARRAY.match(kind)
        item = kind if found is None else found["item"] or found["of"]
        suffix = "" if found is None else f"[{found['count'] or ''}]"
        base = "string" if item.startswith("string") else "wstring" if item.startswith("wstring") else item
        lines.append(f"{_ROS_TYPES.get(base, base)}{suffix} {field}\n")
        if "/" in item:
            inner.append(item)
    texts[name] = "".join(lines)
    for each in inner:
        package, _, short = each.partition("/")
        _collect(getattr(importlib.import_module(f"{package}.msg"), short), texts)
