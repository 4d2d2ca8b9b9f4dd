"""A clock that jumps back, stands still, or never starts."""

from __future__ import annotations

import pytest

pytest.importorskip("rclpy", reason="sensors are subscribed to through rclpy")

from fake_sensors import Node, Robot

from si_embodied.ros_nodes.sensing.clock_watch import ClockWatch
from si_embodied.types import Code, Observation, Refusal


class Clocks:
    """A ROS clock and a steady one, both set by hand."""

    def __init__(self, *, simulated: bool = True) -> None:
        self.ros_s, self.steady_s = 0.0, 50.0
        self.back_s: list[float] = []
        self.watch = ClockWatch(
            lambda: self.ros_s, self.back_s.append, simulated=simulated, steady_s=lambda: self.steady_s
        )

    def pass_by(self, ros_s: float, steady_s: float) -> None:
        self.ros_s += ros_s
        self.steady_s += steady_s
        self.watch.check()


def test_a_jump_back_is_reported_once() -> None:
    clocks = Clocks()
    clocks.pass_by(600.0, 1.0)
    clocks.pass_by(-500.0, 0.1)
    clocks.pass_by(0.1, 0.1)
    assert clocks.back_s == [500.0]
    assert clocks.watch.jumps == 1


def test_clocks_that_overtake_each_other_are_not_a_jump() -> None:
    clocks = Clocks()
    clocks.pass_by(600.0, 1.0)
    for _ in range(5):
        clocks.pass_by(-0.05, 0.05)
        clocks.pass_by(0.06, 0.05)
    assert clocks.back_s == []


def test_small_steps_back_add_up_to_a_jump() -> None:
    clocks = Clocks()
    clocks.pass_by(600.0, 1.0)
    for _ in range(10):
        clocks.pass_by(-0.05, 0.05)
    assert len(clocks.back_s) == 3  # at 0.15, 0.30 and 0.45 s: three steps are the first to exceed 0.1 s


def test_a_simulated_clock_that_never_starts_is_reported_within_two_seconds() -> None:
    clocks = Clocks()
    clocks.pass_by(0.0, 1.9)
    assert clocks.watch.problem is None
    clocks.pass_by(0.0, 0.2)
    assert clocks.watch.problem is not None
    assert "use_sim_time is true, but nothing has come on /clock" in clocks.watch.problem
    clocks.pass_by(0.1, 0.1)
    assert clocks.watch.problem is None


def test_a_simulated_clock_that_stands_still_is_reported() -> None:
    clocks = Clocks()
    clocks.pass_by(12.5, 1.0)
    clocks.pass_by(0.0, 2.1)
    assert clocks.watch.problem is not None
    assert "/clock has stood still at 12.500 s" in clocks.watch.problem


def test_the_system_clock_needs_no_topic() -> None:
    clocks = Clocks(simulated=False)
    clocks.pass_by(0.0, 10.0)
    assert clocks.watch.problem is None


# --- the sensors ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("back_s", [500.0, 5.0, 0.5])
@pytest.mark.promise(recovers="with the next image")
def test_a_jump_back_drops_every_image_and_transform_from_before(back_s: float) -> None:
    robot = Robot()
    for _ in range(40):
        robot.step()
    assert isinstance(robot.sensors.observe(), Observation)
    robot.node.now_s -= back_s
    seen = robot.sensors.observe()
    assert isinstance(seen, Refusal)
    assert robot.sensors.base_now() is None
    assert robot.sensors.cameras[0].synchroniser.pairs() == []
    robot.x = 9.0
    robot.step()  # what comes from then on is planned on; static transforms and calibrations still hold
    seen = robot.sensors.observe()
    assert isinstance(seen, Observation)
    assert seen.T_map_base.translation[0] == 9.0
    assert "jumped back" in robot.node.warnings[0]


@pytest.mark.promise(recovers="with the next image")
def test_messages_from_before_the_jump_that_arrive_late_are_dropped() -> None:
    robot = Robot()
    robot.step()
    before_s = robot.node.now_s
    robot.node.now_s -= 500.0
    robot.step()
    robot.send_transforms(before_s)
    assert robot.sensors.rejected == {"transform of base_link": 1}
    assert isinstance(robot.sensors.observe(), Observation)


def test_without_a_clock_nothing_is_planned_and_the_log_says_why_once() -> None:
    node = Node(use_sim_time=True)
    node.now_s = 0.0
    robot = Robot(node=node)
    robot.sensors.clock._changed_s -= 2.1  # so long ago
    for _ in range(3):
        node.timers[0]()
    assert len(node.errors) == 1
    assert "nothing has come on /clock" in node.errors[0]
    seen = robot.sensors.observe()
    assert isinstance(seen, Refusal)
    assert seen.code is Code.STALE_OBSERVATION
    assert "nothing has come on /clock" in seen.message
