"""What two prompts have in common, and a bounded store for what was computed of their images."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from si_embodied.models.families import ModelInputs

_T = TypeVar("_T")

STORE_BYTES = 256 * 2**20
"""Image features a runner keeps by default."""


@dataclass(frozen=True, slots=True)
class ImageSpan:
    """The tokens that stand for one image, and what it shows."""

    start: int
    stop: int
    digest: bytes  # of the pixels and of how they are laid out


def image_spans(inputs: ModelInputs) -> tuple[ImageSpan, ...]:
    """The images of a prompt, in order.

    Between two images there is always text: every family closes an image with a token of its own.
    """
    edges = np.flatnonzero(np.diff(inputs.is_image, prepend=False, append=False))
    bounds = list(zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True))
    pixels = image_pixels(inputs.pixels, [stop - start for start, stop in bounds])
    return tuple(ImageSpan(start, stop, _digest(arrays)) for (start, stop), arrays in zip(bounds, pixels, strict=True))


def image_pixels(
    pixels: Mapping[str, NDArray[Any]], token_counts: Sequence[int]
) -> list[Mapping[str, NDArray[Any]]]:  # fmt: skip
    """A prompt's pixels, apart for each image, by the model's argument names.

    Args:
        pixels: of all images: Qwen-VL's patches with one row of `image_grid_thw` an image, or InternVL's tiles.
        token_counts: how many tokens stand for each image; tiles are shared out in proportion.
    """
    if not token_counts:
        return []
    values = pixels["pixel_values"]
    grids = pixels.get("image_grid_thw")
    shares = np.array(token_counts) if grids is None else grids.prod(axis=1)
    rows = np.cumsum(shares * len(values) // shares.sum())[:-1]
    parts = np.split(values, rows)
    if grids is None:
        return [{"pixel_values": part} for part in parts]
    return [{"pixel_values": part, "image_grid_thw": grid[None]} for part, grid in zip(parts, grids, strict=True)]


def _digest(arrays: Mapping[str, NDArray[Any]]) -> bytes:
    """Equal only for equal arrays of equal shapes."""
    digest = hashlib.sha256()
    for name, array in arrays.items():
        digest.update(f"{name}{array.dtype}{array.shape}".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.digest()


@dataclass(frozen=True, slots=True, eq=False)
class PromptFeatures(Generic[_T]):
    """The image features of one prompt, ready for the prefill."""

    spans: tuple[ImageSpan, ...]
    features: tuple[_T, ...]  # one per span


@dataclass(frozen=True, slots=True)
class Held:
    """What a key/value cache holds."""

    tokens: tuple[int, ...] = ()
    images: tuple[ImageSpan, ...] = ()  # ImageSpans of the prompt that it began with

    def common_prefix(self, tokens: Sequence[int], images: Sequence[ImageSpan]) -> int:
        """How many tokens of a new prompt are held, images compared by what they show; never a part of an image."""
        length = 0
        for mine, new in zip(self.tokens, tokens, strict=False):
            if mine != new:
                break
            length += 1
        for index, image in enumerate(images):
            if image.start >= length:
                break
            if index >= len(self.images) or self.images[index] != image or image.stop > length:
                return image.start
        return length


class BoundedStore(Generic[_T]):
    """Values by the digest of what they were computed from, the least lately used dropped first."""

    def __init__(self, max_bytes: int) -> None:
        """Hold values of at most `max_bytes` together; one that is bigger than that is not kept."""
        self._max_bytes, self.size_bytes = max_bytes, 0
        self._values: OrderedDict[bytes, tuple[_T, int]] = OrderedDict()

    def get(self, digest: bytes) -> _T | None:
        """The value, which then counts as just used."""
        if digest not in self._values:
            return None
        self._values.move_to_end(digest)
        return self._values[digest][0]

    def put(self, digest: bytes, value: _T, size_bytes: int) -> None:
        """Keep a value, and drop others until all fit."""
        if digest in self._values:
            self.size_bytes -= self._values.pop(digest)[1]
        if size_bytes > self._max_bytes:
            return
        self._values[digest] = (value, size_bytes)
        self.size_bytes += size_bytes
        while self.size_bytes > self._max_bytes:
            self.size_bytes -= self._values.popitem(last=False)[1][1]

    def clear(self) -> None:
        """Drop everything."""
        self._values.clear()
        self.size_bytes = 0
