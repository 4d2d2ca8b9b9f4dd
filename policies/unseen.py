"""What a robot has not seen yet around a point of its map, and could see from there."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from si_embodied.policies.mapping import OccupancyMapper

_BEARINGS = np.linspace(-math.pi, math.pi, 72, endpoint=False)
"""Map bearings, radians, along which lines of sight are followed: 5 degrees apart, 26 cm at 3 m."""


def unseen_bearings(mapper: OccupancyMapper, x: float, y: float, *, within_m: float) -> NDArray[np.float64]:
    """Map bearings (n,), radians, along which the known space around a map point ends before an obstacle.

    Two neighbouring bearings at least: a single one is a gap between depth pixels.
    """
    unseen = _lines_of_sight(mapper, x, y, within_m).any(axis=0)
    found: NDArray[np.float64] = _BEARINGS[unseen & (np.roll(unseen, 1) | np.roll(unseen, -1))]
    return found


def unseen_m2(mapper: OccupancyMapper, x: float, y: float, *, within_m: float) -> float:
    """Unseen area around a map point, square metres, that no known obstacle hides from there."""
    unseen = _lines_of_sight(mapper, x, y, within_m)
    step = mapper.config.resolution_m
    distance = np.arange(len(unseen))[:, None] * step
    return float((distance * unseen).sum()) * step * 2 * math.pi / len(_BEARINGS)  # r dr dphi


def _lines_of_sight(mapper: OccupancyMapper, x: float, y: float, within_m: float) -> NDArray[np.bool_]:
    """Whether the point at a distance along a bearing (distances, bearings) is unseen, with no obstacle before it.

    An obstacle is two cells wider than it was seen: the unseen cells around it are gaps between depth pixels.
    """
    distance = np.arange(0.0, within_m, mapper.config.resolution_m)[:, None]
    points = np.stack([x + distance * np.cos(_BEARINGS), y + distance * np.sin(_BEARINGS)], axis=-1)
    rows, columns = (index.reshape(points.shape[:2]) for index in mapper.cells(points.reshape(-1, 2)))
    top, left = max(0, int(rows.min()) - 2), max(0, int(columns.min()) - 2)
    around = np.s_[top : int(rows.max()) + 3, left : int(columns.max()) + 3]
    walls = ndimage.binary_dilation(mapper.occupied[around], iterations=2)[rows - top, columns - left]
    before_walls = np.logical_and.accumulate(~walls, axis=0)
    return np.asarray(before_walls & ~mapper.free[rows, columns])
