"""What crosses between two Pythons: JSON over a socket, and arrays in memory that both see. Nothing is ever unpickled.

JSON's own values are themselves. An object is a tag and what it holds: `{"array": [dtype, shape, offset]}`, which lies
at the offset in the shared block, `{"scalar": …}` (a numpy number), `{"tuple": [...]}`, `{"dict": [[key, value], ...]}`
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
_KINDS = "biufcmMSU"  # of numpy's types: all but objects and what has fields


class Block:
    """Memory of two processes, without a name: it is gone when both are, however they ended. It grows as needed."""

    def __init__(self, descriptor: int) -> None:
        """Use the file of `descriptor`, which both sides have open; it is closed with this."""
        self.descriptor = descriptor
        self._map: mmap.mmap | None = None

    @classmethod
    def create(cls) -> Block:
        """New memory: on Linux without a file, elsewhere in a file that has no name any more."""
        if hasattr(os, "memfd_create"):
            return cls(os.memfd_create("si_embodied"))
        with tempfile.TemporaryFile() as file:
            return cls(os.dup(file.fileno()))

    def write(self, array: NDArray[Any], offset: int) -> int:
        """Copy an array to an offset; returns the next one that is free."""
        end = offset + array.nbytes
        if os.fstat(self.descriptor).st_size < end:
            os.ftruncate(self.descriptor, -(-end // mmap.PAGESIZE) * 2 * mmap.PAGESIZE)
        if array.nbytes:
            np.copyto(np.ndarray(array.shape, array.dtype, self._mapped(end), offset), array)
        return -(-end // _ALIGNMENT) * _ALIGNMENT

    def read(self, dtype: str, shape: tuple[int, ...], offset: int) -> NDArray[Any]:
        """A copy of the array at an offset.

        Raises:
            MessageError: it is of objects, or not within the block.
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
        """Give this side's hold on it back; calling it again does nothing."""
        self._map = None
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1


class Channel:
    """Values to and from the other side, which takes turns: the arrays of a message are there until the next one."""

    def __init__(self, connection: socket.socket, block: Block) -> None:
        """Talk over `connection`; arrays go through `block`."""
        self._connection, self._block = connection, block

    def pack(self, value: Any) -> bytes:
        """A value as a message; its arrays are in the shared memory already.

        Raises:
            MessageError: a part of it is of no type that crosses.
        """
        plain = _Encoder(self._block).plain(value, "the message")
        data = json.dumps(plain, separators=(",", ":")).encode()
        if len(data) > _LONGEST:
            raise MessageError(f"a message of {len(data)} bytes beside its arrays, more than {_LONGEST}")
        return _LENGTH.pack(len(data)) + data

    def send(self, message: bytes, timeout_s: float | None = None) -> None:
        """Send what `pack` made last.

        Raises:
            OSError: the other side is gone, or (TimeoutError) does not listen.
        """
        self._connection.settimeout(timeout_s)
        self._connection.sendall(message)

    def receive(self, timeout_s: float | None = None) -> Any:
        """The next value.

        Raises:
            EOFError: the other side is gone.
            TimeoutError: it has said nothing for that long.
            MessageError: it said something else.
        """
        end = None if timeout_s is None else time.monotonic() + timeout_s
        (length,) = _LENGTH.unpack(self._exactly(_LENGTH.size, end))
        if length > _LONGEST:
            raise MessageError(f"a message of {length} bytes, more than {_LONGEST}")
        try:
            return self._decode(json.loads(self._exactly(length, end)))
        except (ValueError, TypeError, KeyError) as error:
            raise MessageError(f"a message that cannot be read: {error}") from error

    def close(self) -> None:
        """Hang up."""
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
                raise EOFError("the other side has hung up")
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
    """Makes one message: its arrays go into the block one after the other."""

    def __init__(self, block: Block) -> None:
        self._block, self._offset = block, 0

    def plain(self, value: Any, where: str) -> Any:
        """The value in JSON's own; `where` says in errors which part of the message it is."""
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
            f"{where} is a {type(value).__module__}.{type(value).__qualname__}, which cannot go to another process; "
            "numbers, texts, arrays, and lists, tuples, dicts and dataclasses of them can"
        )

    def _record(self, fields: dict[str, Any], where: str) -> dict[str, Any]:
        return {"record": [[name, self.plain(value, f"{where}.{name}")] for name, value in fields.items()]}

    def _array(self, value: Any, where: str) -> dict[str, Any]:
        array = np.asarray(value)
        if array.dtype.kind not in _KINDS:
            raise MessageError(f"{where} is an array of {array.dtype}, which cannot go to another process")
        start = self._offset
        self._offset = self._block.write(array, start)
        tag = "array" if isinstance(value, np.ndarray) else "scalar"
        return {tag: [array.dtype.str, list(array.shape), start]}
