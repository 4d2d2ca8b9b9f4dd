"""Skills of a mobile base: go to a pose, turn, drive, tilt, explore. They use the robot's own map and nothing else."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, TypeAlias

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
    from si_embodied.skills import Drive, NavigateTo, TiltCamera
    from si_embodied.types import Observation

Action: TypeAlias = "int | NDArray[np.float32]"

_STUCK_STEPS = 4
"""Forward commands without movement before the way counts as blocked; sliding along a wall takes one or two."""


LOOK_SPACING_M = 2.0
"""Between places to look around from, once all is mapped: something small is recognised from half of it."""


class BaseCommands:
    """Steering in the base's own action mode."""

    def __init__(self, base: MobileBase) -> None:
        """Discrete steps or velocities, as the base is driven."""
        self.base = base
        self._discrete = base.action_mode == "discrete"

    def stop(self) -> Action:
        """End the task here."""
        return int(BaseAction.STOP) if self._discrete else self._velocity(0.0, 0.0, stop=True)

    def wait(self) -> Action:
        """Hold still while time passes."""
        return int(BaseAction.WAIT) if self._discrete else self._velocity(0.0, 0.0)

    def turn_towards(self, error_rad: float) -> Action | None:
        """Turn by the angle still to go, or None where it is smaller than the base can resolve."""
        if self._discrete:
            if abs(error_rad) <= self.base.turn_step_rad / 2 + 1e-6:
                return None
            return int(BaseAction.TURN_LEFT if error_rad > 0 else BaseAction.TURN_RIGHT)
        if abs(error_rad) < math.radians(2):
            return None
        limit = self.base.max_turn_rate_rad_s
        return self._velocity(0.0, float(np.clip(error_rad / self.base.control_period_s, -limit, limit)))

    def drive(self, distance_m: float, error_rad: float = 0.0) -> Action:
        """Go ahead, at most `distance_m`, correcting a small heading error on the way where velocities allow it."""
        if self._discrete:
            return int(BaseAction.FORWARD)
        limit, rate = self.base.max_speed_m_s, self.base.max_turn_rate_rad_s
        speed = min(limit, distance_m / self.base.control_period_s)
        return self._velocity(speed, float(np.clip(error_rad / self.base.control_period_s, -rate, rate)))

    def tilt(self, error_rad: float) -> Action | None:
        """One notch of the head camera towards `error_rad`, or None where less than half a notch is left."""
        if not self._discrete or abs(error_rad) <= self.base.tilt_step_rad / 2 + 1e-6:
            return None
        return int(BaseAction.LOOK_UP if error_rad > 0 else BaseAction.LOOK_DOWN)

    @staticmethod
    def _velocity(speed: float, rate: float, *, stop: bool = False) -> NDArray[np.float32]:
        return np.array([speed, rate, float(stop)], dtype=np.float32)


def _length(path: NDArray[np.float64]) -> float:
    return float(np.hypot(*np.diff(path, axis=0).T).sum())


def camera_tilt(observation: Observation) -> float:
    """Tilt of the first camera's optical axis above the horizon, radians."""
    return math.asin(float(np.clip(observation.frames[0].T_map_camera.rotation[2, 2], -1.0, 1.0)))


