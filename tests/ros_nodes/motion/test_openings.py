"""A gripper opening that is old or no number holds nothing."""

from __future__ import annotations

import math

import pytest

from si_embodied.ros_nodes.motion.openings import OPENING_AGE_S, current_opening


@pytest.mark.parametrize(
    ("opening_m", "age_s", "expected"),
    [
        (0.08, 0.0, 0.08),
        (0.08, OPENING_AGE_S, 0.08),
        (0.08, OPENING_AGE_S + 0.1, None),
        (0.08, math.inf, None),
        (math.nan, 0.0, None),
        (math.inf, 0.0, None),
    ],
)
def test_only_a_finite_and_recent_opening_counts(opening_m: float, age_s: float, expected: float | None) -> None:
    assert current_opening(opening_m, age_s) == expected
