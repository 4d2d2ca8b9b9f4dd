"""The planner node's annotated image, with a robot in front of a wall, each in its own process."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from rclpy.qos import qos_profile_sensor_data
from sensor_msgs.msg import Image
from si_embodied_msgs.msg import Plan

from si_embodied.ros_nodes.sensing import bridge

Ros = Any  # of conftest.py
PLANNER, ROBOT = ["-m", "si_embodied.ros_nodes.planner_node"], [str(Path(__file__).parent / "wall_robot.py")]
SOON_S = 60.0
GOTO = {"skill": "goto", "object": "wall", "view": 1, "point": [500, 400]}


def test_the_annotated_image_shows_the_plans_points(ros: Ros) -> None:
    images, plans = ros.listen(Image, "planner/annotated"), ros.listen(Plan, "planner/plan")
    seen = ros.listen(Image, "head/image_raw", qos_profile_sensor_data)
    ros.start(ROBOT, {})
    script = json.dumps({"subgoals": [GOTO], "done": False})
    ros.start(
        PLANNER,
        {"backend": "scripted", "script": script, "autostart": True, "navigation.navigator": "topic"},
    )
    ros.wait(lambda: ros.node.count_publishers("planner/annotated"), SOON_S, "the planner")
    ros.task()

    def annotated() -> Image | None:
        """An image annotated with a plan that was heard: the first message of either topic may have been missed."""
        stamps = [plan.header.stamp for plan in plans]
        return next((image for image in images if seen and image.header.stamp in stamps), None)

    image = ros.wait(annotated, SOON_S, "an image with the stamp of a plan")
    pixels, width, height = bridge.rgb_of(image).astype(int), seen[0].width, seen[0].height
    assert pixels.shape[1] == width
    assert pixels.shape[0] > height, "with a line of words below"
    # The robot's own image is black, so every coloured pixel was drawn: a ring, and a name to its right.
    v, u = np.nonzero(pixels[:height].sum(axis=2))
    ring = u < 0.62 * width
    assert abs(u[ring].mean() - 0.5 * width) < 3
    assert abs(v[ring].mean() - 0.4 * height) < 3
