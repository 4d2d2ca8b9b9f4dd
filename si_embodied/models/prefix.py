"""Prefix reuse between prompts, and a bounded cache of what was computed from images."""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from si_embodied.models.inputs import ModelInputs

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class ImageSpan:
    """The tokens of one image in a prompt, and a digest of its content."""

    start: int
    stop: int
    digest: bytes  # of the image and of how it was encoded


def image_spans(inputs: ModelInputs) -> tuple[ImageSpan, ...]:
    """The images of a prompt, in order.

    Two images are never adjacent, because every family ends an image with a token of its own.
    """
    edges = np.flatnonzero(np.diff(inputs.is_image, prepend=False, append=False))
    bounds = list(zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True))
    return tuple(
        ImageSpan(start, stop, image.digest) for (start, stop), image in zip(bounds, inputs.images, strict=True)
    )


@dataclass(frozen=True, slots=True, eq=False)
class PromptFeatures(Generic[_T]):
    """The image features of one prompt, ready for the prefill."""

    spans: tuple[ImageSpan, ...]
    features: tuple[_T, ...]  # one per span


@dataclass(frozen=True, slots=True)
class Held:
    """The content of a key/value cache."""

    tokens: tuple[int, ...] = ()
    images: tuple[ImageSpan, ...] = ()  # of the prompt

    def common_prefix(self, tokens: Sequence[int], images: Sequence[ImageSpan]) -> int:
        """How many tokens of a new prompt are cached. Images are compared by content, and reused only as a whole."""
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
    """A least-recently-used cache, keyed by the digest of the input, with a limit in bytes. Any thread may use it."""

    def __init__(self, max_bytes: int) -> None:
        """Limit the total size of the values to `max_bytes`; a single larger value is not stored."""
        self._max_bytes, self.size_bytes = max_bytes, 0
        self._values: OrderedDict[bytes, tuple[_T, int]] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, digest: bytes) -> _T | None:
        """The value, marked as just used; None if it is not stored."""
        with self._lock:
            if digest not in self._values:
                return None
            self._values.move_to_end(digest)
            return self._values[digest][0]

    def put(self, digest: bytes, value: _T, size_bytes: int) -> None:
        """Store a value, and evict others until all fit."""
        with self._lock:
            if digest in self._values:
                self.size_bytes -= self._values.pop(digest)[1]
            if size_bytes > self._max_bytes:
                return
            self._values[digest] = (value, size_bytes)
            self.size_bytes += size_bytes
            while self.size_bytes > self._max_bytes:
                self.size_bytes -= self._values.popitem(last=False)[1][1]

    def clear(self) -> None:
        """Evict everything."""
        with self._lock:
            self._values.clear()
            self.size_bytes = 0
