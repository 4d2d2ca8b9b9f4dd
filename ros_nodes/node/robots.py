"""The robot-specific part of the runtime: planner wrapper, goal client and observations of a base or an arm."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

from si_embodied.embodiment import MobileBase
from si_embodied.ros_nodes.motion.arm_client import UNKNOWN, ArmClient
from si_embodied.ros_nodes.motion.arm_drivers import make_arm_driver
from si_embodied.ros_nodes.motion.camera_tilt import CameraTilt
from si_embodied.ros_nodes.motion.navigation_client import NavigationClient
from si_embodied.ros_nodes.motion.navigators import make_navigator
from si_embodied.ros_nodes.node.mapping_planner import MappingPlanner, ReplaceablePlanner
from si_embodied.types import Code, Observation, Refusal

if TYPE_CHECKING:
    from si_embodied.geometry import Pose
    from si_embodied.planner import AnyPlanner
    from si_embodied.ros_nodes.node.settings import NodeSettings
    from si_embodied.ros_nodes.node.task_runner import GoalClient
    from si_embodied.ros_nodes.sensing.sensors import Sensors

_KEYFRAME_S = 1.0


class Robot(Protocol):
    """The runtime's view of a robot."""

    @property
    def planner(self) -> ReplaceablePlanner:
        """The planner that the worker calls."""

    @property
    def client(self) -> GoalClient:
        """The client that executes goals."""

    def observe(self, after_s: float) -> Observation | Refusal:
        """The newest observation later than `after_s`, or what is missing."""

    def base_now(self) -> Pose | None:
        """The latest known base pose in the map."""

    def reset(self) -> None:
        """Prepare for a new task."""

    def while_executing(self, now_s: float) -> None:
        """Called every 50 ms while a goal is being executed."""

    def close(self) -> None:
        """Destroy the publishers, subscriptions and clients."""


class MobileRobot:
    """A mobile base that maps its surroundings and drives to poses."""

    def __init__(
        self, node: Any, settings: NodeSettings, planner: AnyPlanner, sensors: Sensors, clock: Callable[[], float]
    ) -> None:
        """Create the navigator's publishers and clients on `node`."""
        assert isinstance(planner.embodiment, MobileBase)  # make_robot has checked
        self.planner = MappingPlanner(planner, planner.embodiment)
        self._sensors = sensors
        self._keyframe_s = 0.0
        navigator = make_navigator(node, settings, clock=clock, base_now=sensors.base_now)
        tilt = CameraTilt(node, settings.robot, clock=clock, camera_now=sensors.camera_now)
        self.client = NavigationClient(settings, navigator, tilt=tilt, next_spot=self.planner.take_spot)

    def observe(self, after_s: float) -> Observation | Refusal:
        """The cameras' newest observation later than `after_s`, or what is missing."""
        return self._sensors.observe(after_s)

    def base_now(self) -> Pose | None:
        """The latest known base pose in the map."""
        return self._sensors.base_now()

    def reset(self) -> None:
        """Clear the map. Exploring starts with a look around again."""
        self.planner.reset()
        self.client.reset()
        self._keyframe_s = 0.0

    def while_executing(self, now_s: float) -> None:
        """Add a keyframe to the map once a second."""
        if now_s - self._keyframe_s >= _KEYFRAME_S:
            seen = self._sensors.observe(self._keyframe_s)
            self._keyframe_s = now_s
            if not isinstance(seen, Refusal):
                self.planner.keyframe(seen)

    def close(self) -> None:
        """Destroy the navigator's publishers and clients."""
        self.client.close()


class ArmRobot:
    """A fixed arm whose observations include the tool pose."""

    def __init__(
        self, node: Any, settings: NodeSettings, planner: AnyPlanner, sensors: Sensors, clock: Callable[[], float]
    ) -> None:
        """Create the arm driver's publishers and subscriptions on `node`."""
        self.planner = ReplaceablePlanner(planner)
        self._sensors = sensors
        map_frame, tool_frame = settings.map_frame, settings.arm.tool_frame
        self.client = ArmClient(
            settings.arm.embodiment(settings.cameras),
            make_arm_driver(node, settings.arm, map_frame, clock=clock),
            clock=clock,
            tool_now=lambda: sensors.transforms.latest(map_frame, tool_frame),
        )

    def observe(self, after_s: float) -> Observation | Refusal:
        """The cameras' newest observation later than `after_s` with the arm's state, or what is missing."""
        state = self.client.state()
        if state is None:
            return Refusal(Code.NO_TRANSFORM, UNKNOWN)
        seen = self._sensors.observe(after_s)
        return seen if isinstance(seen, Refusal) else dataclasses.replace(seen, arm=state)

    def base_now(self) -> Pose | None:
        """The latest known pose of the arm's base in the map."""
        return self._sensors.base_now()

    def reset(self) -> None:
        """Assume an empty gripper."""
        self.client.reset()

    def while_executing(self, now_s: float) -> None:
        """Does nothing: an arm keeps no map."""

    def close(self) -> None:
        """Destroy the driver's publishers and subscriptions."""
        self.client.close()


def make_robot(
    node: Any, settings: NodeSettings, planner: AnyPlanner, sensors: Sensors, clock: Callable[[], float]
) -> Robot:
    """The robot for the settings' kind of task."""
    kind = MobileRobot if settings.kind == "navigation" else ArmRobot
    return kind(node, settings, planner, sensors, clock)
