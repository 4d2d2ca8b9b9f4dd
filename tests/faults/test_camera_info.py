"""Calibrations that are invalid, that change, or that describe a region of a binned sensor; and image bombs."""

from __future__ import annotations

import math
import struct
import time
import tracemalloc
import zlib
from typing import Any

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="sensors are subscribed to through rclpy")

from fake_sensors import HEIGHT, PIXELS, WIDTH, K, Robot, colour, depth, info, stamped
from sensor_msgs.msg import CompressedImage, RegionOfInterest

from si_embodied.geometry import Intrinsics
from si_embodied.types import Code, Observation, Refusal


def with_info(message: Any, **changes: Any) -> tuple[Robot, Observation | Refusal]:
    robot = Robot()
    robot.node.send("head/camera_info", message)
    robot.step(**changes)
    return robot, robot.sensors.observe()


def intrinsics(seen: Observation | Refusal) -> Intrinsics:
    assert isinstance(seen, Observation), seen
    return seen.frames[0].intrinsics


@pytest.mark.parametrize(
    "message",
    [
        info(k=[50.0, 0.0, math.nan, *K[3:]]), info(k=[math.inf, *K[1:]]), info(k=[0.0] * 9), info(k=[-50.0, *K[1:]]),
        info(width=0), info(binning_x=1000), info(d=[0.1] * 9), info(d=[math.nan] * 5), info(distortion_model="?"),
    ],
    ids=["nan", "inf", "zero", "negative", "size", "binning", "count", "nan distortion", "model"],
)  # fmt: skip
@pytest.mark.promise(recovers="with the next valid calibration")
def test_an_invalid_calibration_is_counted_and_holds_until_a_valid_one_comes(message: Any) -> None:
    robot, seen = with_info(message)
    assert isinstance(seen, Refusal)
    assert seen.code is Code.NO_IMAGE
    assert robot.sensors.problem() == Refusal(Code.NO_IMAGE, "the newest calibration of 'head' is invalid")
    assert robot.sensors.rejected == {"camera_info of head": 1}
    assert robot.sensors.last_rejection.startswith("camera_info of head: ObservationError")
    robot.node.send("head/camera_info", info())
    assert isinstance(robot.sensors.observe(), Observation)
    assert robot.sensors.problem() is None


def test_without_calibration_there_is_no_image() -> None:
    robot = Robot()
    robot.sensors.cameras[0]._info = None
    robot.step()
    seen = robot.sensors.observe()
    assert isinstance(seen, Refusal)
    assert "no calibration of the camera 'head' has arrived on head/camera_info" in seen.message


def test_a_latched_calibration_is_subscribed_to_if_none_arrives() -> None:
    """The second subscription is the one that a latching publisher's earlier message reaches."""
    robot = Robot()
    robot.node.timers[0]()
    assert len(robot.node.callbacks["head/camera_info"]) == 1
    robot.sensors.cameras[0]._info = None
    for _ in range(3):
        robot.node.timers[0]()
    _, latched = robot.node.callbacks["head/camera_info"]
    latched(info())
    robot.step()
    assert isinstance(robot.sensors.observe(), Observation)


def test_a_region_that_moves_while_k_stays_moves_the_principal_point() -> None:
    robot, seen = with_info(info(width=84, roi=RegionOfInterest(width=64, height=48)))
    assert intrinsics(seen).cx == 31.5
    robot.node.send("head/camera_info", info(width=84, roi=RegionOfInterest(x_offset=20, width=64, height=48)))
    assert intrinsics(robot.sensors.observe()).cx == 11.5


@pytest.mark.parametrize(
    "region",
    [
        {"x_offset": 20},
        {"x_offset": 1000},
        {"x_offset": 40, "y_offset": 24, "width": 64, "height": 48},
        {"y_offset": 10, "width": 64, "height": 48},
    ],
)
@pytest.mark.promise(code="NO_IMAGE")
def test_a_region_that_contradicts_k_or_has_no_size_is_refused(region: dict[str, int]) -> None:
    """K's principal point, (31.5, 23.5), is that of the 64 x 48 pixels of the image themselves."""
    robot, _ = with_info(info())
    robot.node.send("head/camera_info", info(roi=RegionOfInterest(**region)))
    seen = robot.sensors.observe()
    assert isinstance(seen, Refusal)
    assert seen.code is Code.NO_IMAGE


def test_a_model_that_changes_while_k_stays_changes_the_image() -> None:
    robot, seen = with_info(info())
    robot.node.send("head/camera_info", info(distortion_model="equidistant", d=[0.0] * 4))
    again = robot.sensors.observe()
    assert isinstance(seen, Observation)
    assert isinstance(again, Observation)
    assert not np.array_equal(seen.frames[0].rgb, again.frames[0].rgb)


def test_a_calibrated_size_that_changes_is_refused_until_the_images_change_too() -> None:
    robot, _ = with_info(info())
    robot.node.send("head/camera_info", info(width=32))
    seen = robot.sensors.observe()
    assert isinstance(seen, Refusal)
    assert "is 64 x 48, but its camera_info is for 32 x 48" in seen.message


# A sensor of 200 x 160 with its principal point at (103.5, 83.5), of which 128 x 96 from (40, 30) are read out and
# binned by two: pixel 0 of the image sums the columns 40 and 41. (103.5 - 40 + 0.5) / 2 - 0.5 = 31.5; (83.5 - 30 + 0.5)
# / 2 - 0.5 = 26.5.
SENSOR_K = [100.0, 0.0, 103.5, 0.0, 100.0, 83.5, 0.0, 0.0, 1.0]
REGION = RegionOfInterest(x_offset=40, y_offset=30, width=128, height=96)


