"""Positions of patches, interpolation and windows in numpy, compared with transformers' own."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("transformers")

from si_embodied.models.onnx.layout import interpolation, patch_positions, windows

GRIDS = [(2, 2), (4, 6), (8, 8), (10, 18), (32, 32), (26, 38), (2, 40)]  # rows and columns of patches


@pytest.fixture(params=GRIDS, ids=lambda grid: f"{grid[0]}x{grid[1]}")
def grid(request: pytest.FixtureRequest) -> np.ndarray:
    """A patch grid (frames, rows, columns)."""
    return np.array([1, *request.param])


def _torch(grid: np.ndarray) -> object:
    import torch

    return torch.from_numpy(grid[None])


def test_patch_positions_equal_transformers(grid: np.ndarray) -> None:
    from transformers.vision_utils import get_vision_position_ids

    np.testing.assert_array_equal(patch_positions(grid, 2), get_vision_position_ids(_torch(grid), 2).numpy())


def test_interpolation_equals_transformers(grid: np.ndarray) -> None:
    from transformers.vision_utils import get_vision_interpolation_indices_and_weights

    theirs = get_vision_interpolation_indices_and_weights(
        _torch(grid), 14, mode="bilinear", align_corners=True, spatial_merge_size=2
    )
    table = np.random.default_rng(0).standard_normal((14 * 14, 3))
    ours = interpolation(patch_positions(grid, 2), grid, 14)
    mixed = [(table[indices] * weights[..., None]).sum(1) for indices, weights in (ours, [t.numpy() for t in theirs])]
    np.testing.assert_allclose(mixed[0], mixed[1], atol=1e-5)


def test_windows_equal_transformers(grid: np.ndarray) -> None:
    from transformers.vision_utils import get_vision_window_index

    order, window_of_patch = windows(grid, 2, 4)
    theirs, ends = get_vision_window_index(_torch(grid), spatial_merge_size=2, window_size=112, patch_size=14)
    np.testing.assert_array_equal(order, theirs.numpy())
    changes = np.flatnonzero(np.diff(window_of_patch)) + 1
    np.testing.assert_array_equal([0, *changes, len(window_of_patch)], ends.numpy())
