"""Skills of a mobile base: go to a pose, turn, drive, tilt. They use the robot's own map, nothing else."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from si_embodied.embodiment import BaseAction
from si_embodied.geometry import wrap_angle
from si_embodied.skills import Rotate
from si_embodied.types import Code, Outcome

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from si_embodied.embodiment import MobileBase
    from si_embodied.geometry import Pose
    from si_embodied.policies.mapping import OccupancyMapper
    from si_embodied.policies.skills import Action
    from si_embodied.skills import Drive, NavigateTo, TiltCamera
    from si_embodied.types import Observation

_STUCK_STEPS = 4
"""Forward commands without movement before the path counts as blocked; sliding along a wall takes one or two."""

_MIN_TILT_RAD = math.radians(1)
"""A camera that turns less than this has not moved."""


class BaseCommands:
    """Base commands in the base's own action mode."""

    def __init__(self, base: MobileBase) -> None:
        """Command discrete steps or velocities, as the base requires."""
        self.base = base
        self._discrete = base.action_mode == "discrete"

    def stop(self) -> Action:
        """End the task here."""
        return int(BaseAction.STOP) if self._discrete else self._velocity(0.0, 0.0, stop=True)

    def wait(self) -> Action:
        """Hold still while time passes."""
        return int(BaseAction.WAIT) if self._discrete else self._velocity(0.0, 0.0)

    def turn_towards(self, error_rad: float) -> Action | None:
        """Turn towards a remaining angle; None if it is smaller than the base can resolve."""
        if self._discrete:
            if abs(error_rad) <= self.base.turn_step_rad / 2 + 1e-6:
                return None
            return int(BaseAction.TURN_LEFT if error_rad > 0 else BaseAction.TURN_RIGHT)
        if abs(error_rad) < math.radians(2):
            return None
        limit = self.base.max_turn_rate_rad_s
        return self._velocity(0.0, float(np.clip(error_rad / self.base.control_period_s, -limit, limit)))

    def drive(self, distance_m: float, error_rad: float = 0.0) -> Action:
        """Drive ahead by at most `distance_m`; in continuous mode, correct a small heading error meanwhile."""
        if self._discrete:
            return int(BaseAction.FORWARD)
        limit, rate = self.base.max_speed_m_s, self.base.max_turn_rate_rad_s
        speed = min(limit, distance_m / self.base.control_period_s)
        return self._velocity(speed, float(np.clip(error_rad / self.base.control_period_s, -rate, rate)))

    def tilt(self, error_rad: float) -> Action | None:
        """One tilt step towards a remaining angle; None if less than half a step is left, or in continuous mode."""
        if not self._discrete or abs(error_rad) <= self.base.tilt_step_rad / 2 + 1e-6:
            return None
        return int(BaseAction.LOOK_UP if error_rad > 0 else BaseAction.LOOK_DOWN)

    @staticmethod
    def _velocity(speed: float, rate: float, *, stop: bool = False) -> NDArray[np.float32]:
        return np.array([speed, rate, float(stop)], dtype=np.float32)


def _length(path: NDArray[np.float64]) -> float:
    return float(np.hypot(*np.diff(path, axis=0).T).sum())


def camera_tilt(observation: Observation) -> float:
    """Elevation of the first camera's optical axis above the horizon, radians."""
    return observation.frames[0].tilt_rad


class CameraLevel:
    """Returns the camera to the tilt that it had at the episode's start.

    That tilt is the robot's own choice for driving, whatever the world: it shows the floor ahead and what stands on it.
    """

    def __init__(self, base: MobileBase) -> None:
        """Wait for the episode's first observation."""
        self._commands = BaseCommands(base)
        self._level_rad: float | None = None
        self._before_rad = math.nan  # tilt before the last step

    def update(self, observation: Observation) -> None:
        """Take in an observation; the first one shows the tilt to return to."""
        if self._level_rad is None:
            self._level_rad = camera_tilt(observation)

    def step(self, observation: Observation) -> Action | None:
        """One tilt step; None once the camera is level to half a step, or if the last step did not move it."""
        if self._level_rad is None:
            return None
        now = camera_tilt(observation)
        tilt = self._commands.tilt(self._level_rad - now)
        if tilt is not None and abs(now - self._before_rad) < _MIN_TILT_RAD:
            return None
        self._before_rad = math.nan if tilt is None else now
        return tilt


