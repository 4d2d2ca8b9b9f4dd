"""The motion stop: zero velocity and cancellation at once, repeated until the base stands, for a bounded time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

pytest.importorskip("geometry_msgs", reason="the motion stop publishes ROS messages")

from builtin_interfaces.msg import Time
from geometry_msgs.msg import Twist, TwistStamped
from nav_msgs.msg import Odometry
from std_msgs.msg import Empty

from si_embodied.ros_nodes.motion.stop import MotionStop


class Base:
    """A node, its publishers and clocks in one."""

    def __init__(self) -> None:
        self.now_s = 10.0
        self.sent: dict[str, list[Any]] = {}
        self.kinds: dict[str, type] = {}
        self.on_odometry: Callable[[Odometry], None] = lambda _: None

    def create_publisher(self, kind: type, topic: str, depth: int) -> Any:
        self.kinds[topic], self.sent[topic] = kind, []
        return type("Publisher", (), {"publish": lambda _, message: self.sent[topic].append(message)})()

    def create_subscription(self, kind: type, topic: str, callback: Any, qos: Any) -> None:
        assert (kind, topic) == (Odometry, "odom")
        self.on_odometry = callback

    def get_clock(self) -> Any:
        stamp = Time(sec=7)
        return type("Clock", (), {"now": lambda _: type("Now", (), {"to_msg": lambda _: stamp})()})()

    def report(self, speed_m_s: float) -> None:
        message = Odometry()
        message.twist.twist.linear.x = speed_m_s
        self.on_odometry(message)


def stopped_for(stop: MotionStop, base: Base, speeds: Callable[[float], float | None], most_s: float = 20.0) -> float:
    """Apply a stop; how long it is repeated while the base reports `speeds` of the time since (None: nothing)."""
    started_s = base.now_s
    stop.apply()
    while stop.applied and base.now_s < started_s + most_s:
        base.now_s += 0.0625
        speed = speeds(base.now_s - started_s)
        if speed is not None:
            base.report(speed)
        stop.tick()
    return base.now_s - started_s


@pytest.mark.parametrize(
    ("speeds", "least_s", "most_s"),
    [
        (lambda _: 0.0, 0.5, 0.6),
        (lambda after_s: 0.3 if after_s < 1.0 else 0.0, 1.1, 1.3),
        (lambda _: None, 2.0, 2.1),
        (lambda _: 0.3, 10.0, 10.1),
        (lambda _: float("nan"), 10.0, 10.1),
        (lambda after_s: 0.3 if after_s < 0.5 else None, 2.0, 2.1),
    ],
    ids=["stands", "rolls on for a second", "no odometry", "never stands", "not a number", "odometry dies"],
)
def test_a_stop_is_repeated_until_the_base_stands(
    speeds: Callable[[float], float | None], least_s: float, most_s: float
) -> None:
    base = Base()
    stop = MotionStop(base, stamped=False, steady_s=lambda: base.now_s)
    assert least_s <= stopped_for(stop, base, speeds) <= most_s
    assert base.kinds["cmd_vel"] is Twist
    assert len(base.sent["cmd_vel"]) >= least_s / 0.0625 - 1
    assert all(message == Twist() for message in base.sent["cmd_vel"])


def test_a_stop_tells_every_driver_to_drop_its_goal() -> None:
    base = Base()
    MotionStop(base, stamped=False, cancels=("navigation/cancel", "head/tilt/cancel")).apply()
    assert base.sent == {"cmd_vel": [Twist()], "navigation/cancel": [Empty()], "head/tilt/cancel": [Empty()]}


def test_a_released_stop_is_silent() -> None:
    base = Base()
    stop = MotionStop(base, stamped=False)
    stop.apply()
    stop.release()
    stop.tick()
    assert len(base.sent["cmd_vel"]) == 1


def test_a_stamped_stop_has_the_time_and_the_frame_of_the_base() -> None:
    base = Base()
    MotionStop(base, stamped=True).apply()
    (message,) = base.sent["cmd_vel"]
    assert isinstance(message, TwistStamped)
    assert (message.header.stamp.sec, message.header.frame_id) == (7, "base_link")


@pytest.mark.parametrize(
    ("speed", "least_s", "most_s"),
    [(0.0, 0.6, 0.8), (None, 2.1, 2.3), (0.3, 2.1, 2.3), (0.02, 2.1, 2.3)],
    ids=["stands", "no odometry", "a base that is pushed", "noise or a slope"],
)
def test_a_goal_waits_until_the_stop_is_quiet_but_little_more_than_two_seconds_at_most(
    speed: float | None, least_s: float, most_s: float
) -> None:
    base = Base()
    stop = MotionStop(base, stamped=False, steady_s=lambda: base.now_s)
    assert stop.lets_goal_start(), "nothing was stopped"
    stop.apply()
    started_s = last_s = base.now_s
    sent = 1
    while not stop.lets_goal_start() and base.now_s < started_s + 5.0:
        base.now_s += 0.0625
        if speed is not None:
            base.report(speed)
        stop.tick()
        if len(base.sent["cmd_vel"]) > sent:
            sent, last_s = len(base.sent["cmd_vel"]), base.now_s
    assert least_s <= base.now_s - started_s <= most_s
    assert base.now_s - last_s >= 0.2, "a driver that reads its topics less often could take the stop for the goal's"
    stop.release()  # as a goal that starts does
    stop.tick()
    assert len(base.sent["cmd_vel"]) == sent


def test_the_stop_of_a_moving_base_goes_on_if_the_goal_that_waited_was_dropped() -> None:
    base = Base()
    stop = MotionStop(base, stamped=False, steady_s=lambda: base.now_s)
    stop.apply()
    for tick in range(64):  # 4 s; the goal asks for 2.1 s
        base.now_s += 0.0625
        base.report(0.3)
        stop.tick()
        if tick < 34:
            assert not stop.lets_goal_start()
    assert stop.applied
    assert base.now_s - stop._published_s == 0.0
