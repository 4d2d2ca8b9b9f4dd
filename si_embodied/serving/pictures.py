"""The codec of images, depth and maps: raw and zero-copy, or compressed and lossy."""

from __future__ import annotations

import io
import math
import zlib
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from si_embodied.errors import MessageError, extra
from si_embodied.serving.codec import Many, Whole, wrong


@dataclass(frozen=True, slots=True)
class Picture:
    """A large array, sent as its coding, shape and bytes. Decoded raw arrays are read-only views of the message.

    "raw" is exact. Colour may be "jpeg" (quality 90). Depth may be "millimetres": rounded to whole millimetres and
    deflated; values beyond 65 m and NaN become 0 (no return).
    """

    dtype: str  # "|u1", "<f4"
    channels: int | None  # size of the third axis; None for a two-dimensional array
    coding: str = "raw"  # used to encode; `decode` accepts every coding of the dtype
    longest_side: int = 4096

    def encode(self, value: NDArray[Any]) -> list[Any]:
        array = np.ascontiguousarray(value, dtype=self.dtype)
        if self.coding == "jpeg":
            data: bytes | memoryview = _to_jpeg(array)
        elif self.coding == "millimetres":
            data = _to_millimetres(array)
        else:
            data = array.data.cast("B") if array.size else b""
        return [self.coding, list(array.shape), data]

    def decode(self, plain: Any, where: str) -> NDArray[Any]:
        if not (isinstance(plain, list) and len(plain) == 3 and isinstance(plain[2], bytes)):
            raise wrong(where, "an array's coding, shape and bytes", plain)
        coding, shape, data = plain
        sides = Many(Whole(1, self.longest_side), 2 if self.channels is None else 3, 2).decode(shape, f"{where}.shape")
        if len(sides) != (2 if self.channels is None else 3) or sides[2:] != (self.channels,)[: len(sides) - 2]:
            raise wrong(f"{where}.shape", "rows, columns" + (f" and {self.channels}" if self.channels else ""), shape)
        if coding == "raw":
            size = math.prod(sides) * np.dtype(self.dtype).itemsize
            if len(data) != size:
                raise MessageError(f"{where}: expected {size} bytes for {sides} of {self.dtype}, got: {len(data)}")
            return np.frombuffer(data, dtype=self.dtype).reshape(sides)
        if coding == "jpeg" and self.dtype == "|u1":
            return _from_jpeg(data, sides, where)
        if coding == "millimetres" and self.dtype == "<f4":
            return _from_millimetres(data, sides, where)
        raise wrong(f"{where}.coding", f"a coding for {self.dtype}", coding)


def _to_jpeg(rgb: NDArray[np.uint8]) -> bytes:
    stream = io.BytesIO()
    _pillow().fromarray(rgb).save(stream, "JPEG", quality=90)
    return stream.getvalue()


def _from_jpeg(data: bytes, shape: tuple[int, ...], where: str) -> NDArray[np.uint8]:
    try:
        with _pillow().open(io.BytesIO(data), formats=("JPEG",)) as image:
            # Checked before decoding: a small file can decode to a huge image.
            if (image.height, image.width, 3) != shape or image.mode != "RGB":
                raise MessageError(f"{where}: expected an RGB image of {shape}, got: {image.mode} of {image.size}")
            return np.asarray(image)
    except MessageError:
        raise
    except Exception as error:  # Pillow raises a dozen types, one of them for an image that is too big to open
        raise MessageError(f"{where}: not a JPEG image: {error}") from error


def _pillow() -> Any:
    with extra("serve"):
        from PIL import Image
    return Image


def _to_millimetres(depth_m: NDArray[np.float32]) -> bytes:
    millimetres = np.rint(depth_m * np.float32(1000))
    known = (millimetres >= 0) & (millimetres <= np.iinfo(np.uint16).max)
    return zlib.compress(np.where(known, millimetres, 0).astype("<u2").tobytes(), level=1)


def _from_millimetres(data: bytes, shape: tuple[int, ...], where: str) -> NDArray[np.float32]:
    size = 2 * math.prod(shape)
    unpacking = zlib.decompressobj()
    try:
        plain = unpacking.decompress(data, size)
    except zlib.error as error:
        raise MessageError(f"{where}: not deflate-compressed: {error}") from error
    if len(plain) != size or unpacking.unconsumed_tail:
        raise MessageError(f"{where}: expected {size} decompressed bytes for {shape} millimetres, got another size")
    return np.frombuffer(plain, dtype="<u2").reshape(shape).astype(np.float32) / np.float32(1000)
