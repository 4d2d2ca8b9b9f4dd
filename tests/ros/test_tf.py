"""Transforms from /tf and /tf_static, through our own buffer and through tf2_ros where it is installed."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from geometry_msgs.msg import TransformStamped
from rclpy.qos import DurabilityPolicy, QoSProfile
from tf2_msgs.msg import TFMessage

from si_embodied.errors import TransformError
from si_embodied.geometry import Pose
from si_embodied.ros_nodes.sensing import bridge
from si_embodied.ros_nodes.sensing.transform_listener import Tf2Transforms, TopicTransforms, Transforms

LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
FROM_S, TO_S = 1_795_000_000.25, 1_795_000_000.75  # a robot's time, at which a float is coarse


def stamped(parent: str, child: str, pose: Pose, stamp_s: float) -> TransformStamped:
    message = TransformStamped(child_frame_id=child)
    message.header.frame_id = parent
    bridge.set_stamp(message.header.stamp, stamp_s)
    bridge.set_transform(message.transform, pose)
    return message


@pytest.fixture(params=[TopicTransforms, Tf2Transforms])
def frames(ros: Any, request: pytest.FixtureRequest) -> Transforms:
    """A base that drives 1 m along x and turns by 90 degrees within half a second, with a camera 1 m above it."""
    if request.param is Tf2Transforms:
        pytest.importorskip("tf2_ros", reason="it comes with a desktop install of ROS 2, not from PyPI")
    frames: Transforms = request.param(ros.node)
    moving = ros.node.create_publisher(TFMessage, "/tf", 10)
    fixed = ros.node.create_publisher(TFMessage, "/tf_static", LATCHED)
    fixed.publish(TFMessage(transforms=[stamped("base_link", "camera", Pose(np.eye(3), np.array([0, 0, 1.0])), 0.0)]))
    ros.wait(moving.get_subscription_count, 20.0, "a listener on /tf")
    for pose, stamp_s in ((Pose.identity(), FROM_S), (Pose.planar(1.0, 0.0, math.pi / 2), TO_S)):
        moving.publish(TFMessage(transforms=[stamped("map", "base_link", pose, stamp_s)]))

    def complete() -> bool:
        newest = frames.latest("map", "camera")
        return newest is not None and newest.translation[0] > 0.99

    ros.wait(complete, 20.0, "the transforms")
    return frames


def test_frames_are_looked_up_at_a_stamp_and_never_extrapolated(frames: Transforms) -> None:
    between = frames.lookup("map", "camera", (FROM_S + TO_S) / 2)
    np.testing.assert_allclose(between.translation, [0.5, 0.0, 1.0], atol=1e-5)
    assert between.yaw == pytest.approx(math.pi / 4, abs=1e-5)
    newest = frames.lookup("map", "camera", TO_S)
    np.testing.assert_allclose(newest.translation, [1.0, 0.0, 1.0], atol=1e-5)
    for stamp_s in (FROM_S - 0.1, TO_S + 0.1):
        with pytest.raises(TransformError):
            frames.lookup("map", "camera", stamp_s)
    with pytest.raises(TransformError):
        frames.lookup("map", "gripper", TO_S)
    assert frames.latest("map", "gripper") is None