class PathFollower:
    """Drives along the shortest way to a map point, planning again whenever an obstacle appears."""

    def __init__(self, x: float, y: float, base: MobileBase, mapper: OccupancyMapper, *, tolerance_m: float) -> None:
        """Drive to (x, y); arrived within `tolerance_m` of it."""
        self._goal = np.array([x, y])
        self._commands = BaseCommands(base)
        self._mapper, self._tolerance_m = mapper, tolerance_m
        self._path: NDArray[np.float64] | None = None
        self._blocked: NDArray[np.bool_] = np.zeros((0, 0), dtype=bool)
        self._version = -1
        self._last_position: NDArray[np.float64] | None = None  # before the last forward command
        self._stuck = 0
        self._best_m, self._since_best = math.inf, 0

    def step(self, T_map_base: Pose) -> Action | Outcome:
        """The next command, or how it ended: OK, UNREACHABLE or BLOCKED."""
        position = T_map_base.translation[:2]
        left_m = float(np.hypot(*(self._goal - position)))
        if left_m <= self._tolerance_m:
            return Outcome(Code.OK)
        if not self._moved(T_map_base):
            return Outcome(Code.BLOCKED, f"the base does not move, {left_m:.2f} m from the goal")
        if not self._plan(T_map_base):
            return Outcome(Code.UNREACHABLE, f"no way to ({self._goal[0]:.2f}, {self._goal[1]:.2f})")
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
        """Whether the last forward command moved the base; a bump goes into the map, too many end the skill."""
        position = T_map_base.translation[:2]
        if self._last_position is not None:
            if float(np.hypot(*(position - self._last_position))) < 0.02:
                self._stuck += 1
                self._mapper.bump(T_map_base)
            else:
                self._stuck = 0
        # A path that keeps changing its mind is no progress either.
        left_m = float(np.hypot(*(self._goal - position)))
        if self._path is not None:
            left_m = _length(self._path)
        self._since_best = 0 if left_m < self._best_m - 0.1 else self._since_best + 1
        self._best_m = min(self._best_m, left_m)
        return self._stuck < _STUCK_STEPS and self._since_best < 80

    def _plan(self, T_map_base: Pose) -> bool:
        """Keep the path while no obstacle has come into it."""
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
        """The farthest point of the path that the base can drive straight to."""
        assert self._path is not None  # _plan has found one
        nearest = int(np.argmin(np.hypot(*(self._path - position).T)))
        self._path = self._path[nearest:]
        for index in range(min(len(self._path) - 1, 60), 1, -2):
            if self._mapper.line_is_clear(position, self._path[index], self._blocked):
                return np.asarray(self._path[index])
        return np.asarray(self._path[min(1, len(self._path) - 1)])


class GoToSkill:
    """Drives to a pose, then faces the target with base and camera."""

    def __init__(self, goal: NavigateTo, base: MobileBase, mapper: OccupancyMapper) -> None:
        """Follow the map to `goal.T_map_base`."""
        self._goal, self._base = goal, base
        self._commands = BaseCommands(base)
        x, y = (float(value) for value in goal.T_map_base.translation[:2])
        tolerance = base.forward_step_m * 0.6 if base.action_mode == "discrete" else 0.08
        self._follower = PathFollower(x, y, base, mapper, tolerance_m=tolerance)
        self._arrived = False

    def step(self, observation: Observation) -> Action | Outcome:
        """The next command, or the goal's outcome once the base stands there and faces the target."""
        pose = observation.T_map_base
        if not self._arrived:
            action = self._follower.step(pose)
            if not isinstance(action, Outcome):
                return action
            if not action.succeeded:
                return action
            self._arrived = True
        offset = self._goal.target_m - pose.translation
        turn = self._commands.turn_towards(wrap_angle(math.atan2(offset[1], offset[0]) - pose.yaw))
        if turn is not None:
            return turn
        eye = observation.frames[0].T_map_camera.translation
        below = self._goal.target_m - eye
        wanted = math.atan2(float(below[2]), float(np.hypot(below[0], below[1])))
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
        """The next command; OK at the distance, BLOCKED where something is in the way."""
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
    """Tilts the head camera."""

    def __init__(self, goal: TiltCamera, base: MobileBase) -> None:
        """Tilt by `goal.angle_rad`, up positive."""
        self._goal, self._base = goal, base
        self._commands = BaseCommands(base)
        self._target: float | None = None

    def step(self, observation: Observation) -> Action | Outcome:
        """The next notch, or OK."""
        now = camera_tilt(observation)
        if self._target is None:
            self._target = float(np.clip(now + self._goal.angle_rad, *self._base.tilt_range_rad))
        tilt = self._commands.tilt(self._target - now)
        return Outcome(Code.OK) if tilt is None else tilt


