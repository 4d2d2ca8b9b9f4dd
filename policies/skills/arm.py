"""Skills of an arm over a table: pick, place, push, home. They use the goal and the tool's state, nothing else.

Each skill is a script: it yields an action, receives the next observation, and returns the outcome.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Generator
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from si_embodied.arm_actions import decode_discrete, encode_discrete, encode_pose
from si_embodied.errors import ObservationError
from si_embodied.geometry import Pose, wrap_angle
from si_embodied.policies.skills import registered_skill
from si_embodied.skills import GoHome, Grasp, PushAlong, Release
from si_embodied.types import Code, Outcome

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from si_embodied.embodiment import TableArm
    from si_embodied.policies.skills import Action, Skill
    from si_embodied.skills import Goal
    from si_embodied.types import ArmState, Observation

Script: TypeAlias = "Generator[Action, Observation, Outcome]"

CLEARANCE_M = 0.12  # between a grasp and the height at which objects are carried over others
APPROACH_M = 0.06  # least height above a place from which the tool approaches it
FINGER_ROOM_M = 0.040  # opening beyond the object's width while the fingers come down around it
RELEASE_ROOM_M = 0.026  # opening beyond the object's width at release, small because a bowl's wall is near
DROP_M = 0.005  # height above the observed surface at which a held object is released
ARRIVED_M, ARRIVED_RAD = 0.006, 0.08
SETTLED_HIGH_M = 0.015  # how much higher than observed a place may be
EMPTY_OPENING_M = 0.008  # a smaller opening means an empty gripper: every object is wider


@dataclass(frozen=True, slots=True)
class HeldObject:
    """What a place needs to know about the preceding pick."""

    height_above_support_m: float  # of the tool centre point when it closed
    width_m: float  # between the pads


class ArmCommands:
    """Tool poses in the arm's own action mode; remembers the last one as rounded by that mode."""

    def __init__(self, arm: TableArm) -> None:
        """Command exact poses, or the nearest of EmbodiedBench's integers."""
        self.arm = arm
        self._target: Pose | None = None

    def move(self, tool: Pose, opening_m: float) -> Action:
        """The action that moves the tool to a pose with the pads `opening_m` apart."""
        opening = min(max(opening_m / self.arm.max_opening_m, 0.0), 1.0)
        if self.arm.action_mode == "pose":
            self._target = tool
            return encode_pose(tool, opening)
        # The gripper has two positions: anything but closed is open.
        action = encode_discrete(tool, float(opening > 0.0), self.arm)
        self._target = decode_discrete(action, self.arm)[0]
        return action

    def error(self, observation: Observation) -> tuple[float, float, float]:
        """Error of the tool against the last command: horizontal (m), upwards (m, signed), rotation (rad)."""
        if self._target is None:
            return 0.0, 0.0, 0.0
        tool = arm_state(observation).T_map_tool
        offset = tool.translation - self._target.translation
        cosine = (float(np.trace(tool.rotation.T @ self._target.rotation)) - 1) / 2
        return float(np.hypot(*offset[:2])), float(offset[2]), math.acos(min(max(cosine, -1.0), 1.0))

    def arrived(self, observation: Observation, *, high_m: float = ARRIVED_M) -> bool:
        """Whether the tool is at the last command, or at most `high_m` above it."""
        aside, up, turned = self.error(observation)
        return aside < ARRIVED_M and -ARRIVED_M < up < high_m and turned < ARRIVED_RAD

    def failed(self, code: Code, what: str, observation: Observation) -> Outcome:
        """A failure, with the tool's error in its message."""
        aside, up, _ = self.error(observation)
        return Outcome(code, f"{what}: {aside * 100:.1f} cm aside, {up * 100:+.1f} cm up")


class _Scripted(ABC):
    """Runs a script, one observation at a time."""

    def __init__(self) -> None:
        self._running: Script | None = None

    @abstractmethod
    def _script(self, observation: Observation) -> Script:
        """The script, from the first observation to the outcome."""

    def step(self, observation: Observation) -> Action | Outcome:
        """The next action, or the outcome."""
        try:
            if self._running is None:
                self._running = self._script(observation)
                return next(self._running)
            return self._running.send(observation)
        except StopIteration as stop:
            outcome: Outcome = stop.value
            return outcome


class PickSkill(_Scripted):
    """Grasps from above and lifts; afterwards `held` says what is in the gripper."""

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
            return self._commands.failed(Code.OUT_OF_REACH, "the tool did not get above the object", observation)
        observation = yield move(grasp, room)
        if not self._commands.arrived(observation):
            error = self._commands.failed(Code.BLOCKED, "the tool did not get down to the object", observation)
            yield move(above, room)
            return error
        observation = yield move(grasp, 0.0)
        if arm_state(observation).gripper_opening_m < EMPTY_OPENING_M:
            yield move(above, room)
            return Outcome(Code.GRASP_MISSED, "the gripper closed on nothing")
        observation = yield move(above, 0.0)
        opening_m = arm_state(observation).gripper_opening_m
        if opening_m < EMPTY_OPENING_M:
            return Outcome(Code.GRASP_MISSED, "the object slipped out while it was lifted")
        self.held = HeldObject(self._goal.height_above_support_m, opening_m)
        return Outcome(Code.OK)