@pytest.mark.parametrize(("width", "height"), [(200, 160), (128, 96)], ids=["the sensor's size", "the region's size"])
def test_a_binned_region_of_the_sensor_is_understood_in_both_forms(width: int, height: int) -> None:
    message = info(width=width, height=height, k=SENSOR_K, roi=REGION, binning_x=2, binning_y=2)
    robot, seen = with_info(message)
    assert intrinsics(seen) == Intrinsics(WIDTH, HEIGHT, 50.0, 50.0, 31.5, 26.5)
    assert robot.sensors.rejected == {}


@pytest.mark.parametrize(("width", "height"), [(200, 160), (64, 48)], ids=["the sensor's size", "the region's size"])
def test_a_region_without_binning_is_understood_in_both_forms(width: int, height: int) -> None:
    region = RegionOfInterest(x_offset=40, y_offset=30, width=WIDTH, height=HEIGHT)
    _, seen = with_info(info(width=width, height=height, k=SENSOR_K, roi=region))
    assert intrinsics(seen) == Intrinsics(WIDTH, HEIGHT, 100.0, 100.0, 63.5, 53.5)


def test_binning_of_the_whole_sensor_is_understood_in_both_forms() -> None:
    """Calibrated at full resolution, or at that of the binned image, in which nothing is left to be applied."""
    full = [100.0, 0.0, 63.5, 0.0, 100.0, 47.5, 0.0, 0.0, 1.0]
    for message, expected in (
        (info(width=128, height=96, k=full, binning_x=2, binning_y=2), Intrinsics(64, 48, 50.0, 50.0, 31.5, 23.5)),
        (info(binning_x=2, binning_y=2), Intrinsics(64, 48, 50.0, 50.0, 31.5, 23.5)),
        (info(k=full, binning_x=2, binning_y=2), Intrinsics(64, 48, 50.0, 50.0, 31.5, 23.5)),
    ):
        assert intrinsics(with_info(message)[1]) == expected


def test_a_region_beyond_the_sensor_is_refused() -> None:
    region = RegionOfInterest(x_offset=40, y_offset=0, width=48, height=48)
    robot, seen = with_info(info(roi=region))
    assert isinstance(seen, Refusal)
    assert "48 from 40" in seen.message
    assert robot.sensors.rejected == {"camera_info of head": 1}


# --- images that are not what they say ------------------------------------------------------------------------------


def png_bomb(width: int, height: int) -> bytes:
    """A small PNG of one colour that decodes to width x height."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = zlib.compressobj(9)
    packed = b"".join(rows.compress(bytes(1 + width // 8)) for _ in range(height)) + rows.flush()
    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", packed) + chunk(b"IEND", b"")


def compressed(data: bytes, message: Any = None) -> Observation | Refusal:
    robot = Robot(compressed=True)
    robot.node.send("head/camera_info", message or info())
    robot.step(image=None)
    robot.node.send("head/image_raw/compressed", stamped(CompressedImage(format="png", data=data), robot.node.now_s))
    tracemalloc.start()
    started_s = time.perf_counter()
    seen = robot.sensors.observe()
    assert time.perf_counter() - started_s < 1.0
    assert tracemalloc.get_traced_memory()[1] < 50e6
    tracemalloc.stop()
    return seen


@pytest.mark.parametrize("message", [info(), info(width=13_000, height=13_000)], ids=["small", "as large as it claims"])
def test_an_image_that_would_fill_the_memory_is_refused_before_it_is_decoded(message: Any) -> None:
    data = png_bomb(13_000, 13_000)
    assert len(data) < 50_000
    seen = compressed(data, message)
    assert isinstance(seen, Refusal)
    assert seen.code is Code.NO_IMAGE
    assert "13000 x 13000" in seen.message


@pytest.mark.parametrize("form", [".png", ".jpg"])
def test_a_compressed_image_of_the_right_size_is_accepted(form: str) -> None:
    import cv2

    seen = compressed(cv2.imencode(form, np.full_like(PIXELS, 100))[1].tobytes())
    assert isinstance(seen, Observation), seen
    np.testing.assert_allclose(seen.frames[0].rgb, 100, atol=2)


def test_a_compressed_image_of_another_size_is_refused() -> None:
    import cv2

    seen = compressed(cv2.imencode(".jpg", PIXELS[:40])[1].tobytes())
    assert isinstance(seen, Refusal)
    assert "is 64 x 40, but its camera_info is for 64 x 48" in seen.message


@pytest.mark.parametrize(
    "data",
    [b"", b"\xff", b"\xff\xd8", b"\xff\xd8\xff", b"\xff\xd8" + b"\xff" * 50, b"\xff\xd8\xff\xe0\x00\x00" * 9,
     b"\xff\xd8\xff\xda" + bytes(20), b"\x89PNG\r\n\x1a\n", b"GIF89a" + bytes(20), b"BM" + bytes(60)],
)  # fmt: skip
def test_an_image_header_without_a_size_is_refused(data: bytes) -> None:
    seen = compressed(data)
    assert isinstance(seen, Refusal)
    assert "neither JPEG nor PNG" in seen.message


def test_raw_images_of_another_size_are_refused() -> None:
    _, seen = with_info(info(), image=colour(PIXELS[:20]), depth=depth())
    assert isinstance(seen, Refusal)
    assert "is 64 x 20, but its camera_info is for 64 x 48" in seen.message
