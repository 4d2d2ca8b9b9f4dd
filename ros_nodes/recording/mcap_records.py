"""Reads an MCAP file from front to back: also one that has no end, and past chunks that are damaged.

The file's index is not used: it comes last, so that it is missing after kill -9, a full disk or an aborted copy.
Specification: https://mcap.dev/spec.
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TypeAlias

from si_embodied.errors import DataError, extra

Raw: TypeAlias = tuple[str, str, int, bytes]
"""A message: topic, type ("std_msgs/msg/String"), time of recording in nanoseconds, CDR."""
Wanted: TypeAlias = Callable[[str, str], bool]
"""Whether a topic of a type is wanted."""

MAGIC = b"\x89MCAP0\r\n"
MAX_MESSAGE_BYTES = 1 << 28
"""Bound of a chunk or message after decompression: a small file can decompress to gigabytes."""

_FOOTER, _SCHEMA, _CHANNEL, _MESSAGE, _CHUNK, _DATA_END = 0x02, 0x03, 0x04, 0x05, 0x06, 0x0F
_RECORD = struct.Struct("<BQ")  # opcode, length
_CHUNK_HEAD = struct.Struct("<QQQI")  # first and last time, size and checksum of the uncompressed records
_MESSAGE_HEAD = struct.Struct("<HIQQ")  # channel, sequence number, time of recording, time of publication


@dataclass(slots=True)
class Damage:
    """What is known to be lost of a recording."""

    reasons: list[str] = field(default_factory=list)
    lost_ns: int = 0  # in gaps
    last_ns: int = 0  # time of the last message that was read
    end_ns: int = 0  # the recording went on at least until then

    @property
    def lost_s(self) -> float:
        """Seconds known to be lost; there may be more where a file was cut."""
        return 1e-9 * (self.lost_ns + (max(0, self.end_ns - self.last_ns) if self.reasons else 0))


def read_mcap(file: Path, wanted: Wanted, damage: Damage) -> Iterator[Raw]:
    """The wanted messages of a file, in the order in which they were recorded; adds to `damage` what is lost.

    Raises:
        DataError: not an MCAP file, or one that cannot be opened.
    """
    try:
        with file.open("rb") as stream:
            if stream.read(len(MAGIC)) != MAGIC:
                raise DataError(f"{str(file)!r} cannot be read as a recording: it is not an MCAP file")
            yield from _Reader(file, wanted, damage).messages(stream, file.stat().st_size)
    except OSError as error:
        raise DataError(f"{str(file)!r} cannot be read as a recording: {error.strerror or error}") from error


class _Reader:
    """Reads the records of one file."""

    def __init__(self, file: Path, wanted: Wanted, damage: Damage) -> None:
        self._file, self._wanted, self._damage = file, wanted, damage
        self._types: dict[int, str] = {}  # by schema
        self._channels: dict[int, tuple[str, str]] = {}  # topic and type of the wanted ones

    def messages(self, stream: IO[bytes], size: int) -> Iterator[Raw]:
        """The messages of a file or a chunk of `size` bytes."""
        while True:
            head = stream.read(_RECORD.size)
            if len(head) < _RECORD.size:
                return self._cut(b"")
            opcode, length = _RECORD.unpack(head)
            if opcode in (_DATA_END, _FOOTER):
                return None
            data = stream.read(min(length, size - stream.tell()))
            if len(data) < length:
                return self._cut(data if opcode == _CHUNK else b"")
            yield from self._chunk(data) if opcode == _CHUNK else self._record(opcode, data)

    def _cut(self, data: bytes) -> None:
        """The file ends inside a record; `data` is what is there of a chunk."""
        if len(data) >= _CHUNK_HEAD.size:
            self._damage.end_ns = max(self._damage.end_ns, _CHUNK_HEAD.unpack_from(data)[1])
        self._damage.reasons.append(f"{self._file.name} is cut off")

    def _chunk(self, data: bytes) -> Iterator[Raw]:
        try:
            first_ns, last_ns, size, checksum = _CHUNK_HEAD.unpack_from(data)
            compression, at = _text(data, _CHUNK_HEAD.size)
            (length,) = struct.unpack_from("<Q", data, at)
            records = decompressed(data[at + 8 : at + 8 + length], compression, size)
            if checksum and zlib.crc32(records) != checksum:
                raise ValueError("wrong checksum")
        except (struct.error, ValueError) as error:
            self._damage.reasons.append(f"a chunk of {self._file.name} is damaged ({error})")
            if len(data) >= _CHUNK_HEAD.size:
                self._damage.lost_ns += max(0, last_ns - max(first_ns, self._damage.last_ns))
                self._damage.last_ns = max(self._damage.last_ns, last_ns)
            return
        stream = io.BytesIO(records)
        while head := stream.read(_RECORD.size):
            opcode, length = _RECORD.unpack(head) if len(head) == _RECORD.size else (0, 0)
            yield from self._record(opcode, stream.read(min(length, len(records))))

    def _record(self, opcode: int, data: bytes) -> Iterator[Raw]:
        try:
            if opcode == _MESSAGE:
                channel, _, stamp_ns, _ = _MESSAGE_HEAD.unpack_from(data)
                self._damage.last_ns = max(self._damage.last_ns, stamp_ns)
                if channel in self._channels:
                    yield (*self._channels[channel], stamp_ns, data[_MESSAGE_HEAD.size :])
            elif opcode == _SCHEMA:
                self._types[struct.unpack_from("<H", data)[0]] = _text(data, 2)[0]
            elif opcode == _CHANNEL:
                self._add_channel(data)
        except (struct.error, ValueError) as error:
            self._damage.reasons.append(f"a record of {self._file.name} is damaged ({error})")

    def _add_channel(self, data: bytes) -> None:
        number, schema = struct.unpack_from("<HH", data)
        topic, at = _text(data, 4)
        encoding, _ = _text(data, at)
        kind = self._types.get(schema, "")
        if encoding == "cdr" and self._wanted(topic, kind):
            self._channels[number] = topic, kind


def decompressed(data: bytes, compression: str, size: int) -> bytes:
    """Decompress exactly `size` bytes.

    Raises:
        ValueError: the data is damaged, of another size, or compressed in an unknown way.
    """
    if size > MAX_MESSAGE_BYTES:
        raise ValueError(f"it would decompress to {size} bytes")
    with extra("bags"):
        import lz4.frame
        import zstandard
    if compression not in ("zstd", "lz4", ""):
        raise ValueError(f"unknown compression {compression!r}")
    try:
        if compression == "zstd":
            data = zstandard.ZstdDecompressor().stream_reader(data).read(size + 1)
        elif compression == "lz4":
            data = lz4.frame.LZ4FrameDecompressor().decompress(data, max_length=size + 1)
    except Exception as error:  # ZstdError, and whatever lz4 raises
        raise ValueError(str(error)) from error
    if len(data) != size:
        raise ValueError(f"{len(data)} bytes instead of {size}")
    return data


def _text(data: bytes, at: int) -> tuple[str, int]:
    """The string at a position, and the position after it."""
    (length,) = struct.unpack_from("<I", data, at)
    end = at + 4 + length
    if end > len(data):
        raise ValueError("a string goes beyond its record")
    return data[at + 4 : end].decode(), end
