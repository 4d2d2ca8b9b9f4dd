"""Depth in the wrong unit, from the wrong frame, or out of the sensor's range."""

from __future__ import annotations

import copy
import math
import struct
from typing import Any

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="sensors are subscribed to through rclpy")

from fake_sensors import HEIGHT, RAMP, WIDTH, Robot, depth, stamped, transform
from sensor_msgs.msg import CompressedImage, Image
from tf2_msgs.msg import TFMessage

from si_embodied.geometry import Pose
from si_embodied.types import Code, Observation, Refusal


def observed(message: Any, **settings: Any) -> Observation | Refusal:
    robot = Robot(**settings)
    robot.step(depth=message)
    return robot.sensors.observe()


def refusal(seen: Observation | Refusal) -> str:
    assert isinstance(seen, Refusal)
    assert seen.code is Code.NO_DEPTH, seen
    return seen.message


def metres(seen: Observation | Refusal) -> np.ndarray:
    assert isinstance(seen, Observation), seen
    found = seen.frames[0].depth_m
    assert found is not None
    return found


@pytest.mark.parametrize(
    "spoilt",
    [
        {"depth": depth(RAMP * 1000)},  # millimetres, said to be metres
        {"depth": depth(np.full_like(RAMP, 1e-20))},
        {"depth": depth(RAMP[:20])},
        {"image": Image(width=WIDTH, height=HEIGHT, step=3 * WIDTH, encoding="rgb8", data=b"abc")},
    ],
    ids=["millimetres", "tiny", "short", "three bytes"],
)
@pytest.mark.promise(recovers="with the next image")
def test_a_camera_that_goes_bad_while_a_goal_is_carried_out_is_noticed(spoilt: dict[str, Image]) -> None:
    """No later goal of the plan starts, and the one under way ends."""
    robot = Robot()
    for _ in range(10):
        robot.step()
    assert robot.sensors.problem() is None
    for _ in range(10):
        robot.step(**copy.deepcopy(spoilt))
    problem = robot.sensors.problem()
    assert problem is not None
    assert problem.code in (Code.NO_DEPTH, Code.NO_IMAGE)
    for _ in range(10):
        robot.step()
    assert robot.sensors.problem() is None


@pytest.mark.parametrize(
    ("values", "encoding", "words"),
    [
        (np.rint(RAMP), "16UC1", "median is 0.002 m, taken as integers of 0.001 m"),  # metres
        (RAMP * 1000, "32FC1", "median is 2e+03 m, taken as floats in metres"),  # millimetres
        (np.full_like(RAMP, 1e-20), "32FC1", "0 lie between 0.05 and 100 m, their median is 1e-20 m"),
        (np.full_like(RAMP, 1e30), "32FC1", "their median is 1e+30 m"),
    ],
)
@pytest.mark.promise(code="NO_DEPTH")
def test_depth_in_an_implausible_unit_is_refused_with_its_median(values: np.ndarray, encoding: str, words: str) -> None:
    message = refusal(observed(depth(values, encoding)))
    assert "the depth of the camera 'head' is refused: implausible depth" in message
    assert words in message
    assert "depth_scale" in message


def test_the_scale_of_integer_depth_is_a_setting() -> None:
    """A RealSense D405 counts tenths of a millimetre: 20,000 units are 2 m."""
    seen = observed(depth(np.full((HEIGHT, WIDTH), 20_000), "16UC1"), depth_scale=0.0001)
    np.testing.assert_allclose(metres(seen), 2.0, rtol=1e-6)
    seen = observed(depth(np.full((HEIGHT, WIDTH), 2), "16UC1"), depth_scale=1.0)
    np.testing.assert_allclose(metres(seen), 2.0)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, -1.0, 0.0, 1e-20, 0.04, 101.0])
def test_a_value_that_the_sensor_cannot_measure_is_no_return(value: float) -> None:
    values = RAMP.copy()
    values[10, 20] = value
    found = metres(observed(depth(values)))
    assert found[10, 20] == 0.0
    assert np.count_nonzero(found) == WIDTH * HEIGHT - 1


@pytest.mark.parametrize("value", [math.nan, math.inf, 0.0, -1.0])
def test_an_image_without_any_return_is_accepted_as_empty(value: float) -> None:
    assert not metres(observed(depth(np.full_like(RAMP, value)))).any()


def test_an_image_with_half_of_its_returns_missing_is_accepted() -> None:
    values = np.where(np.arange(WIDTH) % 2, RAMP, 0.0)
    assert np.count_nonzero(metres(observed(depth(values)))) == WIDTH * HEIGHT // 2


def test_the_range_of_the_sensor_is_a_setting() -> None:
    found = metres(observed(depth(RAMP), min_depth_m=1.5, max_depth_m=2.5))
    assert found[found > 0].min() >= 1.5
    assert found.max() <= 2.5
    assert (found == 0).any()


