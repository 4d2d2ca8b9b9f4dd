"""The 16-neighbour grid graph, on grids small enough to count by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from si_embodied.grid_graph import grid_edges


def edges(*rows: str) -> set[tuple[int, int]]:
    starts, ends, _ = grid_edges(np.array([[cell == "." for cell in row] for row in rows]))
    return {(min(pair), max(pair)) for pair in zip(starts.tolist(), ends.tolist(), strict=True)}


def test_a_square_has_its_sides_and_diagonals() -> None:
    assert edges("..", "..") == {(0, 1), (2, 3), (0, 2), (1, 3), (0, 3), (1, 2)}


def test_no_edge_cuts_a_corner() -> None:
    assert edges(".#", "..") == {(0, 2), (2, 3)}


def test_a_knights_move_needs_the_two_cells_that_it_passes_over() -> None:
    assert (0, 5) in edges("...", "...")
    assert (0, 5) not in edges(".#.", "...")
    assert (0, 5) not in edges("...", ".#.")


def test_lengths_are_in_cells() -> None:
    _, _, lengths = grid_edges(np.ones((2, 3), dtype=bool))
    assert sorted(lengths) == pytest.approx([1.0] * 7 + [math.sqrt(2)] * 4 + [math.sqrt(5)] * 2)
