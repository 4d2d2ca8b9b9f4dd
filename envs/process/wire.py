"""Messages between two Pythons: JSON over a socket, and arrays in shared memory. Nothing is ever unpickled.

JSON's own values stand for themselves. An object is a tag with its content: `{"array": [dtype, shape, offset]}` with
the offset in the shared block, `{"scalar": …}` (a numpy number), `{"tuple": [...]}`, `{"dict": [[key, value], ...]}`
and `{"record": [[field, value], ...]}`, a dataclass, which arrives as a `types.SimpleNamespace`.
"""

from __future__ import annotations

import dataclasses
import json
import math
import mmap
import os
import struct
import tempfile
import time
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np

from si_embodied.errors import MessageError

if TYPE_CHECKING:
    import socket

    from numpy.typing import NDArray

_LENGTH = struct.Struct("!I")
_LONGEST = 64 << 20  # bytes of JSON
_ALIGNMENT = 64
_KINDS = "biufcmMSU"  # numpy's kinds of dtype, without objects and structured types


class Block:
    """Unnamed memory shared by two processes; the system frees it when both have ended. It grows as needed."""

    def __init__(self, descriptor: int) -> None:
        """Use the file of `descriptor`, which both sides have open; `close` closes it."""
        self.descriptor = descriptor
        self._map: mmap.mmap | None = None

    @classmethod
    def create(cls) -> Block:
        """Create a block: on Linux in anonymous memory, elsewhere in an unlinked file."""
        if hasattr(os, "memfd_create"):
            return cls(os.memfd_create("si_embodied"))
        with tempfile.TemporaryFile() as file:
            return cls(os.dup(file.fileno()))

    def write(self, array: NDArray[Any], offset: int) -> int:
        """Copy an array to an offset; returns the next free offset."""
        end = offset + array.nbytes
        if os.fstat(self.descriptor).st_size < end:
            os.ftruncate(self.descriptor, -(-end // mmap.PAGESIZE) * 2 * mmap.PAGESIZE)
        if array.nbytes:
            np.copyto(np.ndarray(array.shape, array.dtype, self._mapped(end), offset), array)
        return -(-end // _ALIGNMENT) * _ALIGNMENT

    def read(self, dtype: str, shape: tuple[int, ...], offset: int) -> NDArray[Any]:
        """A copy of the array at an offset.

        Raises:
            MessageError: the array holds objects, or does not lie within the block.
        """
        kind = np.dtype(dtype)
        size = math.prod(shape) * kind.itemsize
        if kind.kind not in _KINDS or offset < 0 or size < 0 or offset + size > os.fstat(self.descriptor).st_size:
            raise MessageError(f"expected an array in the shared memory, got: {dtype} of {shape} at {offset}")
        if not size:
            return np.empty(shape, kind)
        return np.ndarray(shape, kind, self._mapped(offset + size), offset).copy()

    def _mapped(self, end: int) -> mmap.mmap:
        if self._map is None or len(self._map) < end:
            self._map = mmap.mmap(self.descriptor, os.fstat(self.descriptor).st_size)
        return self._map

    def close(self) -> None:
        """Close this side's handle; idempotent."""
        self._map = None
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1


class Channel:
    """Sends and receives values in turns; the arrays of a message are valid until the next message."""

    def __init__(self, connection: socket.socket, block: Block) -> None:
        """Communicate over `connection`; arrays go through `block`."""
        self._connection, self._block = connection, block

    def pack(self, value: Any) -> bytes:
        """Encode a value as a message; writes its arrays to the shared memory.

        Raises:
            MessageError: the value contains a type that cannot be sent, or is too large.
        """
        plain = _Encoder(self._block).plain(value, "the message")
        data = json.dumps(plain, separators=(",", ":")).encode()
        if len(data) > _LONGEST:
            raise MessageError(f"a message of {len(data)} bytes, besides its arrays, is longer than {_LONGEST}")
        return _LENGTH.pack(len(data)) + data

    def send(self, message: bytes, timeout_s: float | None = None) -> None:
        """Send the last result of `pack`.

        Raises:
            OSError: the other side has disconnected, or does not receive in time (TimeoutError).
        """
        self._connection.settimeout(timeout_s)
        self._connection.sendall(message)

    def receive(self, timeout_s: float | None = None) -> Any:
        """Receive the next value.

        Raises:
            EOFError: the other side has disconnected.
            TimeoutError: no complete message arrived in time.
            MessageError: the message is invalid.
        """
        end = None if timeout_s is None else time.monotonic() + timeout_s
        (length,) = _LENGTH.unpack(self._exactly(_LENGTH.size, end))
        if length > _LONGEST:
            raise MessageError(f"a message of {length} bytes is longer than {_LONGEST}")
        try:
            return self._decode(json.loads(self._exactly(length, end)))
        except (ValueError, TypeError, KeyError, OverflowError, RecursionError, SyntaxError) as error:
            # SyntaxError: numpy's, of a dtype such as ","
            raise MessageError(f"cannot decode a message: {error}") from error

    def close(self) -> None:
        """Disconnect."""
        self._connection.close()
        self._block.close()

    def _exactly(self, count: int, end: float | None) -> bytearray:
        data = bytearray(count)
        rest = memoryview(data)
        while rest:
            if end is not None:
                left = end - time.monotonic()
                if left <= 0:
                    raise TimeoutError("no answer in time")
                self._connection.settimeout(left)
            else:
                self._connection.settimeout(None)
            got = self._connection.recv_into(rest)
            if not got:
                raise EOFError("the other side has disconnected")
            rest = rest[got:]
        return data

    def _decode(self, plain: Any) -> Any:
        if isinstance(plain, list):
            return [self._decode(item) for item in plain]
        if not isinstance(plain, dict):
            return plain
        ((tag, held),) = plain.items()
        if tag == "tuple":
            return tuple(self._decode(item) for item in held)
        if tag == "dict":
            return {self._decode(key): self._decode(value) for key, value in held}
        if tag == "record":
            return SimpleNamespace(**{name: self._decode(value) for name, value in held})
        if tag in ("array", "scalar"):
            dtype, shape, offset = held
            array = self._block.read(dtype, tuple(shape), offset)
            return array if tag == "array" else array[()]
        raise ValueError(f"unknown tag {tag!r}")


class _Encoder:
    """Encodes one message; writes its arrays into the block one after the other."""

    def __init__(self, block: Block) -> None:
        self._block, self._offset = block, 0

    def plain(self, value: Any, where: str) -> Any:
        """The value as plain JSON; `where` names the part of the message in errors."""
        if isinstance(value, (np.ndarray, np.generic)):
            return self._array(value, where)
        if value is None or isinstance(value, (bool, int, float, str)):
            return value
        if isinstance(value, list):
            return [self.plain(item, f"{where}[{index}]") for index, item in enumerate(value)]
        if isinstance(value, tuple):
            return {"tuple": [self.plain(item, f"{where}[{index}]") for index, item in enumerate(value)]}
        if isinstance(value, dict):
            items = value.items()
            return {"dict": [[self.plain(key, where), self.plain(item, f"{where}[{key!r}]")] for key, item in items]}
        if isinstance(value, SimpleNamespace):
            return self._record(vars(value), where)
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            return self._record({f.name: getattr(value, f.name) for f in dataclasses.fields(value)}, where)
        raise MessageError(
            f"{where} is a {type(value).__module__}.{type(value).__qualname__}, which cannot be sent; "
            "send numbers, strings, arrays, and lists, tuples, dicts and dataclasses of them"
        )

    def _record(self, fields: dict[str, Any], where: str) -> dict[str, Any]:
        return {"record": [[name, self.plain(value, f"{where}.{name}")] for name, value in fields.items()]}

    def _array(self, value: Any, where: str) -> dict[str, Any]:
        array = np.asarray(value)
        if array.dtype.kind not in _KINDS:
            raise MessageError(f"{where} is an array of {array.dtype}, which cannot be sent to another process")
        start = self._offset
        self._offset = self._block.write(array, start)
        tag = "array" if isinstance(value, np.ndarray) else "scalar"
        return {tag: [array.dtype.str, list(array.shape), start]}