class PathFollower:
    """Drives along the shortest path to a map point, and replans whenever an obstacle appears on it."""

    def __init__(self, x: float, y: float, base: MobileBase, mapper: OccupancyMapper, *, tolerance_m: float) -> None:
        """Drive to within `tolerance_m` of map point (x, y)."""
        self._goal = np.array([x, y])
        self._commands = BaseCommands(base)
        self._mapper, self._tolerance_m = mapper, tolerance_m
        self._path: NDArray[np.float64] | None = None
        self._blocked: NDArray[np.bool_] = np.zeros((0, 0), dtype=bool)
        self._version = -1
        self._last_position: NDArray[np.float64] | None = None  # before the last forward command
        self._stuck = 0
        self._best_m, self._since_best = math.inf, 0

    def arrived(self, T_map_base: Pose) -> bool:
        """Whether the base is within the tolerance."""
        return float(np.hypot(*(self._goal - T_map_base.translation[:2]))) <= self._tolerance_m

    def step(self, T_map_base: Pose) -> Action | Outcome:
        """The next command, or the outcome: OK, UNREACHABLE or BLOCKED."""
        position = T_map_base.translation[:2]
        if self.arrived(T_map_base):
            return Outcome(Code.OK)
        if not self._moved(T_map_base):
            left_m = float(np.hypot(*(self._goal - position)))
            return Outcome(Code.BLOCKED, f"the base does not move, {left_m:.2f} m from the goal")
        if not self._plan(T_map_base):
            return Outcome(Code.UNREACHABLE, f"no path to ({self._goal[0]:.2f}, {self._goal[1]:.2f})")
        waypoint = self._lookahead(position)
        ahead = waypoint - position
        error = wrap_angle(math.atan2(ahead[1], ahead[0]) - T_map_base.yaw)
        turn = self._commands.turn_towards(error)
        if turn is not None and abs(error) > math.radians(5):
            self._last_position = None
            return turn
        self._last_position = position.copy()
        return self._commands.drive(float(np.hypot(*ahead)), error)

    def _moved(self, T_map_base: Pose) -> bool:
        """Whether the base makes progress. A bump is added to the map; too many in a row end the skill."""
        position = T_map_base.translation[:2]
        if self._last_position is not None:
            if float(np.hypot(*(position - self._last_position))) < 0.02:
                self._stuck += 1
                self._mapper.bump(T_map_base)
            else:
                self._stuck = 0
        # A path that keeps changing is no progress either.
        left_m = float(np.hypot(*(self._goal - position)))
        if self._path is not None:
            left_m = _length(self._path)
        self._since_best = 0 if left_m < self._best_m - 0.1 else self._since_best + 1
        self._best_m = min(self._best_m, left_m)
        return self._stuck < _STUCK_STEPS and self._since_best < 80

    def _plan(self, T_map_base: Pose) -> bool:
        """Replan if a new obstacle lies on the path; returns whether there is a path."""
        if self._version != self._mapper.version:
            self._version = self._mapper.version
            self._blocked = self._mapper.blocked()
            if self._path is None or not self._path_is_clear():
                self._path = self._mapper.path(T_map_base, float(self._goal[0]), float(self._goal[1]))
                self._best_m = math.inf
        return self._path is not None

    def _path_is_clear(self) -> bool:
        assert self._path is not None  # the caller checks
        points = self._path[1:-1]
        return not len(points) or not bool(self._blocked[self._mapper.cells(points)].any())

    def _lookahead(self, position: NDArray[np.float64]) -> NDArray[np.float64]:
        """The farthest point of the path to which the base can drive straight."""
        assert self._path is not None  # _plan has found one
        nearest = int(np.argmin(np.hypot(*(self._path - position).T)))
        self._path = self._path[nearest:]
        for index in range(min(len(self._path) - 1, 60), 1, -2):
            if self._mapper.line_is_clear(position, self._path[index], self._blocked):
                return np.asarray(self._path[index])
        return np.asarray(self._path[min(1, len(self._path) - 1)])


class GoToSkill:
    """Levels the camera, drives to a pose, then turns base and camera towards the target."""

    def __init__(self, goal: NavigateTo, base: MobileBase, mapper: OccupancyMapper, level: CameraLevel) -> None:
        """Drive along the map to `goal.T_map_base`; a tilted camera would map nothing on the path there."""
        self._goal, self._base, self._level = goal, base, level
        self._commands = BaseCommands(base)
        x, y = (float(value) for value in goal.T_map_base.translation[:2])
        tolerance = base.forward_step_m * 0.6 if base.action_mode == "discrete" else 0.08
        self._follower = PathFollower(x, y, base, mapper, tolerance_m=tolerance)
        self._arrived = False

    def step(self, observation: Observation) -> Action | Outcome:
        """The next command, or the goal's outcome once the base is there and faces the target."""
        pose = observation.T_map_base
        if not self._arrived:
            tilt = None if self._follower.arrived(pose) else self._level.step(observation)
            if tilt is not None:
                return tilt
            result = self._follower.step(pose)
            if not isinstance(result, Outcome) or not result.succeeded:
                return result
            self._arrived = True
        offset = self._goal.target_m - pose.translation
        turn = self._commands.turn_towards(wrap_angle(math.atan2(offset[1], offset[0]) - pose.yaw))
        if turn is not None:
            return turn
        from_camera = self._goal.target_m - observation.frames[0].T_map_camera.translation
        wanted = math.atan2(float(from_camera[2]), float(np.hypot(*from_camera[:2])))
        low, high = self._base.tilt_range_rad
        tilt = self._commands.tilt(float(np.clip(wanted, low, high)) - camera_tilt(observation))
        return Outcome(self._goal.on_arrival) if tilt is None else tilt


