"""Stops the robot: drops the goals under way and commands zero velocity until the base stands.

A stop never sends a goal, and needs no transform, image, model or server.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

from geometry_msgs.msg import Twist, TwistStamped
from nav_msgs.msg import Odometry
from rclpy.qos import qos_profile_sensor_data
from std_msgs.msg import Empty

BASE_CANCEL, ARM_CANCEL, CANCEL_SUFFIX = "navigation/cancel", "arm/cancel", "/cancel"
"""Topics (std_msgs/Empty) that tell a base, an arm and a head (its tilt topic with the suffix) to drop their goal."""

_AT_LEAST_S = 0.5
"""Zero velocity is repeated at least this long: a controller that has just received a goal may still command motion."""
_UNSEEN_S, _AT_MOST_S = 2.0, 10.0
"""And at most this long: without odometry, and with odometry that shows a base which does not stop."""
_STANDS_S, _HEARD_S = 0.2, 0.5
"""The base stands once its odometry has shown no motion for `_STANDS_S`; odometry older than `_HEARD_S` is ignored."""
_QUIET_S = 0.2
"""A goal starts this long after the last zero velocity: a driver that reads its topics as often finds them in order."""
_SLOW_M_S, _SLOW_RAD_S = 0.01, 0.02


class MotionStop:
    """Stops base, arm and head. Used from the executor's thread only; nothing blocks.

    All times are of the steady clock, so a stop also ends while simulated time stands still.
    """

    def __init__(
        self, node: Any, *, stamped: bool, cancels: Sequence[str] = (), steady_s: Callable[[], float] = time.monotonic
    ) -> None:
        """Publish from `node`.

        Args:
            node: also subscribes to the base's `odom`.
            stamped: the base expects TwistStamped on `cmd_vel`.
            cancels: topics to publish an Empty on, each telling a driver to drop its goal.
            steady_s: a clock that never jumps, in seconds.
        """
        self._node, self._stamped, self._steady_s = node, stamped, steady_s
        self._velocity = node.create_publisher(TwistStamped if stamped else Twist, "cmd_vel", 1)
        self._cancels = [node.create_publisher(Empty, topic, 1) for topic in cancels]
        self._odometry = node.create_subscription(Odometry, "odom", self._on_odometry, qos_profile_sensor_data)
        self._applied_s: float | None = None  # None while the robot may move
        self._published_s = float("-inf")
        self._goal_waits = False  # one has asked to start since the last tick
        self._heard_s = self._moved_s = float("-inf")  # the last odometry, and the last that showed motion

    @property
    def applied(self) -> bool:
        """Whether the stop is still being repeated."""
        return self._applied_s is not None

    def lets_goal_start(self) -> bool:
        """Whether a goal may start: `_QUIET_S` after the last message of the stop, for drivers may still read those.

        Messages of different topics have no common order, so a driver could take them for a stop of the new goal.
        A goal that waits must ask between any two ticks. From `_UNSEEN_S` on, the stop falls silent even if odometry
        never shows the base standing (noise, a slope), so the goal starts after about `_UNSEEN_S` + `_QUIET_S`. If the
        goal asks no more, the stop is repeated as before.
        """
        self._goal_waits, now_s = True, self._steady_s()
        if self._applied_s is not None and now_s - self._applied_s < _UNSEEN_S:
            return False
        return now_s - self._published_s >= _QUIET_S

    def apply(self) -> None:
        """Stop now, and keep stopping from `tick` until the base stands."""
        self._applied_s = self._steady_s()
        self._publish()

    def release(self) -> None:
        """Let the robot move."""
        self._applied_s = None

    def tick(self) -> None:
        """Repeat the stop until the base stands; called by a timer."""
        goal_waits, self._goal_waits = self._goal_waits, False
        if self._applied_s is None:
            return
        now_s = self._steady_s()
        if self._finished(now_s, self._applied_s):
            self._applied_s = None
        elif not goal_waits or now_s - self._applied_s < _UNSEEN_S:
            self._publish()

    def close(self) -> None:
        """Destroy the publishers and the subscription."""
        for publisher in (self._velocity, *self._cancels):
            self._node.destroy_publisher(publisher)
        self._node.destroy_subscription(self._odometry)

    def _finished(self, now_s: float, applied_s: float) -> bool:
        stopping_s = now_s - applied_s
        if stopping_s < _AT_LEAST_S:
            return False
        if now_s - self._heard_s > _HEARD_S:
            return stopping_s >= _UNSEEN_S
        return self._heard_s - self._moved_s >= _STANDS_S or stopping_s >= _AT_MOST_S

    def _on_odometry(self, message: Odometry) -> None:
        self._heard_s = self._steady_s()
        speed, rate = message.twist.twist.linear, message.twist.twist.angular
        # A velocity that is not a number counts as motion.
        if not (abs(speed.x) < _SLOW_M_S and abs(speed.y) < _SLOW_M_S and abs(rate.z) < _SLOW_RAD_S):
            self._moved_s = self._heard_s

    def _publish(self) -> None:
        self._published_s = self._steady_s()
        for publisher in self._cancels:
            publisher.publish(Empty())
        message = TwistStamped() if self._stamped else Twist()
        if self._stamped:
            message.header.stamp = self._node.get_clock().now().to_msg()
            message.header.frame_id = "base_link"
        self._velocity.publish(message)
