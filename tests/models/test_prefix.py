"""Prefix reuse, and the bounded store."""

from __future__ import annotations

import numpy as np
import pytest

from si_embodied.models.prefix import BoundedStore, Held, ImageSpan, image_pixels, image_spans

pytest.importorskip("transformers")
from si_embodied.models.families import ModelInputs


def _inputs(shown: list[int], grids: list[tuple[int, int]]) -> ModelInputs:
    """Qwen-VL: each image between two words, all its patches of one value; four patches per token."""
    ids, is_image, patches = [1], [False], []
    for value, (rows, columns) in zip(shown, grids, strict=True):
        ids += [9] * (rows * columns // 4) + [1]
        is_image += [True] * (rows * columns // 4) + [False]
        patches.append(np.full((rows * columns, 3), value, dtype=np.float32))
    grid_thw = np.array([(1, *grid) for grid in grids])
    pixels = {"pixel_values": np.concatenate(patches), "image_grid_thw": grid_thw}
    return ModelInputs(np.array(ids), np.array(is_image), pixels, ())


def test_image_spans_are_found_and_compared_by_content() -> None:
    first, second, third = image_spans(_inputs([5, 6, 5], [(2, 4), (4, 4), (2, 4)]))
    assert [(span.start, span.stop) for span in (first, second, third)] == [(1, 3), (4, 8), (9, 11)]
    assert first.digest == third.digest != second.digest


def test_the_same_pixels_in_another_layout_are_another_image() -> None:
    """Blank images of 2 x 8 and 4 x 4 patches have equal bytes."""
    wide, square = image_spans(_inputs([0, 0], [(2, 8), (4, 4)]))
    assert wide.digest != square.digest


def test_tiles_are_divided_by_token_count() -> None:
    """InternVL: three tiles of four tokens; the first image has one tile and the second two."""
    tiles = np.arange(3.0).reshape(3, 1, 1, 1)
    one, two = image_pixels({"pixel_values": tiles}, [4, 8])
    assert one["pixel_values"].ravel().tolist() == [0]
    assert two["pixel_values"].ravel().tolist() == [1, 2]


def test_a_prompt_without_images_has_no_spans() -> None:
    assert image_spans(ModelInputs(np.arange(3), np.zeros(3, dtype=np.bool_), {}, ())) == ()


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
