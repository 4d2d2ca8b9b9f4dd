"""Navigators, which drive the base to a pose: through a goal topic, or Nav2 (nav2_client.py)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
from geometry_msgs.msg import PoseStamped
from std_msgs.msg import String

from si_embodied.errors import MissingRosPackageError
from si_embodied.geometry import Pose, wrap_angle
from si_embodied.ros_nodes.motion import outcomes
from si_embodied.ros_nodes.node.settings import NavigationSettings, NodeSettings
from si_embodied.ros_nodes.sensing import bridge
from si_embodied.types import Code, Outcome

_MOVED_M, _MOVED_RAD = 0.02, 0.03
"""Smaller changes of the base's pose do not count as movement."""


class Navigator(Protocol):
    """Drives the base to one pose at a time."""

    def go(self, T_map_base: Pose) -> None:
        """Start driving to a pose; this replaces the goal under way."""

    def poll(self) -> Outcome | None:
        """The outcome of the goal, returned once; None while the base drives."""

    def cancel(self) -> None:
        """Drop the goal. `MotionStop` stops the base."""

    @property
    def settled(self) -> bool:
        """Whether no goal is on its way that could still be accepted."""

    def close(self) -> None:
        """Release the node's publishers, subscriptions and clients."""


class TopicNavigator:
    """Publishes `goal_pose` and watches the base's transform until it arrives, gets stuck or runs out of time.

    If the base reports outcomes on navigation/outcome, as `sim_node` does, the reported outcome takes precedence.
    """

    settled = True

    def __init__(
        self,
        node: Any,
        settings: NavigationSettings,
        map_frame: str,
        *,
        clock: Callable[[], float],
        base_now: Callable[[], Pose | None],
    ) -> None:
        """Publish on `node`; `base_now` returns `T_map_base` while it is known."""
        self._node, self._settings, self._map_frame = node, settings, map_frame
        self._clock, self._base_now = clock, base_now
        self._publisher = node.create_publisher(PoseStamped, "goal_pose", 1)
        self._outcomes = node.create_subscription(String, "navigation/outcome", self._on_outcome, 10)
        self._stamp_ns = 0
        self._reported: Outcome | None = None
        self._goal: Pose | None = None
        self._started_s = self._moved_s = 0.0
        self._last: Pose | None = None

    def go(self, T_map_base: Pose) -> None:
        """Publish the goal."""
        self._goal, self._last, self._reported = T_map_base, None, None
        self._started_s = self._moved_s = self._clock()
        self._stamp_ns = self._publish(T_map_base)

    def poll(self) -> Outcome | None:
        """OK once the base has arrived, BLOCKED if it has stopped moving, TIMED_OUT if it takes too long."""
        if self._goal is None:
            return None
        outcome = self._check(self._goal)
        if outcome is not None:
            self._goal = None
        return outcome

    def cancel(self) -> None:
        """Drop the goal; the base drops it on `navigation/cancel` or on zero velocity."""
        self._goal = None

    def close(self) -> None:
        """Release the publisher and the subscription."""
        self._node.destroy_publisher(self._publisher)
        self._node.destroy_subscription(self._outcomes)

    def _on_outcome(self, message: String) -> None:
        stamp_ns, outcome = outcomes.parsed(message.data)
        if stamp_ns == self._stamp_ns:
            self._reported = outcome

    def _check(self, goal: Pose) -> Outcome | None:
        if self._reported is not None:
            return self._reported
        now_s, base = self._clock(), self._base_now()
        if base is None:
            unknown = Outcome(Code.NO_TRANSFORM, "the base's pose is not known")
            return None if now_s - self._started_s < self._settings.stuck_s else unknown
        left_m = float(np.hypot(*(goal.translation - base.translation)[:2]))
        left_rad = abs(wrap_angle(goal.yaw - base.yaw))
        if left_m <= self._settings.arrived_m and left_rad <= self._settings.arrived_rad:
            return Outcome(Code.OK)
        if self._last is None or _differ(self._last, base):
            self._last, self._moved_s = base, now_s
        if now_s - self._moved_s > self._settings.stuck_s:
            return Outcome(Code.BLOCKED, f"the base has stopped {left_m:.2f} m from the goal")
        if now_s - self._started_s > self._settings.goal_timeout_s:
            return Outcome(Code.TIMED_OUT, f"still {left_m:.2f} m from the goal after {now_s - self._started_s:.0f} s")
        return None

    def _publish(self, pose: Pose) -> int:
        """Publish a pose. Returns its stamp, by which an outcome identifies its goal."""
        message = PoseStamped()
        bridge.set_stamped_pose(message, pose, self._map_frame, self._clock())
        self._publisher.publish(message)
        return int(message.header.stamp.sec) * 1_000_000_000 + int(message.header.stamp.nanosec)


def _differ(a: Pose, b: Pose) -> bool:
    moved = float(np.linalg.norm(a.translation - b.translation)) > _MOVED_M
    return moved or abs(wrap_angle(a.yaw - b.yaw)) > _MOVED_RAD


def make_navigator(
    node: Any, settings: NodeSettings, *, clock: Callable[[], float], base_now: Callable[[], Pose | None]
) -> Navigator:
    """Nav2 if `navigation.navigator` allows it and nav2_msgs is installed, otherwise the goal topic.

    Raises:
        MissingRosPackageError: the setting is nav2, and nav2_msgs is not installed.
    """
    choice = settings.navigation.navigator
    if choice != "topic":
        try:
            from si_embodied.ros_nodes.motion.nav2_client import Nav2Navigator

            return Nav2Navigator(node, settings.navigation, settings.map_frame, clock=clock)
        except ModuleNotFoundError as error:
            if choice == "nav2":
                raise MissingRosPackageError(str(error.name)) from error
    return TopicNavigator(node, settings.navigation, settings.map_frame, clock=clock, base_now=base_now)
