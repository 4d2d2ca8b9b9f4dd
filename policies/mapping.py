"""An occupancy grid from posed depth images, on which a base plans paths through what it has seen."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage, sparse
from scipy.sparse import csgraph

from si_embodied.geometry import deproject_image
from si_embodied.grid_graph import grid_edges
from si_embodied.types import NavigationMap

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from si_embodied.embodiment import MobileBase
    from si_embodied.geometry import Pose
    from si_embodied.types import Observation

_BEARINGS = 720
"""Half-degree bins around the camera; at the mapping range of 4 m a bin is 3.5 cm wide."""


@dataclass(frozen=True, slots=True)
class MapperConfig:
    """The grid's dimensions, and what counts as an obstacle."""

    resolution_m: float = 0.05
    size_m: float = 30.0  # side of the square around the start
    range_m: float = 4.0  # farther points are ignored, so that the robot goes there to look
    floor_height_m: float = 0.08  # lower points are floor
    margin_m: float = 0.04  # clearance beyond the base's radius
    unknown_cost: float = 2.5  # of a metre through unseen cells, where a path may cross them


class OccupancyMapper:
    """Builds the grid of one episode and plans paths on it. Not thread safe."""

    def __init__(self, base: MobileBase, config: MapperConfig | None = None) -> None:
        """Start with an empty map, which will be centred on the first pose."""
        self.base, self.config = base, config or MapperConfig()
        cells = round(self.config.size_m / self.config.resolution_m)
        self._shape = (cells, cells)
        self.occupied = np.zeros(self._shape, dtype=bool)  # (rows along y, columns along x)
        self.free = np.zeros(self._shape, dtype=bool)
        self.origin_m: tuple[float, float] | None = None  # map xy of the outer corner of cell [0, 0]
        self.version = 0  # changes when obstacles do
        self._blocked: tuple[int, NDArray[np.bool_]] | None = None  # the version of the obstacles, and the mask

    def reset(self) -> None:
        """Forget everything."""
        self.occupied[:] = self.free[:] = False
        self.origin_m, self.version, self._blocked = None, 0, None

    def update(self, observation: Observation) -> None:
        """Add every depth image: obstacles, the free space before them, and the ground under the robot."""
        base = observation.T_map_base
        if self.origin_m is None:
            half = self.config.size_m / 2
            self.origin_m = (float(base.translation[0]) - half, float(base.translation[1]) - half)
        before = int(self.occupied.sum())
        for frame in observation.frames:
            if frame.depth_m is not None:
                points = deproject_image(frame.intrinsics, frame.depth_m)[::2].reshape(-1, 3)
                points = points[np.isfinite(points[:, 2])]
                self._enter(frame.T_map_camera, frame.T_map_camera.apply(points))
        window, distance = self._around(base, self.base.radius_m)
        self.free[window] |= distance < self.base.radius_m
        # The ground under the robot is free, whatever a grazing ray has hit.
        self.occupied[window] &= distance >= self.base.radius_m * 0.8
        self.version += int(self.occupied.sum()) != before

    def bump(self, T_map_base: Pose) -> None:
        """Add the unseen obstacle that stopped the base from driving forward; its width is a guess."""
        across = np.arange(-0.7, 0.71, 0.1) * self.base.radius_m
        front = np.full_like(across, self.base.radius_m + self.config.resolution_m)
        ahead = T_map_base.apply(np.stack([front, across, np.zeros_like(across)], axis=-1))
        self.occupied[self._cell(ahead[:, 0], ahead[:, 1])] = True
        self.version += 1

    def _enter(self, T_map_camera: Pose, points: NDArray[np.float64]) -> None:
        """Mark points at the height of the base as obstacles, and the floor seen before them as free."""
        eye = T_map_camera.translation[:2]
        offset = points[:, :2] - eye
        distance = np.hypot(offset[:, 0], offset[:, 1])
        low = self.config.floor_height_m
        solid = (points[:, 2] > low) & (points[:, 2] < self.base.height_m)
        hits = points[solid & (distance < self.config.range_m)]
        if len(hits):
            self.occupied[self._cell(hits[:, 0], hits[:, 1])] = True
        # Each bearing is free up to its nearest obstacle, or else as far as its floor is visible.
        bearing = _bearing_bins(offset)
        floor = (points[:, 2] <= low) & (points[:, 2] > -low)
        limit = np.zeros(_BEARINGS)
        np.maximum.at(limit, bearing[floor], distance[floor])
        nearest = np.full(_BEARINGS, np.inf)
        np.minimum.at(nearest, bearing[solid], distance[solid])
        limit = np.minimum(np.minimum(limit, nearest - self.config.resolution_m), self.config.range_m)
        reach = math.ceil(self.config.range_m / self.config.resolution_m)
        row, column = (int(value) for value in self._cell(eye[0], eye[1]))
        rows = np.arange(max(0, row - reach), min(self._shape[0], row + reach + 1), dtype=np.intp)
        columns = np.arange(max(0, column - reach), min(self._shape[1], column + reach + 1), dtype=np.intp)
        x, y = self._centres()
        away = np.stack(np.meshgrid(x[columns] - eye[0], y[rows] - eye[1]), axis=-1)
        seen = np.hypot(away[..., 0], away[..., 1]) < limit[_bearing_bins(away)]
        self.free[np.ix_(rows, columns)] |= seen

    # --- queries ---------------------------------------------------------------------------------------------------

    def blocked(self) -> NDArray[np.bool_]:
        """Cells (rows along y, columns along x) where the base's centre cannot be. Read-only."""
        if self._blocked is None or self._blocked[0] != self.version:
            blocked = np.zeros(self._shape, dtype=bool)
            window = self._window()  # its margin is wider than the base, so no cell outside it is blocked
            clearance = ndimage.distance_transform_edt(~self.occupied[window]) * self.config.resolution_m
            blocked[window] = clearance < self.base.radius_m + self.config.margin_m
            self._blocked = (self.version, blocked)
        return self._blocked[1]

    def navigation_map(self, T_map_base: Pose, *, through_unknown: bool = True) -> NavigationMap:
        """Path lengths in metres from the robot to all cells that it can reach, cropped to the known area."""
        window = self._window()
        lengths, _ = self._distances(T_map_base, window, through_unknown=through_unknown)
        if through_unknown:  # a path may cross unknown cells, but must not end on one
            lengths = np.where(self.free[window], lengths, np.inf).astype(np.float32)
        assert self.origin_m is not None  # _window fails on an empty map
        origin = (
            self.origin_m[0] + window[1].start * self.config.resolution_m,
            self.origin_m[1] + window[0].start * self.config.resolution_m,
        )
        return NavigationMap(self.config.resolution_m, origin, lengths)

    def path(self, T_map_base: Pose, x: float, y: float) -> NDArray[np.float64] | None:
        """The shortest path (n, 2) from the robot's position to map point (x, y), or None if there is none."""
        row, column = (int(value) for value in self._cell(x, y))
        window = self._window(row, column)
        lengths, predecessors = self._distances(T_map_base, window, through_unknown=True)
        goal = (row - window[0].start, column - window[1].start)
        if not np.isfinite(lengths[goal]):
            return None
        index = goal[0] * lengths.shape[1] + goal[1]
        cells = []
        while index >= 0:
            cells.append(divmod(int(index), lengths.shape[1]))
            index = predecessors[index]
        indices = np.array(cells[::-1]) + np.array([window[0].start, window[1].start])
        xs, ys = self._centres()
        points: NDArray[np.float64] = np.stack([xs[indices[:, 1]], ys[indices[:, 0]]], axis=-1)
        points[0], points[-1] = T_map_base.translation[:2], (x, y)
        return points

    def frontiers(self, T_map_base: Pose, *, min_cells: int = 6) -> list[Frontier]:
        """Reachable edges of the known free space, as clusters of at least `min_cells` cells."""
        window = self._window()
        labels, count = ndimage.label(self._edges(window), structure=np.ones((3, 3)))
        lengths, _ = self._distances(T_map_base, window, through_unknown=False)
        xs, ys = self._centres()
        found = []
        for label in range(1, count + 1):
            rows, columns = np.nonzero(labels == label)
            if len(rows) < min_cells:
                continue
            reachable = np.isfinite(lengths[rows, columns])
            if not reachable.any():
                continue
            centre = rows[reachable].mean(), columns[reachable].mean()
            middle = int(np.argmin(np.hypot(rows[reachable] - centre[0], columns[reachable] - centre[1])))
            row, column = rows[reachable][middle], columns[reachable][middle]
            x, y = float(xs[column + window[1].start]), float(ys[row + window[0].start])
            found.append(Frontier(x, y, float(lengths[row, column])))
        return found

    def is_frontier(self, x: float, y: float, *, within_m: float) -> bool:
        """Whether an edge of the known free space lies within a distance of a map point."""
        reach = round(within_m / self.config.resolution_m)
        row, column = (int(value) for value in self._cell(x, y))
        window = slice(max(0, row - reach), row + reach + 1), slice(max(0, column - reach), column + reach + 1)
        return bool(self._edges(window).any())

    def cells(self, points: NDArray[np.float64]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """(rows, columns) of map points (n, 2), clipped to the grid."""
        row, column = self._cell(points[:, 0], points[:, 1])
        return row, column

    def line_is_clear(self, start: NDArray[np.float64], end: NDArray[np.float64], blocked: NDArray[np.bool_]) -> bool:
        """Whether the base can drive straight from one map point (2,) to another."""
        steps = max(2, math.ceil(float(np.hypot(*(end - start))) / (self.config.resolution_m / 2)))
        points = start + np.linspace(0.0, 1.0, steps)[:, None] * (end - start)
        return not blocked[self._cell(points[:, 0], points[:, 1])].any()

    def _edges(self, window: tuple[slice, slice]) -> NDArray[np.bool_]:
        """Free cells next to unseen ones, except near obstacles, whose unseen neighbours lie behind them."""
        free, occupied = self.free[window], self.occupied[window]
        unknown = ~free & ~occupied
        walls = ndimage.binary_dilation(occupied, iterations=2)
        return np.asarray(free & ndimage.binary_dilation(unknown) & ~walls)

    # --- the grid --------------------------------------------------------------------------------------------------

    def _cell(self, x: NDArray[np.float64] | float, y: NDArray[np.float64] | float) -> tuple[NDArray[np.intp], ...]:
        """(row, column) of map points, clipped to the grid."""
        assert self.origin_m is not None  # only called after update()
        row = np.floor((np.asarray(y) - self.origin_m[1]) / self.config.resolution_m).astype(np.intp)
        column = np.floor((np.asarray(x) - self.origin_m[0]) / self.config.resolution_m).astype(np.intp)
        return np.clip(row, 0, self._shape[0] - 1), np.clip(column, 0, self._shape[1] - 1)

    def _centres(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        assert self.origin_m is not None  # only called after update()
        steps = (np.arange(self._shape[0]) + 0.5) * self.config.resolution_m
        return self.origin_m[0] + steps, self.origin_m[1] + steps

    def _around(self, T_map_base: Pose, radius_m: float) -> tuple[tuple[slice, slice], NDArray[np.float64]]:
        """A window around the robot, and the distance of each of its cells from the robot, metres."""
        x, y = (float(value) for value in T_map_base.translation[:2])
        row, column = (int(value) for value in self._cell(x, y))
        reach = math.ceil(radius_m / self.config.resolution_m) + 1
        window = (slice(max(0, row - reach), row + reach + 1), slice(max(0, column - reach), column + reach + 1))
        xs, ys = self._centres()
        return window, np.hypot(xs[window[1]][None, :] - x, ys[window[0]][:, None] - y)

    def _window(self, *cell: int) -> tuple[slice, slice]:
        """The known part of the grid, with an optional (row, column), and a margin wider than the base."""
        known = self.free | self.occupied
        if cell:
            known[cell] = True
        margin = round((self.base.radius_m + 0.3) / self.config.resolution_m)
        rows, columns = np.flatnonzero(known.any(axis=1)), np.flatnonzero(known.any(axis=0))
        return (
            slice(max(0, int(rows[0]) - margin), min(self._shape[0], int(rows[-1]) + margin + 1)),
            slice(max(0, int(columns[0]) - margin), min(self._shape[1], int(columns[-1]) + margin + 1)),
        )

    def _distances(
        self, T_map_base: Pose, window: tuple[slice, slice], *, through_unknown: bool
    ) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
        """Dijkstra from the robot over the window: lengths (rows, columns) and predecessors (rows * columns,)."""
        blocked = self.blocked()[window]
        free = self.free[window]
        row, column = self._cell(T_map_base.translation[0], T_map_base.translation[1])
        start = (int(row) - window[0].start, int(column) - window[1].start)
        # The robot may be closer to obstacles than a path may lead; it must still be able to leave.
        rows, columns = np.indices(blocked.shape)
        leaving = np.hypot(rows - start[0], columns - start[1]) * self.config.resolution_m < self.base.radius_m / 2
        passable = (~blocked | leaving) & (free | through_unknown)
        passable[start] = True
        cost = np.where(free, 1.0, self.config.unknown_cost).ravel()
        starts, ends, steps = grid_edges(passable)
        weights = steps * self.config.resolution_m * (cost[starts] + cost[ends]) / 2
        graph = sparse.coo_array((weights, (starts, ends)), shape=(cost.size, cost.size)).tocsr()
        source = start[0] * blocked.shape[1] + start[1]
        lengths, predecessors = csgraph.dijkstra(graph, directed=False, indices=source, return_predecessors=True)
        return lengths.reshape(blocked.shape).astype(np.float32), predecessors


@dataclass(frozen=True, slots=True)
class Frontier:
    """An edge between free and unseen cells."""

    x: float  # map, metres, of a reachable cell near its middle
    y: float
    path_length_m: float  # from the robot


def _bearing_bins(offset: NDArray[np.float64]) -> NDArray[np.intp]:
    """Half-degree bins of offsets (..., 2)."""
    angle = np.arctan2(offset[..., 1], offset[..., 0])
    bins: NDArray[np.intp] = np.floor((angle + math.pi) / (2 * math.pi) * _BEARINGS).astype(np.intp) % _BEARINGS
    return bins
