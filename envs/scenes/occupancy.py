"""Free space and path lengths for a disc-shaped robot: exact clearance, an occupancy grid, geodesic distances."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from scipy.ndimage import label
from scipy.sparse import coo_matrix, csr_matrix
from scipy.sparse.csgraph import dijkstra

from si_embodied.envs.scenes.apartment import OBSTACLE_HEIGHT_M, Apartment, Part
from si_embodied.grid_graph import STEPS, grid_edges

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

CELL_M = 0.05
FAR_M = 0.8
"""The largest clearance that a grid has."""


@dataclass(frozen=True, eq=False)
class Outlines:
    """Outlines of obstacles seen from above: rectangles and circles in the map, metres."""

    rectangles: NDArray[np.float64]  # (N, 4): centre x, y and half sizes
    circles: NDArray[np.float64]  # (M, 3): centre x, y and radius

    @classmethod
    def of(cls, parts: Iterable[Part], *, below_m: float = OBSTACLE_HEIGHT_M) -> Outlines:
        """The outlines of the parts that begin below a height, without those inside a larger rectangle."""
        solid = [p for p in parts if p.centre[2] - p.half[2] < below_m]
        circles = {(p.centre[0], p.centre[1], p.half[0]) for p in solid if p.is_round}
        boxes = {(p.centre[0], p.centre[1], p.half[0], p.half[1]) for p in solid if not p.is_round}
        r = np.array(sorted(boxes), np.float64).reshape(-1, 4)
        c = np.array(sorted(circles), np.float64).reshape(-1, 3)
        low, high = r[:, :2] - r[:, 2:], r[:, :2] + r[:, 2:]
        inside = (low[None] <= low[:, None] + 1e-9).all(-1) & (high[None] >= high[:, None] - 1e-9).all(-1)
        np.fill_diagonal(inside, False)
        c_inside = (low[None] <= (c[:, :2] - c[:, 2:])[:, None]).all(-1)
        c_inside &= (high[None] >= (c[:, :2] + c[:, 2:])[:, None]).all(-1)
        return cls(r[~inside.any(axis=1)], c[~c_inside.any(axis=1)])

    def distance(self, x: float, y: float) -> float:
        """Distance from a point to the nearest outline; negative inside one, inf if there is none."""
        return self.nearest(x, y)[0]

    def nearest(self, x: float, y: float) -> tuple[float, float, float]:
        """Distance to the nearest outline (negative inside), and the unit vector (x, y) away from it."""
        best, away = math.inf, (0.0, 0.0)
        if self.rectangles.size:
            dx, dy = x - self.rectangles[:, 0], y - self.rectangles[:, 1]
            qx, qy = np.abs(dx) - self.rectangles[:, 2], np.abs(dy) - self.rectangles[:, 3]
            distances = np.hypot(np.maximum(qx, 0), np.maximum(qy, 0)) + np.minimum(np.maximum(qx, qy), 0)
            i = int(np.argmin(distances))
            best = float(distances[i])
            ox, oy = max(float(qx[i]), 0.0), max(float(qy[i]), 0.0)
            if ox == 0.0 and oy == 0.0:
                ox, oy = (1.0, 0.0) if qx[i] > qy[i] else (0.0, 1.0)
            norm = math.hypot(ox, oy)
            away = (math.copysign(ox / norm, dx[i]), math.copysign(oy / norm, dy[i]))
        if self.circles.size:
            dx, dy = x - self.circles[:, 0], y - self.circles[:, 1]
            radial = np.hypot(dx, dy)
            i = int(np.argmin(radial - self.circles[:, 2]))
            if radial[i] - self.circles[i, 2] < best:
                best, norm = float(radial[i] - self.circles[i, 2]), float(radial[i])
                away = (float(dx[i]) / norm, float(dy[i]) / norm) if norm > 1e-9 else (1.0, 0.0)
        return best, *away


def _paint(field: NDArray[np.float64], origin: tuple[float, float], outlines: Outlines, reach_m: float) -> None:
    """Lower `field` to the distance from the outlines, within `reach_m` of them."""

    def window(x: float, y: float, half_x: float, half_y: float) -> tuple[slice, slice]:
        columns = [math.floor((x + s * (half_x + reach_m) - origin[0]) / CELL_M) for s in (-1, 1)]
        rows = [math.floor((y + s * (half_y + reach_m) - origin[1]) / CELL_M) for s in (-1, 1)]
        return slice(max(0, rows[0]), max(0, rows[1] + 1)), slice(max(0, columns[0]), max(0, columns[1] + 1))

    xs = origin[0] + (np.arange(field.shape[1]) + 0.5) * CELL_M
    ys = origin[1] + (np.arange(field.shape[0]) + 0.5) * CELL_M
    for x, y, half_x, half_y in outlines.rectangles:
        rows, columns = window(x, y, half_x, half_y)
        qx, qy = np.abs(xs[columns] - x)[None, :] - half_x, np.abs(ys[rows] - y)[:, None] - half_y
        distance = np.hypot(np.maximum(qx, 0), np.maximum(qy, 0)) + np.minimum(np.maximum(qx, qy), 0)
        np.minimum(field[rows, columns], distance, out=field[rows, columns])
    for x, y, radius in outlines.circles:
        rows, columns = window(x, y, radius, radius)
        distance = np.hypot((xs[columns] - x)[None, :], (ys[rows] - y)[:, None]) - radius
        np.minimum(field[rows, columns], distance, out=field[rows, columns])


@dataclass(frozen=True, eq=False)
class Grid:
    """Clearance at every cell of an apartment; rows along y, columns along x."""

    origin_m: tuple[float, float]  # outer corner of cell [0, 0]
    clearance_m: NDArray[np.float64]  # (rows, columns), at the cell's centre, at most `FAR_M`
    radius_m: float  # cells with at least this clearance are free

    @classmethod
    def of(cls, apartment: Apartment, outlines: Outlines, radius_m: float) -> Grid:
        """Rasterise outlines; `radius_m` is the robot's radius plus the margin of paths."""
        x0, y0, x1, y1 = apartment.bounds
        shape = (math.ceil((y1 - y0) / CELL_M), math.ceil((x1 - x0) / CELL_M))
        clearance = np.full(shape, FAR_M)
        _paint(clearance, (x0, y0), outlines, FAR_M)
        return cls((x0, y0), clearance, radius_m)

    @cached_property
    def free(self) -> NDArray[np.bool_]:
        """The largest connected area of free floor."""
        areas, count = label(self.clearance_m >= self.radius_m)
        if count == 0:
            return np.zeros(self.clearance_m.shape, bool)
        sizes = np.bincount(areas.ravel())
        sizes[0] = 0
        return np.asarray(areas == int(sizes.argmax()))

    def cell(self, x: float, y: float) -> tuple[int, int]:
        """(row, column) of a map point, clipped to the grid."""
        rows, columns = self.clearance_m.shape
        row = math.floor((y - self.origin_m[1]) / CELL_M)
        column = math.floor((x - self.origin_m[0]) / CELL_M)
        return min(max(row, 0), rows - 1), min(max(column, 0), columns - 1)

    def nearest_free(self, x: float, y: float, within_m: float) -> tuple[int, int] | None:
        """(row, column) of the free cell nearest to a map point, None if there is none within a distance."""
        cells = np.argwhere(self.free)
        if not len(cells):
            return None
        away = np.hypot(*(self.centres(self.free) - (x, y)).T)
        best = int(np.argmin(away))
        return (int(cells[best][0]), int(cells[best][1])) if away[best] <= within_m else None

    def point(self, row: int, column: int) -> tuple[float, float]:
        """Map x and y of a cell's centre."""
        return self.origin_m[0] + (column + 0.5) * CELL_M, self.origin_m[1] + (row + 0.5) * CELL_M

    def centres(self, mask: NDArray[np.bool_]) -> NDArray[np.float64]:
        """Map points (N, 2) of the centres of a mask's cells."""
        rows, columns = np.nonzero(mask)
        x = self.origin_m[0] + (columns + 0.5) * CELL_M
        return np.stack([x, self.origin_m[1] + (rows + 0.5) * CELL_M], axis=1)

    def distance_from(self, outlines: Outlines, reach_m: float) -> NDArray[np.float64]:
        """Distance from each cell's centre to the outlines, inf beyond `reach_m`."""
        field = np.full(self.clearance_m.shape, np.inf)
        _paint(field, self.origin_m, outlines, reach_m)
        return np.where(field <= reach_m, field, np.inf)

    @cached_property
    def _edges(self) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.float64]]:
        """Flat start index, flat end index and length in metres of every step, in both directions."""
        start, end, length = grid_edges(self.free)
        return np.concatenate([start, end]), np.concatenate([end, start]), np.tile(length * CELL_M, 2)

    def geodesic(self, goal: NDArray[np.bool_], beyond_m: NDArray[np.float64] | None = None) -> GeodesicField:
        """Driving distance (rows, columns) from every free cell to the nearest goal cell; inf where there is no path.

        Args:
            goal: (rows, columns), goal cells; those that are not free are ignored.
            beyond_m: (rows, columns), distance still to drive after arriving at a cell (a route's later goals).
        """
        start, end, length = self._edges
        n = self.free.size
        cells = np.flatnonzero((goal & self.free).ravel())
        offsets = np.zeros(cells.size) if beyond_m is None else beyond_m.ravel()[cells]
        cells, offsets = cells[np.isfinite(offsets)], offsets[np.isfinite(offsets)]
        # An extra node leads to every goal cell. Its edges are 1 m too long, because a sparse matrix cannot hold edges
        # of length 0.
        data = np.concatenate([length, offsets + 1.0])
        rows = np.concatenate([start, np.full(cells.size, n)])
        columns = np.concatenate([end, cells])
        graph = csr_matrix(coo_matrix((data, (rows, columns)), shape=(n + 1, n + 1)))
        distance = dijkstra(graph, indices=[n])[0, :n].reshape(self.free.shape) - 1.0
        return GeodesicField(self, np.asarray(distance, np.float64))


