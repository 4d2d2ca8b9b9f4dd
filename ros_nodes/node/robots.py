"""What a kind of robot adds to the runtime: what its worker asks, who carries its goals out, and what it observes."""

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
    """One robot."""

    @property
    def planner(self) -> ReplaceablePlanner:
        """What the worker asks."""

    @property
    def client(self) -> GoalClient:
        """Who carries the goals out."""

    def observe(self, after_s: float) -> Observation | Refusal:
        """What is planned on, or what is missing."""

    def base_now(self) -> Pose | None:
        """Where the base is, as last heard of."""

    def reset(self) -> None:
        """A new task."""

    def on_the_way(self, now_s: float) -> None:
        """Called often while a goal is carried out."""

    def close(self) -> None:
        """Release what it has of its node."""


class MobileRobot:
    """A mobile base: it maps what it sees, and goes to poses."""

    def __init__(
        self, node: Any, settings: NodeSettings, planner: AnyPlanner, sensors: Sensors, clock: Callable[[], float]
    ) -> None:
        """Its navigator's publishers and clients are made on `node`."""
        assert isinstance(planner.embodiment, MobileBase)  # make_robot has looked
        self.planner = MappingPlanner(planner, planner.embodiment)
        self._sensors = sensors
        self._keyframe_s = 0.0
        navigator = make_navigator(node, settings, clock=clock, base_now=sensors.base_now)
        tilt = CameraTilt(node, settings.robot, clock=clock, camera_now=sensors.camera_now)
        self.client = NavigationClient(settings, navigator, tilt=tilt, next_spot=self.planner.take_spot)

    def observe(self, after_s: float) -> Observation | Refusal:
        """What the cameras see."""
        return self._sensors.observe(after_s)

    def base_now(self) -> Pose | None:
        """Where the base is, as last heard of."""
        return self._sensors.base_now()

    def reset(self) -> None:
        """A new map; exploring begins with a look around."""
        self.planner.reset()
        self.client.reset()
        self._keyframe_s = 0.0

    def on_the_way(self, now_s: float) -> None:
        """Keep what is seen for the map."""
        if now_s - self._keyframe_s >= _KEYFRAME_S:
            seen = self._sensors.observe(self._keyframe_s)
            self._keyframe_s = now_s
            if not isinstance(seen, Refusal):
                self.planner.keyframe(seen)

    def close(self) -> None:
        """Publish and ask no more."""
        self.client.close()


class ArmRobot:
    """A fixed arm, which knows where its tool is."""

    def __init__(
        self, node: Any, settings: NodeSettings, planner: AnyPlanner, sensors: Sensors, clock: Callable[[], float]
    ) -> None:
        """Its publishers and subscriptions are made on `node`."""
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
        """What the cameras see, and where the tool is."""
        state = self.client.state()
        if state is None:
            return Refusal(Code.NO_TRANSFORM, UNKNOWN)
        seen = self._sensors.observe(after_s)
        return seen if isinstance(seen, Refusal) else dataclasses.replace(seen, arm=state)

    def base_now(self) -> Pose | None:
        """Where the base is that the arm stands on."""
        return self._sensors.base_now()

    def reset(self) -> None:
        """Nothing is held."""
        self.client.reset()

    def on_the_way(self, now_s: float) -> None:
        """Nothing: an arm keeps no map."""

    def close(self) -> None:
        """Publish no more."""
        self.client.close()


def make_robot(
    node: Any, settings: NodeSettings, planner: AnyPlanner, sensors: Sensors, clock: Callable[[], float]
) -> Robot:
    """The body that the settings' kind of tasks needs."""
    kind = MobileRobot if settings.kind == "navigation" else ArmRobot
    return kind(node, settings, planner, sensors, clock)
