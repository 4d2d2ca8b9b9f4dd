"""Coloured points of a place, and what follows from them: the floor, where a robot fits, and a picture from above."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from scipy.ndimage import binary_closing, distance_transform_edt

from si_embodied.envs.scenes.occupancy import CELL_M, FAR_M, Grid
from si_embodied.errors import SceneError

if TYPE_CHECKING:
    from numpy.typing import NDArray

FLOOR_M = 0.1
"""Points within this height of the floor are floor."""
CUT_M = 1.8
"""The picture from above shows what lies below this height."""
_BIN_M, _PATCH_M = 0.05, 0.1  # of the search for the floor: slices of height, and patches that a slice covers
_LEAST_FLOOR_M2 = 1.0
_FLOOR_SHARE = 0.4  # of the largest level surface: the lowest one of at least this size is the floor
_LARGEST_M = 400.0
_MARGIN_CELLS = 3
_GAP_PX = 1.5  # gaps between points up to this wide are closed
_UNDERSIDE_M = 0.02  # points lower than this are the underside of the floor


@dataclass(frozen=True, slots=True, eq=False)
class Cloud:
    """Points of all surfaces, map."""

    points: NDArray[np.float32]  # (N, 3), metres, z up
    rgb: NDArray[np.uint8]  # (N, 3)
    level: NDArray[np.bool_]  # (N,), may be floor: seen from above

    def raised(self, by_m: float) -> Cloud:
        """The cloud, moved up."""
        return replace(self, points=self.points + np.array([0.0, 0.0, by_m], np.float32))


def find_floor(cloud: Cloud, what: str) -> float:
    """Height of the lowest large level surface.

    Args:
        cloud: the points.
        what: the file or folder, for the error.

    Raises:
        SceneError: there is no level surface of a square metre.
    """
    points = cloud.points[cloud.level]
    slices = np.floor(points[:, 2] / _BIN_M).astype(np.int64)
    patches = np.floor(points[:, :2] / _PATCH_M).astype(np.int64)
    patches -= patches.min(axis=0, initial=0)
    column, row = patches.T
    sides = patches.max(axis=0, initial=0) + 1
    unique = np.unique((slices * sides[0] + column) * sides[1] + row)
    heights, counts = np.unique(unique // (sides[0] * sides[1]), return_counts=True)
    # A floor may lie on the edge between two slices.
    covered = {int(h): int(c) for h, c in zip(heights, counts, strict=True)}
    areas = {h: (c + covered.get(h + 1, 0)) * _PATCH_M**2 for h, c in covered.items()}
    largest = max(areas.values(), default=0.0)
    if largest < _LEAST_FLOOR_M2:
        raise SceneError(
            f"no floor in {what!r}: its largest level surface has {largest:.2f} square metres. Heights must be along z "
            "of the map (y of a GLB file), in metres; see `up` and `scale` of the world, or the poses of the recording"
        )
    lowest = min(h for h, area in areas.items() if area >= max(_LEAST_FLOOR_M2, _FLOOR_SHARE * largest))
    near = (slices == lowest) | (slices == lowest + 1)
    return float(np.median(points[near, 2]))


def check_extent(low: NDArray[np.float64], high: NDArray[np.float64], what: str) -> None:
    """Reject a place that is too large to be measured in metres, before time is spent on it.

    Args:
        low: its lowest x and y.
        high: its highest x and y.
        what: the file or folder, for the error.

    Raises:
        SceneError: a side is longer than 400 m.
    """
    if float((high - low).max()) > _LARGEST_M:
        size = " x ".join(f"{value:.0f}" for value in high - low)
        raise SceneError(f"{what!r} measures {size} m, more than {_LARGEST_M:.0f} m; give its unit with `scale`")


@dataclass(frozen=True, slots=True, eq=False)
class Clearance:
    """The distance to the nearest obstacle everywhere, for a disc that slides along it."""

    origin_m: tuple[float, float]  # outer corner of cell [0, 0]
    signed_m: NDArray[np.float64]  # (rows along y, columns along x), at the cell's centre, negative inside an obstacle
    away: NDArray[np.float64]  # (2, rows, columns), its gradient along x and y

    def distance(self, x: float, y: float) -> float:
        """Distance from a point to the nearest obstacle; negative inside one."""
        return self.nearest(x, y)[0]

    def nearest(self, x: float, y: float) -> tuple[float, float, float]:
        """Distance from a point to the nearest obstacle, and the unit vector (x, y) away from it."""
        rows, columns = self.signed_m.shape
        row = min(max((y - self.origin_m[1]) / CELL_M - 0.5, 0.0), rows - 1.001)
        column = min(max((x - self.origin_m[0]) / CELL_M - 0.5, 0.0), columns - 1.001)
        r, c = int(row), int(column)
        v, u = row - r, column - c
        weights = np.array([[(1 - v) * (1 - u), (1 - v) * u], [v * (1 - u), v * u]])
        gap = float((self.signed_m[r : r + 2, c : c + 2] * weights).sum())
        ax, ay = (float(value) for value in (self.away[:, r : r + 2, c : c + 2] * weights).sum(axis=(1, 2)))
        norm = math.hypot(ax, ay)
        return (gap, ax / norm, ay / norm) if norm > 1e-9 else (gap, 1.0, 0.0)


@dataclass(frozen=True, slots=True, eq=False)
class Floor:
    """Where a robot can drive."""

    grid: Grid
    obstacles: Clearance


def floor_of(
    cloud: Cloud,
    height_m: float,
    clearance_m: float,
    *,
    what: str,
    least: int = 1,
    driven: NDArray[np.float64] | None = None,
) -> Floor:
    """The free floor of a cloud whose floor is at z = 0.

    Args:
        cloud: the points.
        height_m: of the robot; what begins above it is no obstacle.
        clearance_m: the robot's radius and the margin of its paths.
        what: the file or folder, for errors.
        least: so many points make an obstacle of a cell.
        driven: (N, 2 or more), map xy at which a robot has stood, whatever the points say.

    Raises:
        SceneError: the place is too large for metres, or nowhere wide enough.
    """
    points = cloud.points[cloud.points[:, 2] < height_m]
    low, high = (np.asarray(edge, np.float64) for edge in (points[:, :2].min(axis=0), points[:, :2].max(axis=0)))
    check_extent(low, high, what)
    origin = tuple(float(value) - _MARGIN_CELLS * CELL_M for value in low)
    columns, rows = (math.ceil(float(value) / CELL_M) + 2 * _MARGIN_CELLS + 1 for value in high - low)
    cells = np.floor((points[:, :2] - origin) / CELL_M).astype(np.intp)
    index = cells[:, 1] * columns + cells[:, 0]
    solid = points[:, 2] > FLOOR_M
    ground = np.bincount(index[(np.abs(points[:, 2]) <= FLOOR_M)], minlength=rows * columns).reshape(rows, columns) > 0
    walls = np.bincount(index[solid], minlength=rows * columns).reshape(rows, columns) >= least
    ground = binary_closing(ground, np.ones((3, 3), bool), iterations=2)
    passable = ground & ~walls
    if driven is not None:
        stood = np.ones((rows, columns), bool)
        column, row = np.floor((driven[:, :2] - origin) / CELL_M).astype(np.intp).T
        stood[np.clip(row, 0, rows - 1), np.clip(column, 0, columns - 1)] = False
        passable |= distance_transform_edt(stood) * CELL_M <= clearance_m
    signed = (distance_transform_edt(passable) - distance_transform_edt(~passable)) * CELL_M
    signed -= np.sign(signed) * CELL_M / 2  # from the edge of the nearest cell, not its centre
    along_y, along_x = np.gradient(signed, CELL_M)
    grid = Grid((origin[0], origin[1]), np.minimum(signed, FAR_M), clearance_m)
    if not grid.free.any():
        raise SceneError(
            f"a robot of {2 * clearance_m:.2f} m width fits nowhere on the floor of {what!r}, which measures "
            f"{high[0] - low[0]:.1f} x {high[1] - low[1]:.1f} m; if that is too small, give its unit with `scale`"
        )
    return Floor(grid, Clearance(grid.origin_m, signed, np.stack([along_x, along_y])))


def picture(cloud: Cloud, origin_m: tuple[float, float], size_m: float, size_px: int) -> NDArray[np.uint8]:
    """The place from above, cut open: (size_px, size_px, 3), x to the right, y up; drawn at half that resolution.

    Args:
        cloud: the points, with the floor at z = 0.
        origin_m: map xy of the lower left corner.
        size_m: side of the square.
        size_px: side of the image.
    """
    size_px //= 2
    below = (cloud.points[:, 2] < CUT_M) & (cloud.points[:, 2] > -_UNDERSIDE_M)
    points, rgb = cloud.points[below], cloud.rgb[below]
    order = np.argsort(points[:, 2], kind="stable")  # higher points are drawn over lower ones
    points, rgb = points[order], rgb[order]
    column = np.floor((points[:, 0] - origin_m[0]) / size_m * size_px).astype(np.intp)
    row = size_px - 1 - np.floor((points[:, 1] - origin_m[1]) / size_m * size_px).astype(np.intp)
    inside = (row >= 0) & (row < size_px) & (column >= 0) & (column < size_px)
    image = np.full((size_px, size_px, 3), 255, np.uint8)
    drawn = np.zeros((size_px, size_px), bool)
    image[row[inside], column[inside]] = rgb[inside]
    drawn[row[inside], column[inside]] = True
    if drawn.any():
        away, nearest = distance_transform_edt(~drawn, return_indices=True)
        gaps = away <= _GAP_PX
        image[gaps] = image[nearest[0][gaps], nearest[1][gaps]]
    return image.repeat(2, axis=0).repeat(2, axis=1)
