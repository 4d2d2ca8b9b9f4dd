"""A robot that drives anywhere on the free floor of a place, by steps and turns, and the shortest paths there."""

from __future__ import annotations

import math
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from si_embodied.embodiment import BaseAction
from si_embodied.envs.base_motion import slide
from si_embodied.envs.ground_truth import best_heading
from si_embodied.envs.own.place import Moved
from si_embodied.geometry import wrap_angle

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from si_embodied.embodiment import MobileBase
    from si_embodied.envs.own.cloud import Floor
    from si_embodied.envs.own.place import BasePose
    from si_embodied.envs.scenes.occupancy import GeodesicField


class FreePlace:
    """The part of a `Place` that is about driving: the base slides along obstacles, and the camera tilts."""

    def __init__(self, embodiment: MobileBase, floor: Floor, starts: NDArray[np.float64], tilt_rad: float) -> None:
        """Drive on a floor.

        Args:
            embodiment: the robot, driven by discrete steps.
            floor: where it can drive.
            starts: (N, 3), the poses in which an episode may start.
            tilt_rad: of the camera at the start of an episode, up positive.
        """
        self.embodiment, self.floor, self.starts = embodiment, floor, starts
        self.pose: BasePose = (0.0, 0.0, 0.0)
        self.tilt = self._first_tilt = tilt_rad

    def put(self, pose: BasePose) -> None:
        """Put the robot at a pose, its camera as at the start of an episode."""
        self.pose, self.tilt = pose, self._first_tilt

    def act(self, action: BaseAction) -> Moved:
        """Do one action."""
        (x, y, yaw), body = self.pose, self.embodiment
        match action:
            case BaseAction.FORWARD:
                nx, ny, touched = slide(self.floor.obstacles, body.radius_m, x, y, yaw, body.forward_step_m)
                self.pose = nx, ny, yaw
                return Moved(math.hypot(nx - x, ny - y), touched)
            case BaseAction.TURN_LEFT | BaseAction.TURN_RIGHT:
                turn = body.turn_step_rad if action == BaseAction.TURN_LEFT else -body.turn_step_rad
                self.pose = x, y, wrap_angle(yaw + turn)
            case BaseAction.LOOK_UP | BaseAction.LOOK_DOWN:
                tilt = self.tilt + (body.tilt_step_rad if action == BaseAction.LOOK_UP else -body.tilt_step_rad)
                self.tilt = min(max(tilt, body.tilt_range_rad[0]), body.tilt_range_rad[1])
        return Moved(0.0, touched=False)

    def paths_to(self, x: float, y: float, radius_m: float) -> GridPaths:
        """The paths to within a distance of a map point."""
        return GridPaths(self, x, y, radius_m)


class GridPaths:
    """The paths from everywhere to one goal, over the cells of the free floor."""

    def __init__(self, place: FreePlace, x: float, y: float, radius_m: float) -> None:
        """The paths to within `radius_m` of a map point."""
        self._place, self._goal, self._radius_m = place, (x, y), radius_m

    @cached_property
    def _field(self) -> GeodesicField:
        grid = self._place.floor.grid
        away = np.hypot(*(grid.centres(np.ones_like(grid.free)) - self._goal).T).reshape(grid.free.shape)
        return grid.geodesic(away <= self._radius_m)

    def start_distances(self) -> NDArray[np.float64]:
        """(N,) driving distances from the place's starts, inf where there is no path."""
        grid = self._place.floor.grid
        cells = [grid.cell(float(x), float(y)) for x, y, _ in self._place.starts]
        return np.array([self._field.distance_m[cell] for cell in cells])

    def distance(self, pose: BasePose) -> float:
        """Driving distance, metres; inf if there is no path."""
        return 0.0 if self._arrived(pose[0], pose[1]) else self._field.at(pose[0], pose[1])

    def points(self, pose: BasePose) -> NDArray[np.float64]:
        """(N, 2), map, the shortest path from a pose; empty if there is none."""
        return self._field.path(pose[0], pose[1])

    def next_action(self, pose: BasePose) -> BaseAction:
        """The next action along the shortest path."""
        body, obstacles = self._place.embodiment, self._place.floor.obstacles
        heading = best_heading(
            pose,
            body.turn_step_rad,
            body.forward_step_m,
            to_goal=self._field.at,
            move=lambda x, y, heading, length: slide(obstacles, body.radius_m, x, y, heading, length),
            arrived=self._arrived,
        )
        error = wrap_angle(heading - pose[2])
        if abs(error) <= body.turn_step_rad / 2 + 1e-6:
            return BaseAction.FORWARD
        return BaseAction.TURN_LEFT if error > 0 else BaseAction.TURN_RIGHT

    def _arrived(self, x: float, y: float) -> bool:
        return math.hypot(x - self._goal[0], y - self._goal[1]) <= self._radius_m
