"""The graphs' inputs that depend on the image size, in numpy: positions of patches, interpolation, windows.

Each function computes for one image what transformers computes for several (`vision_utils.py`); the tests compare them.
Patches are ordered in blocks of `merge` x `merge`, one block per token.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    Grid = NDArray[np.int64]  # (3,): frames (1 for an image), patch rows, patch columns


def vision_inputs(family: str, vision: Mapping[str, int], grid: Grid) -> dict[str, NDArray[np.int64 | np.float32]]:
    """The vision graph's inputs apart from the pixels.

    Args:
        family: transformers' model_type.
        vision: the manifest's `vision` settings.
        grid: the image's patch grid.
    """
    positions = patch_positions(grid, vision["merge"])
    if family == "qwen3_vl":
        indices, weights = interpolation(positions, grid, vision["table_side"])
        return {"position_ids": positions, "interp_indices": indices, "interp_weights": weights}
    order, window_of_patch = windows(grid, vision["merge"], vision["window"])
    return {"position_ids": positions, "window_index": order, "window_of_patch": window_of_patch}


def patch_positions(grid: Grid, merge: int) -> NDArray[np.int64]:
    """Row and column of each patch: (patches, 2)."""
    rows, columns = (int(size) for size in grid[1:])
    positions: NDArray[np.int64] = np.moveaxis(np.indices((rows, columns)), 0, -1)
    return positions.reshape(rows // merge, merge, columns // merge, merge, 2).swapaxes(1, 2).reshape(-1, 2)


def interpolation(positions: NDArray[np.int64], grid: Grid, side: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Bilinear interpolation of Qwen3-VL's table of `side` x `side` position embeddings, with aligned corners.

    Returns:
        For each patch, four indices into the flattened table and their weights: (patches, 4) each.
    """
    exact = positions * np.float32(side - 1) / np.maximum(grid[1:] - 1, 1).astype(np.float32)
    low = np.floor(exact).astype(np.int64)
    high = np.minimum(low + 1, side - 1)
    share = (exact - low).astype(np.float32)
    taps = [(low, 1 - share), (high, share)]
    pairs = [(row, column) for row in taps for column in taps]
    indices = [row[0][:, 0] * side + column[0][:, 1] for row, column in pairs]
    weights = [row[1][:, 0] * column[1][:, 1] for row, column in pairs]
    return np.stack(indices, axis=1), np.stack(weights, axis=1)


def windows(grid: Grid, merge: int, window: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Qwen2.5-VL's attention windows of `window` x `window` tokens, smaller at the right and bottom edges.

    Returns:
        The tokens in order of windows, (tokens,), and the window of each patch in that order, (patches,).
    """
    rows, columns = (int(size) // merge for size in grid[1:])
    row, column = np.indices((rows, columns)).reshape(2, -1)
    per_row = columns // window + 1
    of_token = row // window * per_row + column // window
    order = np.argsort(of_token, kind="stable")
    return order, np.repeat(of_token[order], merge**2)
