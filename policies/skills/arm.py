"""Skills of an arm over a table: pick, place, push, home. They know the goal and the tool's state, nothing else.

Each skill is a script: it yields an action, is sent the next observation, and returns how it ended.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Generator
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from si_embodied.arm_actions import decode_discrete, encode_discrete, encode_pose
from si_embodied.errors import ConfigError, ObservationError
from si_embodied.geometry import Pose, wrap_angle
from si_embodied.skills import GoHome, Grasp, PushAlong, Release
from si_embodied.types import Code, Outcome

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from si_embodied.embodiment import TableArm
    from si_embodied.policies.skills import Action, Skill
    from si_embodied.skills import Goal
    from si_embodied.types import ArmState, Observation

Script: TypeAlias = "Generator[Action, Observation, Outcome]"

CLEARANCE_M = 0.12  # between a grasp and the height at which things are carried over others
APPROACH_M = 0.06  # above a place, at least
FINGER_ROOM_M = 0.040  # beyond the object's width, when the fingers come down around it
RELEASE_ROOM_M = 0.026  # beyond the object's width, when they let go: a bowl's wall is near
DROP_M = 0.005  # a held thing is let go this far above the surface that was seen
ARRIVED_M, ARRIVED_RAD = 0.006, 0.08
SETTLED_HIGH_M = 0.015  # a place may be this much higher than it was seen
EMPTY_OPENING_M = 0.008  # pads nearer than this hold nothing: the thinnest thing to pick is wider


@dataclass(frozen=True, slots=True)
class HeldObject:
    """What a place needs to know of the pick before it."""

    height_above_support_m: float  # of the tool centre point when it closed
    width_m: float  # between the pads


class ArmCommands:
    """Tool poses in the arm's own action mode; remembers the last one as it was rounded."""

    def __init__(self, arm: TableArm) -> None:
        """Poses as they are, or the nearest of EmbodiedBench's integers."""
        self.arm = arm
        self._target: Pose | None = None

    def move(self, tool: Pose, opening_m: float) -> Action:
        """Bring the tool to a pose, with the pads this far apart."""
        opening = min(max(opening_m / self.arm.max_opening_m, 0.0), 1.0)
        if self.arm.action_mode == "pose":
            self._target = tool
            return encode_pose(tool, opening)
        # Two positions only: anything but closed is open.
        action = encode_discrete(tool, float(opening > 0.0), self.arm)
        self._target = decode_discrete(action, self.arm)[0]
        return action

    def error(self, observation: Observation) -> tuple[float, float, float]:
        """How far the tool is from the last command: aside (m), upwards (m, signed), turned (rad)."""
        if self._target is None:
            return 0.0, 0.0, 0.0
        tool = arm_state(observation).T_map_tool
        offset = tool.translation - self._target.translation
        cosine = (float(np.trace(tool.rotation.T @ self._target.rotation)) - 1) / 2
        return float(np.hypot(*offset[:2])), float(offset[2]), math.acos(min(max(cosine, -1.0), 1.0))

    def arrived(self, observation: Observation, *, high_m: float = ARRIVED_M) -> bool:
        """Whether the tool is where it was sent, or at most `high_m` above it."""
        aside, up, turned = self.error(observation)
        return aside < ARRIVED_M and -ARRIVED_M < up < high_m and turned < ARRIVED_RAD


class _Scripted(ABC):
    """Runs a script one observation at a time."""

    def __init__(self) -> None:
        self._running: Script | None = None

    @abstractmethod
    def _script(self, observation: Observation) -> Script:
        """From the first observation to how it ended."""

    def step(self, observation: Observation) -> Action | Outcome:
        """The next action, or how it ended."""
        try:
            if self._running is None:
                self._running = self._script(observation)
                return next(self._running)
            return self._running.send(observation)
        except StopIteration as stop:
            outcome: Outcome = stop.value
            return outcome


