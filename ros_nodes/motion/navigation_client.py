"""Goals to a mobile base: as poses, through Nav2's NavigateToPose or a plain goal topic. Nothing here waits."""

from __future__ import annotations

import json
import math
from collections import deque
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
from geometry_msgs.msg import PoseStamped
from std_msgs.msg import String

from si_embodied.errors import MissingRosPackageError
from si_embodied.geometry import Pose, wrap_angle
from si_embodied.ros_nodes.motion.camera_tilt import CameraTilt
from si_embodied.ros_nodes.node.settings import NavigationSettings, NodeSettings
from si_embodied.ros_nodes.sensing import bridge
from si_embodied.skills import Drive, ExploreFrontier, Goal, NavigateTo, Rotate, TiltCamera
from si_embodied.types import Code, Outcome

_MOVED_M, _MOVED_RAD = 0.02, 0.03


class Navigator(Protocol):
    """Brings the base to one pose."""

    def go(self, T_map_base: Pose) -> None:
        """Begin."""

    def poll(self) -> Outcome | None:
        """How it ended, once."""

    def cancel(self) -> None:
        """Forget the pose, and stop going there."""

    def close(self) -> None:
        """Release what it has of its node."""


class NavigationClient:
    """The navigation goals of a plan, each as poses to reach one after the other."""

    def __init__(
        self,
        settings: NodeSettings,
        navigator: Navigator,
        *,
        tilt: CameraTilt,
        next_spot: Callable[[], tuple[float, float] | None],
    ) -> None:
        """Carry goals out with `navigator`.

        Args:
            settings: of the node.
            navigator: brings the base to a pose.
            tilt: tilts the camera.
            next_spot: map xy of what to explore next, None when there is nothing.
        """
        self._settings, self._navigator, self._tilt = settings, navigator, tilt
        self._next_spot = next_spot
        self._poses: deque[Pose] = deque()  # still to go to
        self._looks: deque[float] = deque()  # still to turn, while looking around
        self._outcome: Outcome | None = None  # known without moving
        self._arrival = Outcome(Code.OK)  # of the goal, once all poses are reached
        self.reset()

    def reset(self) -> None:
        """A new task: look around first when asked to explore."""
        self._looks = deque([self._settings.robot.look_step_rad] * self._full_turn())

    def start(self, goal: Goal, T_map_base: Pose) -> None:
        """Begin a goal; turns and drives count from `T_map_base`, where they were decided."""
        self._outcome, self._arrival = None, Outcome(Code.OK)
        self._poses.clear()
        if isinstance(goal, NavigateTo):
            self._poses.append(goal.T_map_base)
            self._arrival = Outcome(goal.on_arrival)
        elif isinstance(goal, Rotate):
            self._poses.append(turned(T_map_base, goal.angle_rad))
        elif isinstance(goal, Drive):
            self._poses.append(T_map_base @ Pose.planar(goal.distance_m, 0.0, 0.0))
        elif isinstance(goal, ExploreFrontier):
            self._explore(T_map_base)
        elif isinstance(goal, TiltCamera):
            self._tilt.start(goal.angle_rad)
        else:
            self._outcome = Outcome(Code.SKILL_FAILED, f"a mobile base has no skill for {type(goal).__name__}")
        self._go_on()

    def poll(self) -> Outcome | None:
        """How the goal ended, once."""
        outcome, self._outcome = self._outcome or self._tilt.poll(), None
        if outcome is not None:
            return outcome
        reached = self._navigator.poll()
        if reached is None or not reached.succeeded:
            return reached
        if not self._poses:
            return self._arrival
        self._go_on()
        return None

    def cancel(self) -> None:
        """Stop at once."""
        self._poses.clear()
        self._outcome = None
        self._navigator.cancel()
        self._tilt.cancel()

    def close(self) -> None:
        """Publish and ask no more."""
        self.cancel()
        self._navigator.close()
        self._tilt.close()

    def _go_on(self) -> None:
        if self._poses:
            self._navigator.go(self._poses.popleft())

    def _full_turn(self) -> int:
        return math.ceil(2 * math.pi / self._settings.robot.look_step_rad) - 1

    def _explore(self, T_map_base: Pose) -> None:
        """Look in the next direction from here, or go where nothing has been seen yet and look around from there."""
        if self._looks:
            self._poses.append(turned(T_map_base, self._looks.popleft()))
            return
        spot = self._next_spot()
        if spot is None:
            self._outcome = Outcome(Code.SKILL_FAILED, "nothing is left to explore")
            self.reset()
            return
        heading = math.atan2(spot[1] - T_map_base.translation[1], spot[0] - T_map_base.translation[0])
        self._poses.append(Pose.planar(*spot, heading))
        self.reset()


def turned(T_map_base: Pose, angle_rad: float) -> Pose:
    """The base turned on the spot."""
    return T_map_base @ Pose.planar(0.0, 0.0, angle_rad)


