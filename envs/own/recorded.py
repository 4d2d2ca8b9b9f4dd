"""A recording as a place: the robot stands where an image was taken, and an action leads to the nearest such pose."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import dijkstra

from si_embodied.embodiment import BaseAction
from si_embodied.envs.own.cloud import Cloud, find_floor, floor_of
from si_embodied.envs.own.place import Moved
from si_embodied.geometry import Pose, deproject_to_map, heading
from si_embodied.images.posed import read_posed_images

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from si_embodied.embodiment import MobileBase
    from si_embodied.envs.own.place import BasePose
    from si_embodied.images.posed import PosedImages
    from si_embodied.types import CameraFrame

_LEAST_SIMILAR_RAD, _MOST_TURN_RAD = math.radians(30), math.radians(60)  # of a step's end, and beyond a turn
REACH_M = 0.5
_M_PER_RAD = 0.5  # of turning, when a pose is compared with where an action leads
_SAME_M, _SAME_RAD = 0.02, math.radians(1.5)  # an image that differs less from an earlier one is left out
_MARGIN_M = 0.05  # of paths, beyond the base's radius
_RANGE_M = 6.0  # of depth that enters the cloud
_MOST_POINTS = 6_000_000
_LEAST_POINTS = 3  # that make an obstacle: depth cameras see things at edges that are not there
_MOVES = (BaseAction.FORWARD, BaseAction.TURN_LEFT, BaseAction.TURN_RIGHT)
_ACTION_M = 1e-3  # of path length for an action, so that a path has no needless turns


class RecordedPlace:
    """The poses of a folder of posed RGB-D images.

    An action leads to the image that was taken nearest to where the action would bring the robot (distance, and half a
    metre for a radian of heading), among those ahead of the robot for a step, and to the side of a turn. With none
    within reach, the robot holds.
    """

    def __init__(
        self,
        folder: Path,
        embodiment: MobileBase,
        *,
        image_height: int | None = None,
        reach_m: float = REACH_M,
        floor_m: float | None = None,
    ) -> None:
        """Read a recording; see `read_posed_images`.

        Args:
            folder: with the images.
            embodiment: the robot, driven by discrete steps; it stands under its camera.
            image_height: of the observations, pixels; None keeps the recorded size.
            reach_m: an action may lead to an image taken this far from where it would bring the robot.
            floor_m: height of the floor in the map; None finds it.

        Raises:
            DataError: the folder is incomplete or malformed.
            SceneError: there is no floor.
        """
        self._images = images = _distinct(read_posed_images(folder))
        size = images.intrinsics
        self._height = image_height or size.height
        self._width = round(size.width * self._height / size.height)
        self.shape = (self._height, self._width)
        cloud = _cloud(images)
        floor_m = find_floor(cloud, str(folder)) if floor_m is None else floor_m
        self._lift = np.array([0.0, 0.0, -floor_m])
        self.cloud = cloud.raised(-floor_m)
        cameras = [image.T_map_camera for image in images.images]
        self.starts = np.array([(*camera.translation[:2], heading(camera)) for camera in cameras])
        tilt = math.asin(float(np.clip(np.mean([camera.rotation[2, 2] for camera in cameras]), -1, 1)))
        self.embodiment = replace(embodiment, tilt_range_rad=(tilt, tilt))  # the recorded camera cannot be tilted
        clearance_m = embodiment.radius_m + _MARGIN_M
        self.floor = floor_of(
            self.cloud, embodiment.height_m, clearance_m, least=_LEAST_POINTS, what=str(folder), driven=self.starts
        )
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
        return int(np.argmin(away + _M_PER_RAD * np.abs(_wrapped(self.starts[:, 2] - pose[2]))))

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
        frame = self._images.frame(self.index, self.embodiment.cameras[0])
        camera = Pose(frame.T_map_camera.rotation, frame.T_map_camera.translation + self._lift)
        return _resized(replace(frame, stamp_s=stamp_s, T_map_camera=camera), self._height, self._width)

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
        turned = _wrapped(poses[:, 2] - yaw)
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


def _wrapped(angles_rad: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(np.remainder(angles_rad + math.pi, 2 * math.pi) - math.pi)


def _distinct(images: PosedImages) -> PosedImages:
    """Without images that were taken where an earlier one was, such as those of a robot that stood."""
    kept: list[int] = []
    poses = np.array([(*each.T_map_camera.translation[:2], heading(each.T_map_camera)) for each in images.images])
    for index, pose in enumerate(poses):
        away = poses[kept] - pose
        turn = np.abs(_wrapped(away[:, 2]))
        if not ((np.hypot(away[:, 0], away[:, 1]) < _SAME_M) & (turn < _SAME_RAD)).any():
            kept.append(index)
    return replace(images, images=tuple(images.images[index] for index in kept))


def _cloud(images: PosedImages) -> Cloud:
    """The points of all depth images within range."""
    size = images.intrinsics
    step = max(2, math.ceil(math.sqrt(len(images.images) * size.width * size.height / _MOST_POINTS)))
    points, rgb = [], []
    for index in range(len(images.images)):
        frame = images.frame(index, "head")
        assert frame.depth_m is not None  # a posed image has depth
        xyz = deproject_to_map(frame.intrinsics, frame.depth_m, frame.T_map_camera)[:, ::step, ::step].reshape(3, -1).T
        near = frame.depth_m[::step, ::step].ravel() < _RANGE_M
        near &= np.isfinite(xyz[:, 0])
        points.append(xyz[near].astype(np.float32))
        rgb.append(frame.rgb[::step, ::step].reshape(-1, 3)[near])
    everything = np.concatenate(points)
    return Cloud(everything, np.concatenate(rgb), np.ones(len(everything), bool))


def _resized(frame: CameraFrame, height: int, width: int) -> CameraFrame:
    """The frame at another size; depth is taken from the nearest pixel, because edges must not be mixed."""
    if frame.rgb.shape[:2] == (height, width):
        return frame
    from PIL import Image

    assert frame.depth_m is not None  # a posed image has depth
    rows = ((np.arange(height) + 0.5) * frame.rgb.shape[0] / height).astype(np.intp)
    columns = ((np.arange(width) + 0.5) * frame.rgb.shape[1] / width).astype(np.intp)
    rgb = np.asarray(Image.fromarray(frame.rgb).resize((width, height), Image.Resampling.BOX))
    depth_m = frame.depth_m[np.ix_(rows, columns)]
    return replace(frame, rgb=rgb, depth_m=depth_m, intrinsics=frame.intrinsics.scaled(width, height))
