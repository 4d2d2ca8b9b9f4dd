"""Conversion of messages to the core's values. Messages are stand-ins with the same fields, so this needs no ROS."""

from __future__ import annotations

import array
import io
import struct
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from si_embodied.errors import ObservationError
from si_embodied.geometry import Pose
from si_embodied.ros_nodes.sensing import bridge


def image(encoding: str, width: int, height: int, data: bytes, *, step: int = 0, big: bool = False) -> Any:
    return SimpleNamespace(
        encoding=encoding, width=width, height=height, step=step, is_bigendian=big, data=array.array("B", data)
    )


def test_a_stamp_survives_a_round_trip() -> None:
    stamp = SimpleNamespace(sec=0, nanosec=0)
    bridge.set_stamp(stamp, 12.25)
    assert (stamp.sec, stamp.nanosec) == (12, 250_000_000)
    assert bridge.seconds(stamp) == 12.25


def test_a_stamp_just_under_a_second_does_not_overflow_its_nanoseconds() -> None:
    stamp = SimpleNamespace(sec=0, nanosec=0)
    bridge.set_stamp(stamp, 0.9999999999)
    assert (stamp.sec, stamp.nanosec) == (1, 0)


@pytest.mark.parametrize("time_s", [-1.0, float("nan"), float("inf"), 2.0**31, 1e12])
def test_a_time_that_ros_cannot_represent_is_refused(time_s: float) -> None:
    """A stamp's seconds have 31 bits."""
    with pytest.raises(ObservationError, match="expected a time"):
        bridge.set_stamp(SimpleNamespace(), time_s)


def test_a_transform_survives_a_round_trip() -> None:
    message = SimpleNamespace(translation=SimpleNamespace(), rotation=SimpleNamespace())
    pose = Pose.from_rpy(0.1, -0.4, 2.0, (1.0, -2.0, 0.5))
    bridge.set_transform(message, pose)
    np.testing.assert_allclose(bridge.pose_of_transform(message).matrix(), pose.matrix(), atol=1e-12)


@pytest.mark.parametrize(
    ("encoding", "pixel"),
    [("rgb8", (10, 20, 30)), ("bgr8", (30, 20, 10)), ("rgba8", (10, 20, 30, 99)), ("bgra8", (30, 20, 10, 99))],
)
def test_colours_come_out_as_rgb(encoding: str, pixel: tuple[int, ...]) -> None:
    rgb = bridge.rgb_of(image(encoding, 2, 1, bytes(pixel) * 2))
    assert rgb.shape == (1, 2, 3)
    assert rgb[0, 1].tolist() == [10, 20, 30]


@pytest.mark.parametrize(
    ("encoding", "pixel"), [("8UC3", (30, 20, 10)), ("8UC4", (30, 20, 10, 99)), ("8UC1", (7,)), ("mono16", (3, 7))]
)
def test_encodings_that_leave_the_order_open_are_opencvs(encoding: str, pixel: tuple[int, ...]) -> None:
    rgb = bridge.rgb_of(image(encoding, 2, 1, bytes(pixel) * 2))
    assert rgb[0, 1].tolist() == ([7, 7, 7] if len(pixel) < 3 else [10, 20, 30])


def test_the_first_byte_of_a_big_endian_grey_pixel_counts() -> None:
    assert bridge.rgb_of(image("mono16", 1, 1, bytes([7, 3]), big=True)).tolist() == [[[7, 7, 7]]]


@pytest.mark.parametrize(
    ("encoding", "order"), [("uyvy", "uyvz"), ("yuv422", "uyvz"), ("yuyv", "yuzv"), ("yuv422_yuy2", "yuzv")]
)
@pytest.mark.parametrize(
    ("yuv", "rgb"),
    [((81, 90, 240), (255, 0, 0)), ((145, 54, 34), (0, 255, 0)), ((41, 240, 110), (0, 0, 255)), ((235, 128, 128), 255)],
)
def test_yuv_is_converted_by_bt601(
    encoding: str, order: str, yuv: tuple[int, int, int], rgb: tuple[int, int, int] | int
) -> None:
    """The primaries and white in 8-bit studio range: ITU-R BT.601. Both pixels of a pair have one colour here."""
    value = {"y": yuv[0], "z": yuv[0], "u": yuv[1], "v": yuv[2]}
    pair = bytes(value[name] for name in order)
    decoded = bridge.rgb_of(image(encoding, 4, 2, pair * 4))
    assert decoded.shape == (2, 4, 3)
    np.testing.assert_allclose(decoded[1, 3], rgb, atol=3)


def test_a_yuv_image_of_odd_width_is_refused() -> None:
    with pytest.raises(ObservationError, match="even width, got: 3"):
        bridge.rgb_of(image("uyvy", 3, 1, bytes(6)))


