"""A simulated robot stands where it is when it is told to drop its goal, which needs no pose."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("mujoco", reason="the simulated worlds need the extra sim")

from si_embodied.geometry import Pose
from si_embodied.ros_nodes.simulator.apartment import ApartmentRobot
from si_embodied.ros_nodes.simulator.tabletop import TabletopRobot
from si_embodied.types import Code

STILL_M = 0.01


def test_a_cancelled_arm_stays_where_it_is() -> None:
    robot = TabletopRobot("base", 32)
    try:
        robot.reset(3)
        start = robot.T_map_tool
        robot.move(Pose(start.rotation, start.translation + np.array([0.3, 0.2, 0.1])))
        for _ in range(6):
            robot.advance()
        robot.cancel()
        outcome = robot.take_outcome()
        assert outcome is not None
        assert outcome.code is Code.CANCELED
        stopped = robot.T_map_tool.translation
        assert np.linalg.norm(stopped - start.translation) > 0.02, "it was under way"
        for _ in range(40):
            robot.advance()
        assert np.linalg.norm(robot.T_map_tool.translation - stopped) < STILL_M
        robot.cancel()
        assert robot.take_outcome() is None, "there was nothing to cancel"
    finally:
        robot.close()


def test_a_cancelled_base_stands() -> None:
    robot = ApartmentRobot("objectnav", 32)
    try:
        robot.reset(3)
        robot.observe(0.0)
        robot.go(robot.T_map_base @ Pose.planar(0.0, 0.0, 2.0))
        for _ in range(10):
            robot.advance()
        assert robot.velocity != (0.0, 0.0)
        robot.cancel()
        assert robot.velocity == (0.0, 0.0)
        outcome = robot.take_outcome()
        assert outcome is not None
        assert outcome.code is Code.CANCELED
        before = robot.T_map_base.matrix()
        for _ in range(20):
            robot.advance()
        assert np.allclose(robot.T_map_base.matrix(), before)
    finally:
        robot.close()