class TopicNavigator:
    """Publishes `goal_pose` and watches the base: arrived, not moving, or out of time.

    A base that says how its goals end (`sim_node` does, on navigation/outcome) is believed before that.
    """

    def __init__(
        self,
        node: Any,
        settings: NavigationSettings,
        map_frame: str,
        *,
        clock: Callable[[], float],
        base_now: Callable[[], Pose | None],
    ) -> None:
        """Publish on the node's goal_pose; `base_now` tells where the base is."""
        self._node, self._settings, self._map_frame = node, settings, map_frame
        self._clock, self._base_now = clock, base_now
        self._publisher = node.create_publisher(PoseStamped, "goal_pose", 1)
        self._outcomes = node.create_subscription(String, "navigation/outcome", self._on_outcome, 10)
        self._stamp_ns = 0
        self._said: Outcome | None = None
        self._goal: Pose | None = None
        self._started_s = self._moved_s = 0.0
        self._last: Pose | None = None

    def go(self, T_map_base: Pose) -> None:
        """Publish the goal."""
        self._goal, self._last, self._said = T_map_base, None, None
        self._started_s = self._moved_s = self._clock()
        self._stamp_ns = self._publish(T_map_base)

    def poll(self) -> Outcome | None:
        """OK once the base is there, BLOCKED when it has not moved for long, TIMED_OUT when it takes too long."""
        if self._goal is None:
            return None
        outcome = self._look(self._goal)
        if outcome is not None:
            self._goal = None
            if not outcome.succeeded:
                self._stay()
        return outcome

    def cancel(self) -> None:
        """Make where the base is the goal."""
        if self._goal is not None:
            self._goal = None
            self._stay()

    def close(self) -> None:
        """Publish no more."""
        self._node.destroy_publisher(self._publisher)
        self._node.destroy_subscription(self._outcomes)

    def _on_outcome(self, message: String) -> None:
        try:
            values = json.loads(message.data)
            if int(values["goal_stamp_ns"]) == self._stamp_ns:
                self._said = Outcome(Code(values["code"]), str(values["message"]))
        except (ValueError, TypeError, LookupError) as error:
            self._node.get_logger().warning(f"not an outcome: {message.data[:80]!r} ({error!r})", once=True)

    def _look(self, goal: Pose) -> Outcome | None:
        if self._said is not None:
            return self._said
        now_s, base = self._clock(), self._base_now()
        if base is None:
            return None if now_s - self._started_s < self._settings.stuck_s else Outcome(Code.BLOCKED, "no pose known")
        left_m = float(np.hypot(*(goal.translation - base.translation)[:2]))
        left_rad = abs(wrap_angle(goal.yaw - base.yaw))
        if left_m <= self._settings.arrived_m and left_rad <= self._settings.arrived_rad:
            return Outcome(Code.OK)
        if self._last is None or _differ(self._last, base):
            self._last, self._moved_s = base, now_s
        if now_s - self._moved_s > self._settings.stuck_s:
            return Outcome(Code.BLOCKED, f"the base does not move, {left_m:.2f} m from the goal")
        if now_s - self._started_s > self._settings.goal_timeout_s:
            return Outcome(Code.TIMED_OUT, f"still {left_m:.2f} m from the goal after {now_s - self._started_s:.0f} s")
        return None

    def _stay(self) -> None:
        base = self._base_now()
        if base is not None:
            self._publish(base)

    def _publish(self, pose: Pose) -> int:
        """Publish a pose; its stamp, by which an outcome names its goal."""
        message = goal_message(pose, self._map_frame, self._clock())
        self._publisher.publish(message)
        return int(message.header.stamp.sec) * 1_000_000_000 + int(message.header.stamp.nanosec)


def goal_message(pose: Pose, frame: str, now_s: float) -> PoseStamped:
    """A pose to go to."""
    message = PoseStamped()
    message.header.frame_id = frame
    bridge.set_stamp(message.header.stamp, now_s)
    bridge.set_pose(message.pose, pose)
    return message


def _differ(a: Pose, b: Pose) -> bool:
    moved = float(np.linalg.norm(a.translation - b.translation)) > _MOVED_M
    return moved or abs(wrap_angle(a.yaw - b.yaw)) > _MOVED_RAD


def make_navigator(
    node: Any, settings: NodeSettings, *, clock: Callable[[], float], base_now: Callable[[], Pose | None]
) -> Navigator:
    """Nav2 where it is wanted and installed, else the goal topic.

    Raises:
        MissingRosPackageError: Nav2 is insisted on and nav2_msgs is not installed.
    """
    wanted = settings.navigation.navigator
    if wanted != "topic":
        try:
            from si_embodied.ros_nodes.motion.nav2_client import Nav2Navigator

            return Nav2Navigator(node, settings.navigation, settings.map_frame, clock=clock)
        except ModuleNotFoundError as error:
            if wanted == "nav2":
                raise MissingRosPackageError(str(error.name)) from error
    return TopicNavigator(node, settings.navigation, settings.map_frame, clock=clock, base_now=base_now)
