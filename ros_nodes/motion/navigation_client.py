"""Executes the goals of a navigation plan as poses for a navigator. Nothing here blocks."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable

from si_embodied.geometry import Pose
from si_embodied.ros_nodes.motion.camera_tilt import CameraTilt
from si_embodied.ros_nodes.motion.navigators import Navigator
from si_embodied.ros_nodes.motion.stop import MotionStop
from si_embodied.ros_nodes.node.settings import NodeSettings
from si_embodied.skills import Drive, ExploreFrontier, ExploreView, Goal, NavigateTo, Rotate, TiltCamera
from si_embodied.types import Code, Outcome


class NavigationClient:
    """Executes navigation goals one at a time, each as a sequence of poses or a tilt of the camera."""

    def __init__(
        self,
        settings: NodeSettings,
        navigator: Navigator,
        *,
        stop: MotionStop,
        tilt: CameraTilt,
        next_pose: Callable[[], Pose | None],
    ) -> None:
        """Execute goals with `navigator`.

        Args:
            settings: the node's settings.
            navigator: drives the base to a pose.
            stop: stops base and head.
            tilt: tilts the camera.
            next_pose: base pose of the next image of an exploration, None when nothing is left to see.
        """
        self._settings, self._navigator, self._stop, self._tilt = settings, navigator, stop, tilt
        self._next_pose = next_pose
        self._poses: deque[Pose] = deque()  # still to reach
        self._outcome: Outcome | None = None  # of a goal that ended before it moved the base
        self._arrival = Outcome(Code.OK)  # the outcome once all poses are reached
        self._levelling = False  # the camera is tilting back before the base drives

    def start(self, goal: Goal, T_map_base: Pose) -> None:
        """Start a goal; turns and drives are relative to `T_map_base`, where they were planned.

        A goal that drives through the map levels the camera first: a tilted one maps nothing on the path there.
        """
        self._stop.release()
        self._outcome, self._arrival, self._levelling = None, Outcome(Code.OK), False
        self._poses.clear()
        match goal:
            case NavigateTo():
                self._poses.append(goal.T_map_base)
                self._arrival = Outcome(goal.on_arrival)
            case Rotate():
                self._poses.extend(self._turns(T_map_base, goal.angle_rad))
            case Drive():
                self._poses.append(T_map_base @ Pose.planar(goal.distance_m, 0.0, 0.0))
            case ExploreFrontier() | ExploreView():
                self._explore(goal)
            case TiltCamera():
                self._tilt.start(goal.angle_rad)
            case _:
                self._outcome = Outcome(Code.SKILL_FAILED, f"a mobile base cannot execute {type(goal).__name__}")
        if self._poses and isinstance(goal, NavigateTo | ExploreFrontier | ExploreView):
            self._levelling = self._tilt.level()
        if not self._levelling:
            self._go_on()

    def poll(self) -> Outcome | None:
        """The outcome of the goal, returned once; None while it is under way. A failure stops the robot."""
        outcome = self._poll()
        if outcome is not None and not outcome.succeeded:
            self.cancel()
        return outcome

    def cancel(self) -> None:
        """Stop immediately."""
        self._poses.clear()
        self._outcome, self._levelling = None, False
        self._navigator.cancel()
        self._tilt.cancel()
        self._stop.apply()

    @property
    def settled(self) -> bool:
        """Whether no goal is on its way that a navigator could still accept."""
        return self._navigator.settled

    def close(self) -> None:
        """Stop, and release the node's publishers, subscriptions and clients."""
        self.cancel()
        self._navigator.close()
        self._tilt.close()

    def _poll(self) -> Outcome | None:
        outcome, self._outcome = self._outcome or self._tilt.poll(), None
        if self._levelling:
            if outcome is not None:  # a camera that does not move is no reason not to drive
                self._levelling = False
                self._go_on()
            return None
        if outcome is not None:
            return outcome
        reached = self._navigator.poll()
        if reached is None or not reached.succeeded:
            return reached
        if not self._poses:
            return self._arrival
        self._go_on()
        return None

    def _go_on(self) -> None:
        if self._poses:
            self._navigator.go(self._poses.popleft())

    def _turns(self, T_map_base: Pose, angle_rad: float) -> list[Pose]:
        """The poses of a turn. One pose cannot ask for more than half a turn: the base takes the shorter way."""
        parts = 1 if abs(angle_rad) <= math.pi else math.ceil(abs(angle_rad) / self._settings.robot.look_step_rad)
        return [turned(T_map_base, angle_rad * (part + 1) / parts) for part in range(parts)]

    def _explore(self, goal: ExploreFrontier | ExploreView) -> None:
        """Look in the next direction, or drive to an unexplored place."""
        pose = self._next_pose()
        if pose is not None:
            self._poses.append(pose)
        elif isinstance(goal, ExploreView):
            self._outcome = Outcome(Code.SKILL_FAILED, "that view shows no unexplored place")
        else:
            self._outcome = Outcome(Code.SKILL_FAILED, "nothing is left to explore")


def turned(T_map_base: Pose, angle_rad: float) -> Pose:
    """The base's pose after turning on the spot."""
    return T_map_base @ Pose.planar(0.0, 0.0, angle_rad)
