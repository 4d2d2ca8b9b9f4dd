"""The planning server dies in the middle of an episode. `make test-ros` leaves out the tests with many seeds."""

from __future__ import annotations

from typing import Any

import pytest

pytest.importorskip("mujoco", reason="the simulated worlds need the extra sim")
pytest.importorskip("uvicorn", reason="the planning server needs the extra serve")

from outage import successes


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize(
    ("world", "seeds", "least"),
    [
        ("apartment", 2, 2),
        ("tabletop", 1, 1),
        pytest.param("apartment", 10, 9, id="many-apartment"),
        pytest.param("tabletop", 3, 2, id="many-tabletop"),
    ],
)
def test_a_server_that_is_gone_for_10_s_costs_neither_a_restart_nor_the_task(
    ros: Any, world: str, seeds: int, least: int
) -> None:
    assert successes(ros, world, seeds) >= least