class PlaceSkill(_Scripted):
    """Puts the held object down on a surface, its narrow side across the map's x, and releases it."""

    def __init__(self, goal: Release, held: HeldObject | None, arm: TableArm) -> None:
        """Release at `goal`; `held` is the result of the pick, None for an empty gripper."""
        super().__init__()
        self._goal, self._arm, self._commands = goal, arm, ArmCommands(arm)
        self.held = held

    def _script(self, observation: Observation) -> Script:
        if self.held is None or arm_state(observation).gripper_opening_m < EMPTY_OPENING_M:
            self.held = None
            return Outcome(Code.SKILL_FAILED, "the gripper holds nothing to put down; pick an object first")
        tool = arm_state(observation).T_map_tool
        down = self._goal.surface_m + np.array([0.0, 0.0, self.held.height_above_support_m + DROP_M])
        release = _nearest_half_turn(Pose.from_rpy(math.pi, 0.0, 0.0, down), tool)
        rise = max(APPROACH_M, float(tool.translation[2] - down[2]))
        above = _raised(release, min(rise, CLEARANCE_M))
        room = min(self.held.width_m + RELEASE_ROOM_M, self._arm.max_opening_m)
        move = self._commands.move
        if tool.translation[2] < above.translation[2] - 0.01:  # rise first: there may be objects in between
            observation = yield move(_at_height(tool, above.translation[2]), 0.0)
        observation = yield move(above, 0.0)
        if arm_state(observation).gripper_opening_m < EMPTY_OPENING_M:
            self.held = None
            return Outcome(Code.GRASP_MISSED, "the object was lost on the way")
        if not self._commands.arrived(observation):
            return self._commands.failed(Code.OUT_OF_REACH, "the tool did not get above the place", observation)
        observation = yield move(release, 0.0)
        if not self._commands.arrived(observation, high_m=SETTLED_HIGH_M):
            error = self._commands.failed(Code.BLOCKED, "an obstacle is in the way at the place", observation)
            yield move(above, 0.0)
            return error
        # Release at the tool's height, which is higher than planned if the surface is.
        yield move(_at_height(release, arm_state(observation).T_map_tool.translation[2]), room)
        self.held = None
        yield move(above, room)
        return Outcome(Code.OK)


class PushSkill(_Scripted):
    """Pushes with closed fingers along a line, close to the surface where it ends."""

    behind_m = 0.07  # the fingers come down this far behind the start
    fingers_m = 0.02  # half the closed fingers, so that the object's near side ends at the goal

    def __init__(self, goal: PushAlong, arm: TableArm) -> None:
        """Push along `goal`."""
        super().__init__()
        self._goal, self._arm, self._commands = goal, arm, ArmCommands(arm)

    def _script(self, observation: Observation) -> Script:
        along = self._goal.end_m[:2] - self._goal.start_m[:2]
        distance = float(np.hypot(*along))
        if distance < 0.01:
            return Outcome(Code.SKILL_FAILED, f"a push of {distance:.3f} m moves nothing; give points farther apart")
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
            return self._commands.failed(
                Code.OUT_OF_REACH, "the tool did not get above the start of the push", observation
            )
        observation = yield move(start, 0.0)
        if not self._commands.arrived(observation):
            error = self._commands.failed(
                Code.BLOCKED, "the tool did not get down to the start of the push", observation
            )
            yield move(_raised(start, CLEARANCE_M), 0.0)
            return error
        observation = yield move(end, 0.0)
        error = self._commands.failed(Code.BLOCKED, "the object could not be pushed that far", observation)
        pushed = self._commands.arrived(observation, high_m=SETTLED_HIGH_M)
        tool_now = arm_state(observation).T_map_tool
        yield move(_raised(tool_now, CLEARANCE_M), 0.0)
        return Outcome(Code.OK) if pushed else error


class HomeSkill(_Scripted):
    """Moves the arm, with what it holds, to where it does not hide the scene."""

    def __init__(self, held: HeldObject | None, arm: TableArm) -> None:
        """Keep the gripper closed if it holds an object."""
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
            return self._commands.failed(Code.BLOCKED, "the arm did not get home", observation)
        return Outcome(Code.OK)


class ArmSkills:
    """The skills of one arm during one episode; remembers from each pick to the next place what is held."""

    def __init__(self, arm: TableArm) -> None:
        """Start with an empty gripper."""
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
            ConfigError: an arm has no skill for the goal.
        """
        match goal:
            case Grasp():
                self._last = PickSkill(goal, self._arm)
                return self._last
            case Release():
                self._last = PlaceSkill(goal, self.held, self._arm)
                return self._last
            case PushAlong():
                return PushSkill(goal, self._arm)
            case GoHome():
                return HomeSkill(self.held, self._arm)
            case _:
                return registered_skill(goal, self._arm)

    def wait(self, observation: Observation) -> Action:
        """Hold still for one action, without releasing."""
        state = arm_state(observation)
        return self._commands.move(state.T_map_tool, 0.0 if self.held else state.gripper_opening_m)


def arm_state(observation: Observation) -> ArmState:
    """The arm's state in an observation.

    Raises:
        ObservationError: the observation has no arm state.
    """
    if observation.arm is None:
        raise ObservationError("an arm's skill needs the tool's pose: expected Observation.arm to be set, got None")
    return observation.arm


def _raised(pose: Pose, by_m: float) -> Pose:
    return Pose(pose.rotation, pose.translation + np.array([0.0, 0.0, by_m]))


def _at_height(pose: Pose, z_m: float) -> Pose:
    return Pose(pose.rotation, np.array([*pose.translation[:2], z_m]))


def _nearest_half_turn(pose: Pose, tool: Pose) -> Pose:
    """The grasp, or the same grasp with the fingers swapped if the wrist turns less for it."""
    other = Pose(pose.rotation @ np.diag([-1.0, -1.0, 1.0]), pose.translation)
    return min((pose, other), key=lambda option: abs(wrap_angle(option.yaw - tool.yaw)))
