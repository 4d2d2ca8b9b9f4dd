"""The motion stop: zero velocity at once, repeated for half a second, and none once it is released."""

from __future__ import annotations

from typing import Any

import pytest

pytest.importorskip("geometry_msgs", reason="the motion stop publishes ROS messages")

from geometry_msgs.msg import Twist, TwistStamped

from si_embodied.ros_nodes.motion.stop import MotionStop


class Base:
    """A node, its publisher and a clock in one."""

    def __init__(self) -> None:
        self.now_s = 10.0
        self.sent: list[Any] = []
        self.topic, self.kind = "", object

    def create_publisher(self, kind: type, topic: str, depth: int) -> Base:
        self.kind, self.topic = kind, topic
        return self

    def publish(self, message: Any) -> None:
        self.sent.append(message)


def test_zero_velocity_is_repeated_for_half_a_second() -> None:
    base = Base()
    stop = MotionStop(base, lambda: base.now_s, stamped=False)
    stop.tick()
    assert (base.topic, base.kind, base.sent) == ("cmd_vel", Twist, [])
    stop.apply()
    for _ in range(20):
        base.now_s += 0.125
        stop.tick()
    assert base.sent == [Twist()] * 4, "at 0, 0.125, 0.25 and 0.375 s"


def test_a_released_stop_is_silent() -> None:
    base = Base()
    stop = MotionStop(base, lambda: base.now_s, stamped=False)
    stop.apply()
    stop.release()
    stop.tick()
    assert len(base.sent) == 1


def test_a_stamped_stop_has_the_time_and_the_frame_of_the_base() -> None:
    base = Base()
    MotionStop(base, lambda: base.now_s, stamped=True).apply()
    (message,) = base.sent
    assert isinstance(message, TwistStamped)
    assert (message.header.stamp.sec, message.header.frame_id) == (10, "base_link")
