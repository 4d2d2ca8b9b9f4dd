"""Codecs between our values and what msgpack can carry. Everything decoded is checked.

Messages are untrusted. A codec accepts exactly what it was built for. For anything else (a wrong type, a number out of
range, a missing or unknown field, an array of another dtype or size) it raises a `MessageError` that names the field.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any, Generic, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from si_embodied.errors import MessageError, SiEmbodiedError, shown

T = TypeVar("T")

_BIGGEST = 1e9  # no length in metres is larger, and computing with larger values could overflow


class Codec(Protocol[T]):
    """Encodes and decodes one kind of value."""

    def encode(self, value: T) -> Any:
        """The value as numbers, strings, bytes, lists and maps with string keys."""

    def decode(self, plain: Any, where: str) -> T:
        """The value of an encoded form; `where` names the field in error messages.

        Raises:
            MessageError: `plain` does not encode such a value.
        """


@dataclasses.dataclass(frozen=True, slots=True)
class Number:
    """A finite float in a range."""

    low: float = -math.inf
    high: float = math.inf

    def encode(self, value: float) -> float:
        return float(value)

    def decode(self, plain: Any, where: str) -> float:
        if isinstance(plain, bool) or not isinstance(plain, float | int):
            raise wrong(where, "a number", plain)
        value = float(plain) if abs(plain) < 1e300 else math.inf
        if not math.isfinite(value) or not self.low <= value <= self.high:
            raise wrong(where, f"a finite number from {self.low} to {self.high}", plain)
        return value


@dataclasses.dataclass(frozen=True, slots=True)
class Whole:
    """An integer in a range."""

    low: int
    high: int

    def encode(self, value: int) -> int:
        return int(value)

    def decode(self, plain: Any, where: str) -> int:
        if isinstance(plain, bool) or not isinstance(plain, int) or not self.low <= plain <= self.high:
            raise wrong(where, f"an integer from {self.low} to {self.high}", plain)
        return plain


@dataclasses.dataclass(frozen=True, slots=True)
class Text:
    """A string of bounded length."""

    longest: int

    def encode(self, value: str) -> str:
        return value

    def decode(self, plain: Any, where: str) -> str:
        if not isinstance(plain, str) or len(plain) > self.longest:
            raise wrong(where, f"a string of at most {self.longest} characters", plain)
        return plain


@dataclasses.dataclass(frozen=True, slots=True)
class OneOf(Generic[T]):
    """One of a fixed set of values."""

    choices: tuple[T, ...]

    def encode(self, value: T) -> T:
        return value

    def decode(self, plain: Any, where: str) -> T:
        for choice in self.choices:
            if type(plain) is type(choice) and plain == choice:
                return choice
        raise wrong(where, f"one of {', '.join(map(repr, self.choices))}", plain)


@dataclasses.dataclass(frozen=True, slots=True)
class Maybe(Generic[T]):
    """A value or None."""

    codec: Codec[T]

    def encode(self, value: T | None) -> Any:
        return None if value is None else self.codec.encode(value)

    def decode(self, plain: Any, where: str) -> T | None:
        return None if plain is None else self.codec.decode(plain, where)


@dataclasses.dataclass(frozen=True, slots=True)
class Many(Generic[T]):
    """A tuple of bounded length, all values of one kind."""

    codec: Codec[T]
    most: int
    fewest: int = 0

    def encode(self, values: Sequence[T]) -> list[Any]:
        return [self.codec.encode(value) for value in values]

    def decode(self, plain: Any, where: str) -> tuple[T, ...]:
        if not isinstance(plain, list) or not self.fewest <= len(plain) <= self.most:
            raise wrong(where, f"a list of {self.fewest} to {self.most} items", plain)
        return tuple(self.codec.decode(item, f"{where}[{index}]") for index, item in enumerate(plain))


@dataclasses.dataclass(frozen=True, slots=True)
class Named(Generic[T]):
    """A map from names to values of one kind."""

    codec: Codec[T]
    most: int

    def encode(self, values: Mapping[str, T]) -> dict[str, Any]:
        return {name: self.codec.encode(value) for name, value in values.items()}

    def decode(self, plain: Any, where: str) -> dict[str, T]:
        if not isinstance(plain, dict) or len(plain) > self.most:
            raise wrong(where, f"a map of at most {self.most} names", plain)
        text = Text(100)
        return {
            text.decode(name, f"{where}, a name"): self.codec.decode(value, f"{where}.{name}")
            for name, value in plain.items()
        }


class Record(Generic[T]):
    """A dataclass, field by field: every field and no other."""

    def __init__(self, cls: type[T], *, left_out: Sequence[str] = (), **codecs: Codec[Any]) -> None:
        """Take one codec per field that is sent; a mismatch raises `TypeError` at import.

        Args:
            cls: the dataclass.
            left_out: fields that are not sent, and have their defaults on the other side.
            codecs: by the field's name.
        """
        fields = {field.name for field in dataclasses.fields(cls)} - {*left_out}  # type: ignore[arg-type]
        if fields != codecs.keys():
            raise TypeError(f"{cls.__name__}: fields and codecs differ: {sorted(fields ^ codecs.keys())}")
        self.cls, self._codecs = cls, codecs

    def encode(self, value: T) -> dict[str, Any]:
        """The fields by name."""
        return {name: codec.encode(getattr(value, name)) for name, codec in self._codecs.items()}

    def decode(self, plain: Any, where: str) -> T:
        """The value; errors of the dataclass itself become a `MessageError`."""
        if not isinstance(plain, dict):
            raise wrong(where, f"the fields of {self.cls.__name__}", plain)
        if plain.keys() != self._codecs.keys():
            missing, unknown = sorted(self._codecs.keys() - plain.keys()), sorted(map(str, plain.keys() - self._codecs))
            raise MessageError(
                f"{where}: missing fields: {missing}, unknown: {shown(unknown)}; are both sides on the same version?"
            )
        values = {name: codec.decode(plain[name], f"{where}.{name}") for name, codec in self._codecs.items()}
        try:
            return self.cls(**values)
        except (SiEmbodiedError, ValueError) as error:
            raise MessageError(f"{where}: {error}") from error


class Union(Generic[T]):
    """One of several dataclasses, tagged with its class name."""

    def __init__(self, *records: Record[Any]) -> None:
        """Take one codec per class."""
        self._records = {record.cls.__name__: record for record in records}

    def encode(self, value: T) -> list[Any]:
        """The class name and the fields."""
        name = type(value).__name__
        return [name, self._records[name].encode(value)]

    def decode(self, plain: Any, where: str) -> T:
        """The value, of the named class."""
        if (
            not (isinstance(plain, list) and len(plain) == 2 and isinstance(plain[0], str))
            or plain[0] not in self._records
        ):
            raise wrong(where, f"one of {', '.join(self._records)} and its fields", plain)
        value: T = self._records[plain[0]].decode(plain[1], f"{where}.{plain[0]}")
        return value


@dataclasses.dataclass(frozen=True, slots=True)
class Array:
    """A small array of fixed dtype and shape, sent as its little-endian bytes."""

    dtype: str  # "<f8"
    shape: tuple[int, ...]

    def encode(self, value: NDArray[Any]) -> bytes:
        return np.ascontiguousarray(value, dtype=self.dtype).tobytes()

    def decode(self, plain: Any, where: str) -> NDArray[Any]:
        size = math.prod(self.shape) * np.dtype(self.dtype).itemsize
        if not isinstance(plain, bytes) or len(plain) != size:
            raise wrong(where, f"{size} bytes", plain)
        array = np.frombuffer(plain, dtype=self.dtype).reshape(self.shape)
        if not (np.abs(array) < _BIGGEST).all():
            raise MessageError(f"{where}: expected finite numbers below {_BIGGEST:g}, got: {array.tolist()}")
        return array


def wrong(where: str, expected: str, got: Any) -> MessageError:
    """The error for a field whose value is not as expected."""
    return MessageError(f"{where}: expected {expected}, got: {shown(got)}")
