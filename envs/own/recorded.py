"""A recording as a place: the robot stands where an image was taken, and an action leads to the nearest such pose."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import dijkstra

from si_embodied.embodiment import BaseAction
from si_embodied.envs.own.place import Moved
from si_embodied.envs.own.recording import wrapped

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from si_embodied.embodiment import MobileBase
    from si_embodied.envs.own.place import BasePose
    from si_embodied.envs.own.recording import Recording
    from si_embodied.types import CameraFrame

_LEAST_SIMILAR_RAD, _MOST_TURN_RAD = math.radians(30), math.radians(60)  # of a step's end, and beyond a turn
REACH_M = 0.5
_M_PER_RAD = 0.5  # of turning, when a pose is compared with where an action leads
_MOVES = (BaseAction.FORWARD, BaseAction.TURN_LEFT, BaseAction.TURN_RIGHT)
_ACTION_M = 1e-3  # of path length for an action, so that a path has no needless turns


class RecordedPlace:
    """The poses of a folder of posed RGB-D images.

    An action leads to the image that was taken nearest to where the action would bring the robot (distance, and half a
    metre for a radian of heading), among those ahead of the robot for a step, and to the side of a turn. With none
    within reach, the robot holds.
    """

    def __init__(self, recording: Recording, embodiment: MobileBase, *, reach_m: float = REACH_M) -> None:
        """Stand where the images of a recording were taken.

        Args:
            recording: the images.
            embodiment: the robot, driven by discrete steps.
            reach_m: an action may lead to an image taken this far from where it would bring the robot.
        """
        self._recording, self.cloud, self.starts = recording, recording.cloud, recording.poses
        tilt = recording.tilt_rad
        self.embodiment = replace(embodiment, tilt_range_rad=(tilt, tilt))  # the recorded camera cannot be tilted
        self.floor = recording.floor(embodiment)
        self.shape = (recording.intrinsics.height, recording.intrinsics.width)
        self.following, self._off = _transitions(self.starts, embodiment, reach_m)
        self.index = 0  # of the image that is seen

    @property
    def pose(self) -> BasePose:
        """Where the image that is seen was taken, map."""
        x, y, yaw = self.starts[self.index]
        return float(x), float(y), float(yaw)

    def put(self, pose: BasePose) -> None:
        """Show the image nearest to a pose."""
        self.index = self.nearest(pose)

    def nearest(self, pose: BasePose) -> int:
        """The image that was taken nearest to a pose."""
        away = np.hypot(self.starts[:, 0] - pose[0], self.starts[:, 1] - pose[1])
        return int(np.argmin(away + _M_PER_RAD * np.abs(wrapped(self.starts[:, 2] - pose[2]))))

    def act(self, action: BaseAction) -> Moved:
        """Do one action; with no image near where it leads, the robot holds."""
        if action not in _MOVES:
            return Moved(0.0, touched=False)
        move, before = _MOVES.index(action), self.index
        x, y, _ = self.pose
        self.index = int(self.following[move, before])
        length_m = math.hypot(self.pose[0] - x, self.pose[1] - y)
        off_m, off_rad = (float(value) for value in self._off[move, before])
        return Moved(length_m, touched=self.index == before, off_m=off_m, off_rad=off_rad)

    def frame(self, stamp_s: float) -> CameraFrame:
        """The image, as recorded but for its size and its stamp."""
        return self._recording.frame(self.index, self.embodiment.cameras[0], stamp_s)

    def paths_to(self, x: float, y: float, radius_m: float) -> RecordedPaths:
        """The paths to within a distance of a map point."""
        return RecordedPaths(self, x, y, radius_m)

    def close(self) -> None:
        """Do nothing: no file stays open."""


class RecordedPaths:
    """The paths from everywhere to one goal, over the recorded poses."""

    def __init__(self, place: RecordedPlace, x: float, y: float, radius_m: float) -> None:
        """The paths to within `radius_m` of a map point."""
        self._place = place
        self._arrived = np.hypot(place.starts[:, 0] - x, place.starts[:, 1] - y) <= radius_m

    @cached_property
    def _costs(self) -> NDArray[np.float64]:
        """(N,) from every pose: metres, and a little for each action; inf where there is no path."""
        following, here = self._place.following, np.arange(len(self._place.starts))
        moves = [(here[to != here], to[to != here]) for to in following]
        start, end = (np.concatenate(ends) for ends in zip(*moves, strict=True))
        away = self._place.starts[end, :2] - self._place.starts[start, :2]
        count = len(here)
        goals = np.flatnonzero(self._arrived)
        # Backwards from an extra node, which leads to every goal pose.
        cost = np.concatenate([np.hypot(away[:, 0], away[:, 1]) + _ACTION_M, np.full(goals.size, _ACTION_M)])
        rows, columns = np.concatenate([end, np.full(goals.size, count)]), np.concatenate([start, goals])
        best = np.lexsort((cost, columns, rows))  # of two actions between the same poses, the shorter
        rows, columns, cost = rows[best], columns[best], cost[best]
        first = np.r_[True, (rows[1:] != rows[:-1]) | (columns[1:] != columns[:-1])]
        graph = csr_matrix((cost[first], (rows[first], columns[first])), shape=(count + 1, count + 1))
        return np.asarray(dijkstra(graph, indices=[count])[0, :count] - _ACTION_M)

    def start_distances(self) -> NDArray[np.float64]:
        """(N,) driving distances from the place's starts, inf where there is no path."""
        return self._costs

    def distance(self, pose: BasePose) -> float:
        """Driving distance, metres; inf if there is no path."""
        return float(self._costs[self._place.nearest(pose)])

    def points(self, pose: BasePose) -> NDArray[np.float64]:
        """(N, 2), map, the shortest path from a pose; empty if there is none."""
        index = self._place.nearest(pose)
        if not math.isfinite(self._costs[index]):
            return np.zeros((0, 2))
        path = [index]
        while not self._arrived[path[-1]]:
            path.append(self._best(path[-1])[1])
        return np.asarray(self._place.starts[path, :2])

    def next_action(self, pose: BasePose) -> BaseAction:
        """The next action along the shortest path; waits where there is none."""
        index = self._place.nearest(pose)
        return self._best(index)[0] if math.isfinite(self._costs[index]) else BaseAction.WAIT

    def _best(self, index: int) -> tuple[BaseAction, int]:
        """The action from a pose with a path, and the pose that it leads to."""
        ends = self._place.following[:, index]
        away = self._place.starts[ends, :2] - self._place.starts[index, :2]
        costs = np.where(ends == index, np.inf, self._costs[ends] + np.hypot(away[:, 0], away[:, 1]))
        best = int(np.argmin(costs))
        return _MOVES[best], int(ends[best])


