"""A grid as a graph with 16 neighbours, for the simulator's geodesic distances and for the robot's own path planner."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

STEPS: tuple[tuple[tuple[int, int], tuple[tuple[int, int], ...]], ...] = (
    ((0, 1), ()),
    ((1, 0), ()),
    ((1, 1), ((0, 1), (1, 0))),
    ((1, -1), ((0, -1), (1, 0))),
    ((1, 2), ((0, 1), (1, 1))),
    ((2, 1), ((1, 0), (1, 1))),
    ((1, -2), ((0, -1), (1, -1))),
    ((2, -1), ((1, 0), (1, -1))),
)
"""Half of the 16 steps (down, right), each with the cells that it passes over.

With 16 neighbours, paths are at most 2.7% longer than straight lines (8 neighbours: 8.2%).
"""


def grid_edges(free: NDArray[np.bool_]) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.float64]]:
    """Edges between free cells (rows, columns), each in one direction.

    The cells that a step passes over must be free too, so that no path cuts a corner.

    Returns:
        Flat indices (E,) of the start and of the end cells, and the lengths (E,) in cells.
    """
    rows, columns = free.shape
    index = np.arange(free.size, dtype=np.intp).reshape(free.shape)
    starts, ends, lengths = [], [], []
    for (down, right), passed in STEPS:
        if down >= rows or abs(right) >= columns:
            continue
        left, end = max(0, -right), columns - max(0, right)
        windows = [(slice(r, rows - down + r), slice(left + c, end + c)) for r, c in ((0, 0), (down, right), *passed)]
        open_edge = np.logical_and.reduce([free[window] for window in windows])
        starts.append(index[windows[0]][open_edge])
        ends.append(index[windows[1]][open_edge])
        lengths.append(np.full(len(starts[-1]), math.hypot(down, right)))
    return np.concatenate(starts), np.concatenate(ends), np.concatenate(lengths)