@pytest.mark.parametrize("pattern", ["rggb", "bggr", "gbrg", "grbg"])
@pytest.mark.parametrize("bits", [8, 16])
def test_a_bayer_mosaic_of_one_colour_is_that_colour(pattern: str, bits: int) -> None:
    """Each pixel has one of the colour's three values, where the pattern says so: the first row first."""
    value = {"r": 200, "g": 100, "b": 50}
    cell = np.array([value[name] for name in pattern], np.uint16).reshape(2, 2) << (bits - 8)
    data = np.tile(cell, (4, 4)).astype(f"<u{bits // 8}").tobytes()
    rgb = bridge.rgb_of(image(f"bayer_{pattern}{bits}", 8, 8, data))
    assert (rgb == [200, 100, 50]).all()


def test_padding_is_skipped_in_every_encoding() -> None:
    grey = bridge.rgb_of(image("bayer_rggb8", 4, 4, bytes([9] * 4 + [77] * 4) * 4, step=8))
    assert (grey == 9).all()


def test_grey_is_grey_in_all_channels() -> None:
    assert bridge.rgb_of(image("mono8", 2, 1, bytes([7, 9]))).tolist() == [[[7, 7, 7], [9, 9, 9]]]


def test_padding_at_the_end_of_a_row_is_skipped() -> None:
    rgb = bridge.rgb_of(image("rgb8", 1, 2, bytes([1, 2, 3, 99, 4, 5, 6, 99]), step=4))
    assert rgb[:, 0].tolist() == [[1, 2, 3], [4, 5, 6]]


def test_millimetres_become_metres_in_either_byte_order() -> None:
    little = bridge.depth_of(image("16UC1", 2, 1, np.array([1500, 0], "<u2").tobytes()))
    big = bridge.depth_of(image("16UC1", 2, 1, np.array([1500, 0], ">u2").tobytes(), big=True))
    np.testing.assert_allclose(little, [[1.5, 0.0]])
    np.testing.assert_allclose(big, [[1.5, 0.0]])


def test_invalid_depth_becomes_zero() -> None:
    data = np.array([2.5, np.nan, np.inf, -1.0], "<f4").tobytes()
    assert bridge.depth_of(image("32FC1", 4, 1, data)).tolist() == [[2.5, 0.0, 0.0, 0.0]]


@pytest.mark.parametrize("read", [bridge.rgb_of, bridge.depth_of])
def test_an_unknown_encoding_is_named(read: Any) -> None:
    with pytest.raises(ObservationError, match="encoded as one of .*'yuv444'"):
        read(image("yuv444", 1, 1, bytes(4)))


def test_an_image_with_too_few_bytes_is_refused() -> None:
    with pytest.raises(ObservationError, match="does not fit"):
        bridge.rgb_of(image("rgb8", 4, 4, bytes(10)))


def compressed(form: str, data: bytes) -> Any:
    return SimpleNamespace(format=form, data=array.array("B", data))


@pytest.mark.parametrize("form", ["PNG", "JPEG"])
def test_a_compressed_image_comes_out_as_rgb(form: str) -> None:
    from PIL import Image

    buffer = io.BytesIO()
    Image.new("RGB", (3, 2), (200, 10, 10)).save(buffer, form)
    rgb = bridge.rgb_of_compressed(compressed(form.lower(), buffer.getvalue()))
    assert rgb.shape == (2, 3, 3)
    np.testing.assert_allclose(rgb[0, 0], [200, 10, 10], atol=2)  # JPEG is lossy


def test_an_orientation_in_the_header_does_not_turn_a_compressed_image() -> None:
    from PIL import Image

    buffer, exif = io.BytesIO(), Image.Exif()
    exif[0x0112] = 6  # "rotate by 90 degrees to display"
    Image.new("RGB", (3, 2)).save(buffer, "JPEG", exif=exif)
    assert bridge.rgb_of_compressed(compressed("jpeg", buffer.getvalue())).shape == (2, 3, 3)


def test_a_chunk_that_claims_more_than_there_is_takes_no_memory() -> None:
    """OpenCV reserves the length that a PNG's chunk claims: a gigabyte for this one of a few bytes."""
    import resource

    chunk = struct.pack(">I4s", 13, b"IHDR") + struct.pack(">IIBBBBB", 6, 4, 16, 0, 0, 0, 0) + bytes(4)
    data = b"\x89PNG\r\n\x1a\n" + chunk + struct.pack(">I4s", 1 << 30, b"IDAT") + bytes(100)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for read in (bridge.rgb_of_compressed, bridge.depth_of):
        with pytest.raises(ObservationError, match="cut short"):
            read(compressed("16UC1; png", data))
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000  # kB


@pytest.mark.parametrize("data", [b"", b"nonsense"])
def test_a_compressed_image_that_cannot_be_decoded_is_refused(data: bytes) -> None:
    with pytest.raises(ObservationError, match="'jpeg'"):
        bridge.rgb_of_compressed(compressed("jpeg", data))