def _transitions(
    poses: NDArray[np.float64], body: MobileBase, reach_m: float
) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """Where each of `_MOVES` leads from every pose.

    Returns:
        (3, N), the pose that follows, which is the same one where the robot holds; and (3, N, 2), how far that is from
        where the action leads, in metres and radians.
    """
    following = np.tile(np.arange(len(poses)), (len(_MOVES), 1))
    off = np.zeros((len(_MOVES), len(poses), 2))
    for index, (x, y, yaw) in enumerate(poses):
        dx, dy = poses[:, 0] - x, poses[:, 1] - y
        along, across = dx * math.cos(yaw) + dy * math.sin(yaw), dy * math.cos(yaw) - dx * math.sin(yaw)
        turned = wrapped(poses[:, 2] - yaw)
        for move, action in enumerate(_MOVES):
            step, turn = _effect(action, body)
            away, rest = np.hypot(along - step, across), np.abs(turned - turn)
            if action == BaseAction.FORWARD:
                fits = (along > step / 3) & (away < reach_m) & (rest < _LEAST_SIMILAR_RAD)
            else:
                fits = (turned * np.sign(turn) > abs(turn) / 3) & (away < reach_m) & (rest < _MOST_TURN_RAD)
            if fits.any():
                best = int(np.argmin(np.where(fits, away + _M_PER_RAD * rest, np.inf)))
                following[move, index], off[move, index] = best, (away[best], rest[best])
    return following, off


def _effect(action: BaseAction, body: MobileBase) -> tuple[float, float]:
    """Metres ahead and radians to the left of one of `_MOVES`."""
    if action == BaseAction.FORWARD:
        return body.forward_step_m, 0.0
    return 0.0, body.turn_step_rad if action == BaseAction.TURN_LEFT else -body.turn_step_rad