class PickSkill(_Scripted):
    """Grasp from above and lift; `held` says what is in the gripper afterwards."""

    def __init__(self, goal: Grasp, arm: TableArm) -> None:
        """Grasp at `goal`."""
        super().__init__()
        self._goal, self._arm, self._commands = goal, arm, ArmCommands(arm)
        self.held: HeldObject | None = None

    def _script(self, observation: Observation) -> Script:
        grasp = _nearest_half_turn(self._goal.T_map_tool, arm_state(observation).T_map_tool)
        above = _raised(grasp, CLEARANCE_M)
        room = min(self._goal.width_m + FINGER_ROOM_M, self._arm.max_opening_m)
        move = self._commands.move
        observation = yield move(above, room)
        if not self._commands.arrived(observation):
            return _failed(Code.OUT_OF_REACH, "the tool does not get above the object", self._commands, observation)
        observation = yield move(grasp, room)
        if not self._commands.arrived(observation):
            error = _failed(Code.BLOCKED, "the tool does not get down to the object", self._commands, observation)
            yield move(above, room)
            return error
        observation = yield move(grasp, 0.0)
        if arm_state(observation).gripper_opening_m < EMPTY_OPENING_M:
            yield move(above, room)
            return Outcome(Code.GRASP_MISSED, "the gripper closed on nothing")
        observation = yield move(above, 0.0)
        opening_m = arm_state(observation).gripper_opening_m
        if opening_m < EMPTY_OPENING_M:
            return Outcome(Code.GRASP_MISSED, "the object slipped out when it was lifted")
        self.held = HeldObject(self._goal.height_above_support_m, opening_m)
        return Outcome(Code.OK)


class PlaceSkill(_Scripted):
    """Put what is held down on a surface, its narrow side across the map's x, and let go."""

    def __init__(self, goal: Release, held: HeldObject | None, arm: TableArm) -> None:
        """Let go at `goal`; `held` is what the pick left, None when there is nothing."""
        super().__init__()
        self._goal, self._arm, self._commands = goal, arm, ArmCommands(arm)
        self.held = held

    def _script(self, observation: Observation) -> Script:
        if self.held is None or arm_state(observation).gripper_opening_m < EMPTY_OPENING_M:
            self.held = None
            return Outcome(Code.SKILL_FAILED, "there is nothing in the gripper to put down; pick something first")
        tool = arm_state(observation).T_map_tool
        down = self._goal.surface_m + np.array([0.0, 0.0, self.held.height_above_support_m + DROP_M])
        release = _nearest_half_turn(Pose.from_rpy(math.pi, 0.0, 0.0, down), tool)
        rise = max(APPROACH_M, float(tool.translation[2] - down[2]))
        above = _raised(release, min(rise, CLEARANCE_M))
        room = min(self.held.width_m + RELEASE_ROOM_M, self._arm.max_opening_m)
        move = self._commands.move
        if tool.translation[2] < above.translation[2] - 0.01:  # rise first: there may be things in between
            observation = yield move(_at_height(tool, above.translation[2]), 0.0)
        observation = yield move(above, 0.0)
        if arm_state(observation).gripper_opening_m < EMPTY_OPENING_M:
            self.held = None
            return Outcome(Code.GRASP_MISSED, "the object was lost on the way")
        if not self._commands.arrived(observation):
            return _failed(Code.OUT_OF_REACH, "the tool does not get above the place", self._commands, observation)
        observation = yield move(release, 0.0)
        if not self._commands.arrived(observation, high_m=SETTLED_HIGH_M):
            error = _failed(Code.BLOCKED, "something is in the way of the place", self._commands, observation)
            yield move(above, 0.0)
            return error
        # Let go where the tool is, which is higher than planned where the surface is.
        yield move(_at_height(release, arm_state(observation).T_map_tool.translation[2]), room)
        self.held = None
        yield move(above, room)
        return Outcome(Code.OK)


class PushSkill(_Scripted):
    """Push with closed fingers along a line, near the surface that it ends on."""

    behind_m = 0.07  # where the fingers come down, before the point to push at
    fingers_m = 0.02  # half the closed fingers: the object's near side ends up at the goal

    def __init__(self, goal: PushAlong, arm: TableArm) -> None:
        """Push along `goal`."""
        super().__init__()
        self._goal, self._arm, self._commands = goal, arm, ArmCommands(arm)

    def _script(self, observation: Observation) -> Script:
        along = self._goal.end_m[:2] - self._goal.start_m[:2]
        distance = float(np.hypot(*along))
        if distance < 0.01:
            return Outcome(Code.SKILL_FAILED, f"a push of {distance:.3f} m moves nothing; name two points apart")
        direction = along / distance
        height = min(self._goal.start_m[2], self._goal.end_m[2]) + self._arm.finger_depth_m + 0.008

        def tool(point: NDArray[np.float64]) -> Pose:
            pose = Pose.from_rpy(math.pi, 0.0, math.atan2(direction[1], direction[0]), (*point, height))
            return _nearest_half_turn(pose, arm_state(observation).T_map_tool)

        start = tool(self._goal.start_m[:2] - self.behind_m * direction)
        end = tool(self._goal.end_m[:2] - self.fingers_m * direction)
        move = self._commands.move
        observation = yield move(_raised(start, CLEARANCE_M), 0.0)
        if not self._commands.arrived(observation):
            return _failed(Code.OUT_OF_REACH, "the tool does not get to the push", self._commands, observation)
        observation = yield move(start, 0.0)
        if not self._commands.arrived(observation):
            error = _failed(Code.BLOCKED, "the tool does not get down to the push", self._commands, observation)
            yield move(_raised(start, CLEARANCE_M), 0.0)
            return error
        observation = yield move(end, 0.0)
        error = _failed(Code.BLOCKED, "the object cannot be pushed so far", self._commands, observation)
        pushed = self._commands.arrived(observation, high_m=SETTLED_HIGH_M)
        tool_now = arm_state(observation).T_map_tool
        yield move(_raised(tool_now, CLEARANCE_M), 0.0)
        return Outcome(Code.OK) if pushed else error


