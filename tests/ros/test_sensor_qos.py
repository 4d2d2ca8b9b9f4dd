"""Publishers of every quality of service are heard, and /tf may be remapped into a robot's namespace."""

from __future__ import annotations

from typing import Any

import pytest
import rclpy
from fake_sensors import info, transform
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CameraInfo
from tf2_msgs.msg import TFMessage

from si_embodied.geometry import Pose
from si_embodied.ros_nodes.node.settings import NodeSettings
from si_embodied.ros_nodes.sensing.camera import Camera
from si_embodied.ros_nodes.sensing.transform_listener import TopicTransforms

WAIT_S = 20.0
LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
BEST_EFFORT = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)


@pytest.mark.parametrize("qos", [LATCHED, BEST_EFFORT, QoSProfile(depth=1)], ids=["latched", "best effort", "reliable"])
def test_a_calibration_is_heard_from_every_publisher(ros: Any, qos: QoSProfile) -> None:
    """A latched one was sent once, before anybody listened."""
    publisher = ros.node.create_publisher(CameraInfo, "head/camera_info", qos)
    latched = qos.durability is DurabilityPolicy.TRANSIENT_LOCAL
    if latched:
        publisher.publish(info())
    camera = Camera(ros.node, "head", NodeSettings())

    def heard() -> bool:
        camera.ask_for_calibration()
        if not latched:
            publisher.publish(info())
        return camera._info is not None

    ros.wait(heard, WAIT_S, "the calibration")
    camera.close()


@pytest.mark.parametrize("topic", ["/tf", "/tf_static"])
@pytest.mark.parametrize("qos", [LATCHED, BEST_EFFORT, QoSProfile(depth=1)], ids=["latched", "best effort", "reliable"])
def test_a_transform_is_heard_from_every_publisher(ros: Any, topic: str, qos: QoSProfile) -> None:
    publisher = ros.node.create_publisher(TFMessage, topic, qos)
    transforms = TopicTransforms(ros.node)

    def heard() -> bool:
        publisher.publish(TFMessage(transforms=[transform("map", "base_link", Pose.identity(), 5.0)]))
        return transforms.latest("map", "base_link") is not None

    ros.wait(heard, WAIT_S, "the transform")
    transforms.close()


def test_transforms_are_remapped_into_a_namespace(ros: Any) -> None:
    arguments = ["--ros-args", "-r", "/tf:=tf", "-r", "/tf_static:=tf_static", "-r", "__ns:=/robot1"]
    robot = Node("listener", context=ros.context, cli_args=arguments)
    ros.executor.add_node(robot)
    try:
        transforms = TopicTransforms(robot)
        publisher = ros.node.create_publisher(TFMessage, "/robot1/tf", 10)

        def heard() -> bool:
            publisher.publish(TFMessage(transforms=[transform("map", "base_link", Pose.identity(), 5.0)]))
            return transforms.latest("map", "base_link") is not None

        ros.wait(heard, WAIT_S, "the transform")
        transforms.close()
    finally:
        ros.executor.remove_node(robot)
        robot.destroy_node()
        assert rclpy.ok(context=ros.context)
