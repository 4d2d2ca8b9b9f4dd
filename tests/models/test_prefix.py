"""Prefix reuse, and the bounded store."""

from __future__ import annotations

import numpy as np
import pytest

from si_embodied.models.prefix import BoundedStore, Held, ImageSpan, image_spans

pytest.importorskip("transformers")
from si_embodied.models.inputs import EncodedImage, ModelInputs


def test_image_spans_are_found_and_compared_by_content() -> None:
    images = tuple(EncodedImage({}, count, (1, 1), digest) for count, digest in ((2, b"a"), (4, b"b"), (2, b"a")))
    is_image = np.array([0, 1, 1, 0, 1, 1, 1, 1, 0, 1, 1, 0], dtype=np.bool_)
    first, second, third = image_spans(ModelInputs(np.arange(12), is_image, images))
    assert [(span.start, span.stop) for span in (first, second, third)] == [(1, 3), (4, 8), (9, 11)]
    assert first.digest == third.digest != second.digest


def test_a_prompt_without_images_has_no_spans() -> None:
    assert image_spans(ModelInputs(np.arange(3), np.zeros(3, dtype=np.bool_), ())) == ()


_IMAGE, _OTHER = ImageSpan(2, 5, b"a"), ImageSpan(2, 5, b"b")
_TOKENS = (1, 2, 9, 9, 9, 3, 4)


@pytest.mark.parametrize(
    ("tokens", "images", "common"),
    [
        (_TOKENS, (_IMAGE,), 7),
        ((*_TOKENS, 5), (_IMAGE,), 7),
        ((1, 2, 9, 9, 9, 3, 5), (_IMAGE,), 6),
        ((1, 3, 9, 9, 9, 3, 4), (_IMAGE,), 1),
        (_TOKENS, (_OTHER,), 2),  # the picture is another
        (_TOKENS[:4], (_IMAGE,), 2),  # never a part of an image
        ((1, 2, 3), (), 2),
        ((1, 2, 9, 9, 9, 9, 3), (ImageSpan(2, 6, b"c"),), 2),
        ((7,), (), 0),
    ],
)
def test_the_common_prefix(tokens: tuple[int, ...], images: tuple[ImageSpan, ...], common: int) -> None:
    assert Held(_TOKENS, (_IMAGE,)).common_prefix(tokens, images) == common


def test_the_store_evicts_the_least_recently_used() -> None:
    store: BoundedStore[str] = BoundedStore(10)
    store.put(b"a", "A", 4)
    store.put(b"b", "B", 4)
    assert store.get(b"a") == "A"
    store.put(b"c", "C", 4)
    assert (store.get(b"a"), store.get(b"b"), store.get(b"c")) == ("A", None, "C")


def test_the_store_never_exceeds_its_limit() -> None:
    """With values replaced, evicted and too big, in random order."""
    rng, store = np.random.default_rng(0), BoundedStore[int](100)
    sizes: dict[int, int] = {}
    for _ in range(500):
        key, size = int(rng.integers(20)), int(rng.integers(1, 130))
        store.put(bytes([key]), key, size)
        sizes[key] = size
        held = [key for key in range(20) if store.get(bytes([key])) is not None]
        assert store.size_bytes == sum(sizes[key] for key in held) <= 100
    store.clear()
    assert store.size_bytes == 0
