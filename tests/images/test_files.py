"""Images and depth from files."""

from __future__ import annotations

import io
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("PIL")
from PIL import Image

from si_embodied.errors import ObservationError
from si_embodied.images.files import read_depth, read_rgb

RED, GREEN = (255, 0, 0), (0, 255, 0)
ORIENTATION = 0x0112
MILLIMETRES = np.array([[0, 1, 1500], [2000, 3000, 65535]], dtype=np.uint16)
METRES = np.array([[0.0, 0.001, 1.5], [2.0, 3.0, 65.535]], dtype=np.float32)


def two_pixels() -> Image.Image:
    """Red on the left, green on the right."""
    image = Image.new("RGB", (2, 1), RED)
    image.putpixel((1, 0), GREEN)
    return image


@pytest.mark.parametrize(
    ("orientation", "expected"),
    [
        (1, [[RED, GREEN]]), (2, [[GREEN, RED]]), (3, [[GREEN, RED]]), (4, [[RED, GREEN]]), (5, [[RED], [GREEN]]),
        (6, [[RED], [GREEN]]), (7, [[GREEN], [RED]]), (8, [[GREEN], [RED]]),
    ],
)  # fmt: skip
def test_a_photo_is_turned_upright_as_its_exif_orientation_says(
    orientation: int, expected: list[list[tuple[int, ...]]], tmp_path: Path
) -> None:
    """The stored image's left column is its top row at 5 and 6, its bottom row at 7 and 8 (EXIF 2.32, 4.6.4)."""
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    two_pixels().save(tmp_path / "photo.png", exif=exif)
    assert np.array_equal(read_rgb(tmp_path / "photo.png"), np.array(expected))


@pytest.mark.parametrize("mode", ["L", "LA", "RGBA", "P", "CMYK", "1"])
def test_other_colour_modes_become_rgb(mode: str, tmp_path: Path) -> None:
    Image.new("RGB", (4, 3), (255, 255, 255)).convert(mode).save(tmp_path / "image.tiff")
    assert np.array_equal(read_rgb(tmp_path / "image.tiff"), np.full((3, 4, 3), 255))


def test_what_is_transparent_is_white(tmp_path: Path) -> None:
    Image.new("RGBA", (2, 2), (0, 0, 0, 0)).save(tmp_path / "icon.png")
    assert np.array_equal(read_rgb(tmp_path / "icon.png"), np.full((2, 2, 3), 255))


@pytest.mark.parametrize("name", ["depth.png", "depth.tiff"])
def test_a_16_bit_image_holds_millimetres(name: str, tmp_path: Path) -> None:
    Image.fromarray(MILLIMETRES).save(tmp_path / name)
    depth = read_depth(tmp_path / name)
    assert depth.dtype == np.float32
    assert np.allclose(depth, METRES)


def test_a_floating_point_tiff_holds_metres(tmp_path: Path) -> None:
    Image.fromarray(METRES).save(tmp_path / "depth.tiff")
    assert np.array_equal(read_depth(tmp_path / "depth.tiff"), METRES)


@pytest.mark.parametrize("dtype", [np.uint16, ">u2", np.int32, np.uint32, np.int64])
def test_an_integer_array_holds_millimetres(dtype: object, tmp_path: Path) -> None:
    np.save(tmp_path / "depth.npy", MILLIMETRES.astype(dtype))  # type: ignore[call-overload]
    assert np.allclose(read_depth(tmp_path / "depth.npy"), METRES)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, ">f4"])
def test_a_floating_point_array_holds_metres(dtype: object, tmp_path: Path) -> None:
    np.save(tmp_path / "depth.npy", METRES.astype(dtype)[..., None])  # type: ignore[call-overload]
    depth = read_depth(tmp_path / "depth.npy")
    assert (depth.dtype, depth.shape) == (np.float32, (2, 3))
    assert np.allclose(depth, METRES)


@pytest.mark.parametrize(
    "values",
    [np.zeros((3, 3), np.uint8), np.zeros((3, 3, 3)), np.zeros(4), np.zeros((0, 3)), np.zeros((2, 2), complex)],
)
def test_an_array_that_is_not_depth_is_an_error(values: np.ndarray, tmp_path: Path) -> None:
    np.save(tmp_path / "depth.npy", values)
    with pytest.raises(ObservationError, match=r"not a depth image.*millimetres"):
        read_depth(tmp_path / "depth.npy")


def test_an_8_bit_image_is_not_depth_and_depth_is_not_colour(tmp_path: Path) -> None:
    two_pixels().save(tmp_path / "colour.png")
    Image.fromarray(MILLIMETRES).save(tmp_path / "depth.png")
    with pytest.raises(ObservationError, match="not a depth image"):
        read_depth(tmp_path / "colour.png")
    with pytest.raises(ObservationError, match="like a depth image"):
        read_rgb(tmp_path / "depth.png")


def npy(header: str) -> bytes:
    text = header.encode().ljust(118) + b"\n"
    return b"\x93NUMPY\1\0" + len(text).to_bytes(2, "little") + text


@pytest.mark.parametrize(
    "content",
    [
        b"", b"text", npy("{'descr': '<f4', 'fortran_order': False, 'shape': (1000000000, 1000000000)}"),
        npy("{'descr': '|O', 'fortran_order': False, 'shape': (1,)}"), npy("(" * 50), npy("{'descr': 5}"), b"PK\3\4",
    ],
)  # fmt: skip
def test_a_damaged_file_is_an_error(content: bytes, tmp_path: Path) -> None:
    for name, read in (("a.npy", read_depth), ("a.png", read_depth), ("a.png", read_rgb)):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ObservationError, match="not an image|not a numpy"):
            read(tmp_path / name)


def test_an_archive_is_not_an_array(tmp_path: Path) -> None:
    with (tmp_path / "depth.npy").open("wb") as stream:
        np.savez(stream, METRES)
    with pytest.raises(ObservationError, match="archive"):
        read_depth(tmp_path / "depth.npy")


@pytest.mark.parametrize("read", [read_rgb, read_depth])
def test_a_missing_file_is_named(read: object, tmp_path: Path) -> None:
    with pytest.raises(ObservationError, match=r"no such .*nowhere"):
        read(tmp_path / "nowhere.png")  # type: ignore[operator]
    with pytest.raises(ObservationError):
        read(tmp_path)  # type: ignore[operator]


def _png() -> bytes:
    stream = io.BytesIO()
    Image.fromarray(MILLIMETRES).save(stream, "PNG")
    return stream.getvalue()


def _npy() -> bytes:
    stream = io.BytesIO()
    np.save(stream, METRES)
    return stream.getvalue()


FILES = {"depth.png": _png(), "depth.npy": _npy()}


@pytest.mark.filterwarnings("ignore")  # Pillow's and numpy's on damaged files
@given(
    name=st.sampled_from(sorted(FILES)), at=st.floats(0, 1), data=st.binary(min_size=1, max_size=6), cut=st.floats(0, 1)
)
@settings(max_examples=300, derandomize=True, deadline=None)
def test_any_damage_is_an_observation_error_or_harmless(
    name: str, at: float, data: bytes, cut: float, tmp_path_factory: pytest.TempPathFactory
) -> None:
    content = bytearray(FILES[name])
    start = int(at * len(content))
    content[start : start + len(data)] = data
    file = tmp_path_factory.getbasetemp() / name
    file.write_bytes(content[: int((0.5 + cut / 2) * len(content))])
    with suppress(ObservationError):
        assert read_depth(file).ndim == 2
