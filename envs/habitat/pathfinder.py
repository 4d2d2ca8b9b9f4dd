"""Navigability and shortest paths on a stage, in Habitat's frame and with habitat-sim's method names."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from si_embodied.envs.base_motion import slide
from si_embodied.envs.habitat.frames import to_habitat, to_map
from si_embodied.envs.scenes.apartment import WALL_HEIGHT_M
from si_embodied.envs.scenes.occupancy import CELL_M
from si_embodied.robots import FETCH_BASE

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from si_embodied.envs.habitat.stage import Stage
    from si_embodied.envs.scenes.occupancy import GeodesicField

_SNAP_M = 0.5  # a goal off the free floor is moved to the nearest free cell within this distance


class Pathfinder:
    """habitat-sim's `PathFinder` over an occupancy grid."""

    def __init__(self, stage: Stage) -> None:
        """Plan on one stage."""
        self.stage = stage
        self._rng = np.random.default_rng(0)
        self._field: tuple[bytes, GeodesicField] | None = None

    def seed(self, seed: int) -> None:
        """Seed the sampling of random points."""
        self._rng = np.random.default_rng(seed)

    def get_bounds(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Lowest and highest corner (3,) of the stage."""
        x0, y0, x1, y1 = self.stage.apartment.bounds
        corners = to_habitat([[x0, y0, 0.0], [x1, y1, WALL_HEIGHT_M]])
        return corners.min(axis=0).astype(np.float32), corners.max(axis=0).astype(np.float32)

    def get_topdown_view(self, meters_per_pixel: float, height: float) -> NDArray[np.bool_]:
        """Mask of the free floor, (pixels along z, pixels along x)."""
        low, high = self.get_bounds()
        xs = np.arange(low[0] + meters_per_pixel / 2, high[0], meters_per_pixel)
        ys = -np.arange(low[2] + meters_per_pixel / 2, high[2], meters_per_pixel)
        grid = self.stage.grid
        rows, columns = grid.free.shape
        row = np.clip(np.floor((ys - grid.origin_m[1]) / CELL_M).astype(int), 0, rows - 1)
        column = np.clip(np.floor((xs - grid.origin_m[0]) / CELL_M).astype(int), 0, columns - 1)
        free: NDArray[np.bool_] = grid.free[np.ix_(row, column)]
        return free if abs(height) < 0.5 else np.zeros_like(free)

    def is_navigable(self, point: ArrayLike) -> bool:
        """Whether the robot's disc fits at a point (3,)."""
        x, y, z = (float(value) for value in to_map(point))
        return abs(z) < 0.5 and self.stage.obstacles.distance(x, y) >= FETCH_BASE.radius_m

    def get_random_navigable_point(self) -> NDArray[np.float64]:
        """A random free point (3,)."""
        cells = np.argwhere(self.stage.grid.free)
        row, column = cells[int(self._rng.integers(len(cells)))]
        return to_habitat([*self.stage.grid.point(int(row), int(column)), 0.0])

    def distance_to_closest_obstacle(self, position: ArrayLike, max_search_radius: float = 2.0) -> float:
        """Distance from a point (3,) to the nearest obstacle, metres, at most `max_search_radius`."""
        x, y, _ = (float(value) for value in to_map(position))
        return min(max(self.stage.obstacles.distance(x, y), 0.0), max_search_radius)

    def move(
        self, pose: tuple[float, float, float], distance_m: float, *, sliding: bool = True
    ) -> tuple[float, float, bool]:
        """Drive ahead from a map pose; returns the final x and y, and whether the disc touched an obstacle.

        With `sliding`, the disc slides along obstacles; without, it stops at them.
        """
        x, y, yaw = pose
        obstacles = self.stage.obstacles
        if sliding:
            return slide(obstacles, FETCH_BASE.radius_m, x, y, yaw, distance_m)
        count = max(1, math.ceil(distance_m / CELL_M))
        for _ in range(count):
            nx, ny, touched = slide(obstacles, FETCH_BASE.radius_m, x, y, yaw, distance_m / count)
            if touched:
                return x, y, True
            x, y = nx, ny
        return x, y, False

    def try_step(self, start: ArrayLike, end: ArrayLike) -> NDArray[np.float64]:
        """Where a drive towards a point (3,) ends, sliding along obstacles."""
        return self._try_step(start, end, sliding=True)

    def try_step_no_sliding(self, start: ArrayLike, end: ArrayLike) -> NDArray[np.float64]:
        """Where a drive towards a point (3,) ends, stopping at obstacles."""
        return self._try_step(start, end, sliding=False)

    def _try_step(self, start: ArrayLike, end: ArrayLike, *, sliding: bool) -> NDArray[np.float64]:
        (x, y, z), (ex, ey, _) = ([float(v) for v in to_map(point)] for point in (start, end))
        pose = (x, y, math.atan2(ey - y, ex - x))
        nx, ny, _ = self.move(pose, math.hypot(ex - x, ey - y), sliding=sliding)
        return to_habitat([nx, ny, z])

    def geodesic_distance(self, position: ArrayLike, goals: ArrayLike) -> float:
        """Shortest path from a point (3,) to the nearest of the goals (N, 3), metres; inf if there is none."""
        x, y, _ = (float(value) for value in to_map(position))
        return self.field(goals).at(x, y)

    def field(self, goals: ArrayLike) -> GeodesicField:
        """Distance to the nearest goal, everywhere; cached for the last goals."""
        points = np.atleast_2d(np.asarray(goals, np.float64))
        key = points.tobytes()
        if self._field is None or self._field[0] != key:
            grid = self.stage.grid
            region = np.zeros(grid.free.shape, bool)
            for x, y, _ in to_map(points):
                cell = grid.cell(float(x), float(y))
                free = cell if grid.free[cell] else grid.nearest_free(float(x), float(y), _SNAP_M)
                if free is not None:
                    region[free] = True
            self._field = key, grid.geodesic(region)
        return self._field[1]

    def path(self, position: ArrayLike, goals: ArrayLike) -> NDArray[np.float64]:
        """Points (N, 3) of the shortest path, about a grid cell apart; empty if there is none."""
        x, y, _ = (float(value) for value in to_map(position))
        path = self.field(goals).path(x, y)
        return to_habitat(np.pad(path, ((0, 0), (0, 1)))) if len(path) else np.zeros((0, 3))