@pytest.mark.promise(code="NO_DEPTH")
def test_depth_that_is_not_registered_to_the_image_is_refused_with_the_topics() -> None:
    robot = Robot()
    offset = transform("base_link", "depth_optical", Pose(np.eye(3), np.array([0.0, 0.05, 0.0])), 0.0)
    robot.node.send("/tf_static", TFMessage(transforms=[offset]))
    robot.step(depth=stamped(depth(), 0.0, "depth_optical"))
    words = refusal(robot.sensors.observe())
    assert "the depth on head/depth is seen from 'depth_optical', the image on head/image_raw from 'optical'" in words
    assert "aligned_depth_to_color" in words


def test_another_name_for_the_same_frame_is_registered() -> None:
    robot = Robot()
    same = transform("optical", "depth_optical", Pose.identity(), 0.0)
    robot.node.send("/tf_static", TFMessage(transforms=[same]))
    robot.step(depth=stamped(depth(), 0.0, "depth_optical"))
    assert isinstance(robot.sensors.observe(), Observation)


def test_a_leading_slash_does_not_make_another_frame() -> None:
    robot = Robot()
    robot.step(depth=stamped(depth(), 0.0, "/optical"))
    assert isinstance(robot.sensors.observe(), Observation)


@pytest.mark.promise(code="NO_DEPTH")
def test_depth_from_an_unknown_frame_is_refused() -> None:
    assert "not registered" in refusal(observed(stamped(depth(), 0.0, "nowhere")))


def test_depth_of_another_size_is_refused() -> None:
    words = refusal(observed(depth(RAMP[:20])))
    assert "is 64 x 20, its image 64 x 48; register depth to the image" in words


@pytest.mark.parametrize(
    ("encoding", "data", "words"),
    [
        ("64FC1", RAMP.astype("<f8"), "encoded as one of 16UC1, mono16, 32FC1, got: '64FC1'"),
        ("16UC1", RAMP, "has 4 bytes per pixel (step 256, width 64), which is 32FC1"),
        ("32FC1", RAMP[:10], "does not fit in 2560 bytes"),
    ],
)
@pytest.mark.promise(code="NO_DEPTH")
def test_depth_whose_label_is_wrong_is_refused(encoding: str, data: np.ndarray, words: str) -> None:
    step = data.strides[0]
    message = Image(width=WIDTH, height=HEIGHT, step=step, encoding=encoding, data=data.tobytes())
    assert words in refusal(observed(message))


# --- compressedDepth ------------------------------------------------------------------------------------------------


def png(values: np.ndarray) -> bytes:
    import cv2

    return bytes(cv2.imencode(".png", values)[1].tobytes())


def compressed(form: str, data: bytes, **settings: Any) -> Observation | Refusal:
    robot = Robot(depth_compressed=True, **settings)
    robot.step(depth=None)
    message = stamped(CompressedImage(format=form, data=data), robot.node.now_s)
    robot.node.send("head/depth/compressedDepth", message)
    return robot.sensors.observe()


MILLIMETRES = np.full((HEIGHT, WIDTH), 1500, np.uint16)


@pytest.mark.parametrize("form", ["16UC1; compressedDepth png", "16UC1; compressedDepth"])
def test_compressed_depth_is_read_behind_its_header(form: str) -> None:
    found = metres(compressed(form, struct.pack("<iff", 0, 0.0, 0.0) + png(MILLIMETRES)))
    np.testing.assert_allclose(found, 1.5, rtol=1e-6)


def test_depth_in_a_plain_png_is_read_too() -> None:
    np.testing.assert_allclose(metres(compressed("16UC1; png compressed ", png(MILLIMETRES))), 1.5, rtol=1e-6)


def test_compressed_float_depth_is_decoded_from_its_quantised_inverse() -> None:
    """compressed_depth_image_transport writes a / depth + b: 100 / 2.5 + 1 = 41, and 0 for no return."""
    values = np.full((HEIGHT, WIDTH), 41, np.uint16)
    values[0, 0] = 0
    found = metres(compressed("32FC1; compressedDepth png", struct.pack("<iff", 0, 100.0, 1.0) + png(values)))
    assert found[0, 0] == 0.0
    np.testing.assert_allclose(found[1:], 2.5, rtol=1e-6)


@pytest.mark.parametrize(
    ("form", "data", "words"),
    [
        ("16UC1; compressedDepth rvl", struct.pack("<iff", 1, 0.0, 0.0) + bytes(100), "expected depth in PNG"),
        ("16UC1; compressedDepth png", b"", "expected depth in PNG"),
        ("16UC1; compressedDepth png", bytes(12) + png(MILLIMETRES)[:60], "cannot decode"),
        ("16UC1; compressedDepth png", bytes(12) + png(MILLIMETRES.astype(np.uint8)), "16-bit depth, got: uint8"),
    ],
)
@pytest.mark.promise(code="NO_DEPTH")
def test_compressed_depth_that_cannot_be_read_is_refused(form: str, data: bytes, words: str) -> None:
    assert words in refusal(compressed(form, data))