@dataclass(frozen=True, eq=False)
class GeodesicField:
    """Driving distance to a goal, everywhere."""

    grid: Grid
    distance_m: NDArray[np.float64]  # (rows, columns), inf where there is no path to the goal

    def at(self, x: float, y: float) -> float:
        """Driving distance from a map point, through the best cell near it."""
        row, column = self.grid.cell(x, y)
        # The disc may be closer to an obstacle than the grid's margin allows: search farther then.
        for reach in (1, 3, 8):
            r0, c0 = max(0, row - reach), max(0, column - reach)
            patch = self.distance_m[r0 : row + reach + 1, c0 : column + reach + 1]
            if np.isfinite(patch).any():
                ys = self.grid.origin_m[1] + (np.arange(r0, r0 + patch.shape[0]) + 0.5) * CELL_M
                xs = self.grid.origin_m[0] + (np.arange(c0, c0 + patch.shape[1]) + 0.5) * CELL_M
                total = patch + np.hypot(xs[None, :] - x, ys[:, None] - y)
                centre = self.distance_m[row, column]
                return 0.0 if centre == 0.0 else float(total.min())
        return math.inf

    def path(self, x: float, y: float) -> NDArray[np.float64]:
        """Map points (N, 2) of the shortest path from a map point, one or two cells apart; empty if there is none.

        Of a route it is the first leg: it ends at the goal cell from which the later legs are shortest.
        """
        row, column = self.grid.cell(x, y)
        if not np.isfinite(self.distance_m[row, column]):
            start = self.grid.nearest_free(x, y, FAR_M)
            if start is None or not np.isfinite(self.distance_m[start]):
                return np.zeros((0, 2))
            row, column = start
        points = [(x, y)]
        steps = [(sign * dr, sign * dc, math.hypot(dr, dc) * CELL_M) for (dr, dc), _ in STEPS for sign in (1, -1)]
        rows, columns = self.distance_m.shape
        while self.distance_m[row, column] > 1e-9:
            # Follow the step whose length matches the drop in distance; other cells may lie behind a corner.
            lower = [
                (
                    abs(self.distance_m[row + dr, column + dc] + length - self.distance_m[row, column]),
                    row + dr,
                    column + dc,
                )
                for dr, dc, length in steps
                if 0 <= row + dr < rows
                and 0 <= column + dc < columns
                and self.distance_m[row + dr, column + dc] < self.distance_m[row, column]
            ]
            if not lower:  # a goal cell with later legs
                break
            _, row, column = min(lower)
            points.append(self.grid.point(row, column))
        return np.array(points)
