"""Motions through MoveIt's actions; their server runs in its own process."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from std_msgs.msg import String

pytest.importorskip("moveit_msgs", reason="it comes with MoveIt, not from PyPI")
pytest.importorskip("control_msgs", reason="it comes with MoveIt, not from PyPI")

from si_embodied.geometry import Pose
from si_embodied.ros_nodes.motion.moveit_arm import MoveItArm
from si_embodied.ros_nodes.node.settings import ArmSettings
from si_embodied.ros_nodes.sensing.transform_listener import TopicTransforms

ROBOT, STARTS_S, ENDS_S = [str(Path(__file__).parent / "moveit_robot.py")], 60.0, 20.0
WANTED = Pose.from_rpy(np.pi, 0.0, 0.3, (0.5, -0.1, 0.8))


@pytest.fixture
def arm(ros: Any) -> Iterator[MoveItArm]:
    ros.start(ROBOT)
    arm = MoveItArm(ros.node, ArmSettings(), "map")
    ros.wait(lambda: arm.opening_m() is not None, STARTS_S, "the gripper's joints")
    ros.wait(lambda: arm._arm.server_is_ready() and arm._gripper.server_is_ready(), STARTS_S, "both actions")
    yield arm
    arm.close()


def test_a_motion_moves_the_tool_and_the_fingers_and_ends_once(ros: Any, arm: MoveItArm) -> None:
    frames = TopicTransforms(ros.node)
    arm.move(WANTED, 0.08)
    ros.wait(arm.take_end, ENDS_S, "the motion's end")
    assert not arm.take_end()
    ros.wait(lambda: arm.opening_m() == pytest.approx(0.08), ENDS_S, "the opening, of both fingers")

    def there() -> bool:
        tool = frames.latest("map", "tool")
        return tool is not None and np.allclose(tool.matrix(), WANTED.matrix(), atol=1e-6)

    ros.wait(there, ENDS_S, "the tool at its pose")


def test_a_motion_that_is_stopped_is_cancelled_at_moveit(ros: Any, arm: MoveItArm) -> None:
    ends = ros.listen(String, "ends")
    arm.move(WANTED, 0.08)
    arm.cancel()  # before either goal was accepted
    ros.wait(lambda: ends, ENDS_S, "the end of the arm's motion")
    assert ends[0].data == "canceled"
    assert not arm.take_end()


def test_a_newer_motion_takes_over(ros: Any, arm: MoveItArm) -> None:
    ends = ros.listen(String, "ends")
    arm.move(Pose.identity(), 0.02)
    ros.wait(lambda: arm._handles, ENDS_S, "the first motion's acceptance")
    arm.move(WANTED, 0.08)
    ros.wait(arm.take_end, ENDS_S, "the second motion's end")
    ros.wait(lambda: len(ends) == 2, ENDS_S, "both ends")
    assert sorted(each.data for each in ends) == ["canceled", "succeeded"]
