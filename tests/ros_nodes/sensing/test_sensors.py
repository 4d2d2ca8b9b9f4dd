"""One camera's topics, on a node that only keeps the callbacks."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="cameras are subscribed to through rclpy")

from fake_sensors import PIXELS, K, Node, P
from sensor_msgs.msg import CameraInfo, Image

from si_embodied.errors import ObservationError
from si_embodied.geometry import Pose
from si_embodied.ros_nodes.node.settings import NodeSettings
from si_embodied.ros_nodes.sensing.camera import Camera
from si_embodied.types import CameraFrame


def info(**changes: Any) -> CameraInfo:
    values = {"k": K, "p": P, "d": [-0.3, 0.0, 0.0, 0.0, 0.0], "distortion_model": "plumb_bob", **changes}
    return CameraInfo(width=64, height=48, **values)


def frame_of(settings: NodeSettings, *infos: CameraInfo) -> CameraFrame:
    """What a camera makes of one image, after some calibrations."""
    node = Node()
    camera = Camera(node, "head", settings)
    for message in infos:
        node.send("head/camera_info", message)
    node.send("head/image_raw", Image(width=64, height=48, step=192, encoding="rgb8", data=PIXELS.tobytes()))
    (pair,) = camera.synchroniser.pairs(after_s=-1.0)
    return camera.frame(pair, Pose.identity())


def test_a_raw_image_is_undistorted() -> None:
    frame = frame_of(NodeSettings(), info())
    assert frame.intrinsics.fx == 50.0
    assert not np.array_equal(frame.rgb, PIXELS)


def test_a_rectified_image_is_not_undistorted_again() -> None:
    frame = frame_of(NodeSettings(rectified=True), info())
    assert frame.intrinsics.fx == 40.0
    assert np.array_equal(frame.rgb, PIXELS)


def test_the_newest_calibration_counts() -> None:
    assert frame_of(NodeSettings(), info(), info(distortion_model="equidistant", d=[0.0] * 4)).rgb[0, 0].any()
    with pytest.raises(ObservationError, match="not calibrated"):
        frame_of(NodeSettings(), info(), info(k=[math.nan] * 9))


def test_a_camera_without_calibration_is_named_with_its_topic() -> None:
    with pytest.raises(ObservationError, match="'head' has arrived on head/camera_info"):
        frame_of(NodeSettings())
