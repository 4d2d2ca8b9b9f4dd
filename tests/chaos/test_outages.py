"""The planning server dies in each of many episodes; tests/ros/test_server_dies.py tries a few."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("mujoco", reason="the simulated worlds need the extra sim")
pytest.importorskip("uvicorn", reason="the planning server needs the extra serve")
pytest.importorskip("si_embodied_msgs", reason="make ros")

from conftest import ros_in
from outage import successes


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize(("world", "seeds", "least"), [("apartment", 10, 9), ("tabletop", 3, 2)])
def test_a_server_that_is_gone_for_10_s_costs_neither_a_restart_nor_the_task(
    tmp_path: Path, world: str, seeds: int, least: int
) -> None:
    with ros_in(tmp_path) as ros:
        assert successes(ros, world, seeds) >= least