class HomeSkill(_Scripted):
    """Bring the arm to where it hides nothing, with what it holds."""

    def __init__(self, held: HeldObject | None, arm: TableArm) -> None:
        """The gripper stays closed when something is held."""
        super().__init__()
        self._opening_m = 0.0 if held else arm.max_opening_m
        self._home = Pose.from_rpy(math.pi, 0.0, 0.0, arm.home_m)
        self._commands = ArmCommands(arm)

    def _script(self, observation: Observation) -> Script:
        tool, height = arm_state(observation).T_map_tool, float(self._home.translation[2])
        if tool.translation[2] < height - CLEARANCE_M:
            observation = yield self._commands.move(_at_height(tool, height - CLEARANCE_M / 2), self._opening_m)
        observation = yield self._commands.move(self._home, self._opening_m)
        if not self._commands.arrived(observation, high_m=0.05):
            return _failed(Code.BLOCKED, "the arm does not get home", self._commands, observation)
        return Outcome(Code.OK)


class ArmSkills:
    """The skills of one arm during one episode: knows from each pick to the next place what is held."""

    def __init__(self, arm: TableArm) -> None:
        """Nothing is held."""
        self._arm = arm
        self._commands = ArmCommands(arm)
        self._last: PickSkill | PlaceSkill | None = None

    @property
    def held(self) -> HeldObject | None:
        """What the last pick or place left in the gripper."""
        return self._last.held if self._last is not None else None

    def reset(self) -> None:
        """Forget the last episode."""
        self._last = None

    def skill(self, goal: Goal) -> Skill:
        """The skill for a goal.

        Raises:
            ConfigError: a goal that an arm cannot have.
        """
        if isinstance(goal, Grasp):
            self._last = PickSkill(goal, self._arm)
            return self._last
        if isinstance(goal, Release):
            self._last = PlaceSkill(goal, self.held, self._arm)
            return self._last
        if isinstance(goal, PushAlong):
            return PushSkill(goal, self._arm)
        if isinstance(goal, GoHome):
            return HomeSkill(self.held, self._arm)
        raise ConfigError(f"an arm has no skill for {type(goal).__name__}")

    def wait(self, observation: Observation) -> Action:
        """Hold still for one action, and hold on."""
        state = arm_state(observation)
        return self._commands.move(state.T_map_tool, 0.0 if self.held else state.gripper_opening_m)


def arm_state(observation: Observation) -> ArmState:
    """The arm's part of an observation.

    Raises:
        ObservationError: it has none.
    """
    if observation.arm is None:
        raise ObservationError("an arm's skill needs the tool's pose in the observation (arm), got none")
    return observation.arm


def _raised(pose: Pose, by_m: float) -> Pose:
    return Pose(pose.rotation, pose.translation + np.array([0.0, 0.0, by_m]))


def _at_height(pose: Pose, z_m: float) -> Pose:
    return Pose(pose.rotation, np.array([*pose.translation[:2], z_m]))


def _nearest_half_turn(pose: Pose, tool: Pose) -> Pose:
    """The same grasp with the fingers swapped, if the wrist turns less that way."""
    other = Pose(pose.rotation @ np.diag([-1.0, -1.0, 1.0]), pose.translation)
    return min((pose, other), key=lambda option: abs(wrap_angle(option.yaw - tool.yaw)))


def _failed(code: Code, what: str, commands: ArmCommands, observation: Observation) -> Outcome:
    aside, up, _ = commands.error(observation)
    return Outcome(code, f"{what}: {aside * 100:.1f} cm aside, {up * 100:+.1f} cm up")
