"""The robot-specific part of the runtime: planner wrapper, goal client and observations of a base or an arm."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

from si_embodied.embodiment import MobileBase
from si_embodied.errors import TransformError
from si_embodied.ros_nodes.motion.arm_client import UNKNOWN, ArmClient
from si_embodied.ros_nodes.motion.arm_drivers import make_arm_driver
from si_embodied.ros_nodes.motion.camera_tilt import CameraTilt
from si_embodied.ros_nodes.motion.navigation_client import NavigationClient
from si_embodied.ros_nodes.motion.navigators import make_navigator
from si_embodied.ros_nodes.node.mapping_planner import MappingPlanner, ReplaceablePlanner
from si_embodied.ros_nodes.node.remembering import camera_moved
from si_embodied.types import Code, Observation, Refusal

if TYPE_CHECKING:
    from si_embodied.geometry import Pose
    from si_embodied.planner import AnyPlanner
    from si_embodied.ros_nodes.motion.stop import MotionStop
    from si_embodied.ros_nodes.node.settings import NodeSettings
    from si_embodied.ros_nodes.node.task_runner import GoalClient
    from si_embodied.ros_nodes.sensing.sensors import Sensors

_LOOK_S = 1.0
"""Between two observations while a goal is carried out. A base that turns at 1 rad/s turns by 57 degrees meanwhile."""


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

    def base_now(self) -> Pose | Refusal:
        """The base's current pose in the map, or why the robot must not move now."""

    def reset(self) -> None:
        """Prepare for a new task."""

    def while_executing(self, now_s: float) -> Observation | None:
        """Called every 50 ms while a goal is being executed; a new view for the planner's memory, if there is one."""

    def forget_map(self) -> None:
        """Drop what depends on the map frame, because it has jumped."""

    def close(self) -> None:
        """Destroy the publishers, subscriptions and clients."""


def current_pose(sensors: Sensors, frame: str, now_s: float, *, target: str = "") -> Pose | Refusal:
    """Where a frame is in the map (or in `target`), if its transform is younger than `max_transform_age_s`."""
    target = target or sensors.settings.map_frame
    try:
        # Transforms are never extrapolated: one that is known at this time is known until then or later.
        sensors.transforms.lookup(target, frame, now_s - sensors.settings.max_transform_age_s)
    except TransformError as error:
        return Refusal(Code.NO_TRANSFORM, f"the current pose of {frame!r} is not known: {error}")
    pose = sensors.transforms.latest(target, frame)
    return Refusal(Code.NO_TRANSFORM, f"the pose of {frame!r} is not known") if pose is None else pose


def _known(pose: Pose | Refusal) -> Pose | None:
    return None if isinstance(pose, Refusal) else pose