class Explorer:
    """Where to look next, over a whole episode: a look around, frontier after frontier, then places to look from."""

    def __init__(self, base: MobileBase, mapper: OccupancyMapper) -> None:
        """Explore the mapper's grid."""
        self._base, self._mapper = base, mapper
        self._spin: RotateSkill | None = RotateSkill(Rotate(2 * math.pi), base)
        self._follower: PathFollower | None = None
        self._spot = (0.0, 0.0)  # map, where the follower goes
        self._spot_is_frontier = True
        self._visited: list[tuple[float, float]] = []  # spots that were looked around at, or given up

    def step(self, observation: Observation) -> Action | Outcome:
        """The next command, or SKILL_FAILED when all that can be reached has been looked at."""
        for _ in range(8):  # each round that gives no command gives one spot up
            command = self._command(observation)
            if command is not None:
                return command
        return Outcome(Code.SKILL_FAILED, "nowhere unseen can be reached")

    def _command(self, observation: Observation) -> Action | Outcome | None:
        pose = observation.T_map_base
        if self._spin is not None:
            action = self._spin.step(observation)
            if not isinstance(action, Outcome):
                return action
            self._spin = None
            self.looked_around(float(pose.translation[0]), float(pose.translation[1]))
        if self._follower is None:
            spot = self.next_spot(pose)
            if spot is None:
                self._visited.clear()  # asked again, it goes around again: another thing may be looked for by then
                return Outcome(Code.SKILL_FAILED, "nothing is left to explore")
            self._spot = spot
            self._follower = PathFollower(*spot, self._base, self._mapper, tolerance_m=0.35)
        elif self._spot_is_frontier and not self._mapper.is_frontier(*self._spot, within_m=0.4):
            self._follower = None  # seen on the way
            return None
        command = self._follower.step(pose)
        if not isinstance(command, Outcome):
            return command
        # There: look around. What even that does not show stays unseen.
        self.looked_around(*self._spot)
        self._follower = None
        if command.succeeded:
            self._spin = RotateSkill(Rotate(2 * math.pi), self._base)
        return None

    def looked_around(self, x: float, y: float) -> None:
        """Note that nothing new is to be seen from map point (x, y)."""
        self._visited.append((x, y))

    def next_spot(self, T_map_base: Pose) -> tuple[float, float] | None:
        """Map xy to look around from next: the frontier that is near and wide, or else the nearest spot not used."""
        frontiers = [
            frontier
            for frontier in self._mapper.frontiers(T_map_base)
            if all(math.hypot(frontier.x - x, frontier.y - y) > 0.5 for x, y in self._visited)
        ]
        self._spot_is_frontier = bool(frontiers)
        if frontiers:
            best = min(frontiers, key=lambda f: f.path_length_m - min(f.length_m, 2.0))
            return best.x, best.y
        grid = self._mapper.navigation_map(T_map_base, through_unknown=False)
        xs, ys = grid.centres()
        length = grid.path_length_m.copy()
        for x, y in self._visited:
            length[np.hypot(xs[None, :] - x, ys[:, None] - y) < LOOK_SPACING_M] = np.inf
        row, column = np.unravel_index(int(np.argmin(length)), length.shape)
        return (float(xs[column]), float(ys[row])) if np.isfinite(length[row, column]) else None


class ExploreSkill:
    """Explores for a while, then lets the planner look."""

    def __init__(self, explorer: Explorer, *, actions: int) -> None:
        """Give control back after `actions` commands."""
        self._explorer, self._left = explorer, actions

    def step(self, observation: Observation) -> Action | Outcome:
        """The next command; OK when it is time to look at the pictures."""
        if self._left <= 0:
            return Outcome(Code.OK)
        self._left -= 1
        return self._explorer.step(observation)