class RotateSkill:
    """Turns the base by an angle."""

    def __init__(self, goal: Rotate, base: MobileBase) -> None:
        """Turn by `goal.angle_rad`, counter-clockwise positive."""
        self._left_rad = goal.angle_rad
        self._commands = BaseCommands(base)
        self._last_yaw: float | None = None

    def step(self, observation: Observation) -> Action | Outcome:
        """The next turn, or OK."""
        yaw = observation.T_map_base.yaw
        if self._last_yaw is not None:
            self._left_rad -= wrap_angle(yaw - self._last_yaw)
        self._last_yaw = yaw
        turn = self._commands.turn_towards(self._left_rad)
        return Outcome(Code.OK) if turn is None else turn


class DriveSkill:
    """Drives straight ahead."""

    def __init__(self, goal: Drive, base: MobileBase) -> None:
        """Drive `goal.distance_m`."""
        self._distance_m = goal.distance_m
        self._base, self._commands = base, BaseCommands(base)
        self._start: NDArray[np.float64] | None = None
        self._last: NDArray[np.float64] | None = None
        self._stuck = 0

    def step(self, observation: Observation) -> Action | Outcome:
        """The next command; OK at the distance, BLOCKED by an obstacle."""
        position = observation.T_map_base.translation[:2]
        if self._start is None or self._last is None:
            self._start = self._last = position
            return self._commands.drive(self._distance_m)
        driven = float(np.hypot(*(position - self._start)))
        resolution = self._base.forward_step_m if self._base.action_mode == "discrete" else 0.04
        if driven >= self._distance_m - resolution / 2:
            return Outcome(Code.OK)
        self._stuck = self._stuck + 1 if float(np.hypot(*(position - self._last))) < 0.02 else 0
        self._last = position
        if self._stuck >= _STUCK_STEPS:
            return Outcome(Code.BLOCKED, f"drove {driven:.2f} of {self._distance_m:.2f} m")
        return self._commands.drive(self._distance_m - driven)


class TiltSkill:
    """Tilts the head camera by whole steps of the robot."""

    def __init__(self, goal: TiltCamera, base: MobileBase) -> None:
        """Tilt by the number of steps nearest to `goal.angle_rad`, at least one; up positive."""
        self._base, self._up = base, goal.angle_rad > 0
        self._steps_left = max(1, round(abs(goal.angle_rad) / base.tilt_step_rad))
        self._before: float | None = None  # tilt before the last step

    def step(self, observation: Observation) -> Action | Outcome:
        """The next tilt step, or the outcome.

        The outcome is OK after all steps, or at the end of the camera's range if it moved at all. It is BLOCKED if the
        camera did not move, and SKILL_FAILED if this robot cannot tilt it.
        """
        low, high = self._base.tilt_range_rad
        if self._base.action_mode == "continuous":
            return Outcome(Code.SKILL_FAILED, "a base driven by velocities has no action that tilts the camera")
        if high - low < _MIN_TILT_RAD:
            return Outcome(Code.SKILL_FAILED, "the camera is fixed: the ends of its tilt range are equal")
        now = camera_tilt(observation)
        if self._before is not None and abs(now - self._before) < _MIN_TILT_RAD:
            return Outcome(Code.BLOCKED, f"the camera did not move from a tilt of {now:.2f} rad")
        room = high - now if self._up else now - low
        if room < _MIN_TILT_RAD and self._before is None:
            end = "highest" if self._up else "lowest"
            return Outcome(Code.BLOCKED, f"the camera is at its {end} tilt already: {now:.2f} rad")
        if self._steps_left == 0 or room < _MIN_TILT_RAD:
            return Outcome(Code.OK)
        self._steps_left -= 1
        self._before = now
        return int(BaseAction.LOOK_UP if self._up else BaseAction.LOOK_DOWN)