class MobileRobot:
    """A mobile base that maps its surroundings and drives to poses."""

    def __init__(
        self,
        node: Any,
        settings: NodeSettings,
        planner: AnyPlanner,
        sensors: Sensors,
        clock: Callable[[], float],
        stop: MotionStop,
    ) -> None:
        """Create the navigator's publishers and clients on `node`."""
        assert isinstance(planner.embodiment, MobileBase)  # make_robot has checked
        self.planner = MappingPlanner(planner, planner.embodiment)
        self._sensors, self._clock = sensors, clock
        self._looked_s = 0.0
        self._mapped: Observation | None = None  # the last one that the map got
        navigator = make_navigator(node, settings, clock=clock, base_now=lambda: _known(self.base_now()))
        tilt = CameraTilt(node, settings.robot, clock=clock, camera_now=self._camera_now)
        self.client = NavigationClient(settings, navigator, stop=stop, tilt=tilt, next_pose=self.planner.take_pose)

    def observe(self, after_s: float) -> Observation | Refusal:
        """The cameras' newest observation later than `after_s`, or what is missing."""
        return self._sensors.observe(after_s, with_depth=True)

    def base_now(self) -> Pose | Refusal:
        """The base's current pose in the map, or why the robot must not move now."""
        return self._sensors.problem() or current_pose(self._sensors, self._sensors.settings.base_frame, self._clock())

    def _camera_now(self) -> Pose | None:
        """The head camera's current `T_base_camera`, None before its first image."""
        pairs = self._sensors.cameras[0].synchroniser.pairs()
        if not pairs:
            return None
        frame, base_frame = pairs[0].image.header.frame_id, self._sensors.settings.base_frame
        return _known(current_pose(self._sensors, frame, self._clock(), target=base_frame))

    def reset(self) -> None:
        """Clear the map, which is of one task."""
        self.forget_map()
        self._looked_s = 0.0

    def while_executing(self, now_s: float) -> Observation | None:
        """Once a second an observation. The map gets it too, unless the camera stands: it keeps only the newest few."""
        if now_s - self._looked_s < _LOOK_S:
            return None
        seen = self._sensors.observe(self._looked_s)
        self._looked_s = now_s
        if isinstance(seen, Refusal):
            return None
        if self._mapped is None or camera_moved(self._mapped, seen):
            self.planner.add(seen)
            self._mapped = seen
        return seen

    def forget_map(self) -> None:
        """Clear the map. Exploring starts with a look around again."""
        self.planner.reset()
        self._mapped = None

    def close(self) -> None:
        """Destroy the navigator's publishers and clients."""
        self.client.close()


class ArmRobot:
    """A fixed arm whose observations include the tool pose."""

    def __init__(
        self,
        node: Any,
        settings: NodeSettings,
        planner: AnyPlanner,
        sensors: Sensors,
        clock: Callable[[], float],
        stop: MotionStop,
    ) -> None:
        """Create the arm driver's publishers and subscriptions on `node`."""
        self.planner = ReplaceablePlanner(planner)
        self._sensors, self._clock, self._tool_frame = sensors, clock, settings.arm.tool_frame
        self.client = ArmClient(
            settings.arm.embodiment(settings.cameras),
            make_arm_driver(node, settings.arm, settings.map_frame, clock=clock),
            stop=stop,
            clock=clock,
            tool_now=lambda: _known(current_pose(sensors, settings.arm.tool_frame, clock())),
        )

    def observe(self, after_s: float) -> Observation | Refusal:
        """The cameras' newest observation later than `after_s` with the arm's state, or what is missing."""
        state = self.client.state()
        if state is None:
            return Refusal(Code.NO_TRANSFORM, UNKNOWN)
        seen = self._sensors.observe(after_s, with_depth=True)
        return seen if isinstance(seen, Refusal) else dataclasses.replace(seen, arm=state)

    def base_now(self) -> Pose | Refusal:
        """The current pose of the arm's base in the map, or why the arm must not move now."""
        problem, tool = self._sensors.problem(), current_pose(self._sensors, self._tool_frame, self._clock())
        if problem is not None or isinstance(tool, Refusal):
            return problem or tool
        return current_pose(self._sensors, self._sensors.settings.base_frame, self._clock())

    def reset(self) -> None:
        """Assume an empty gripper."""
        self.client.reset()

    def while_executing(self, now_s: float) -> Observation | None:
        """None: an arm keeps no map, and the plans' own views are remembered in any case."""
        return None

    def forget_map(self) -> None:
        """Does nothing: an arm keeps no map."""

    def close(self) -> None:
        """Destroy the driver's publishers and subscriptions."""
        self.client.close()


def make_robot(
    node: Any,
    settings: NodeSettings,
    planner: AnyPlanner,
    sensors: Sensors,
    clock: Callable[[], float],
    stop: MotionStop,
) -> Robot:
    """The robot for the settings' kind of task."""
    kind = MobileRobot if settings.kind == "navigation" else ArmRobot
    return kind(node, settings, planner, sensors, clock, stop)
