"""Base and arm stop at every request, driving and planning, with transforms alive and dead.

One try each; benchmarks/ros_stopping.py makes 200 of each request.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import stopping
from stopping import CANCEL, DEACTIVATE, DRIVING, KILL, PLANNING, SERVICE, SIGINT, SIGTERM, TOPIC, Situation

ONE_TRY_S, STANDS_S = 0.3, 0.8
"""The 99th percentile must be 0.1 s; a single try on a busy machine may take longer."""

# With the phase of the base. The arm's is the other one, so that each request meets both.
REQUESTS = [
    (TOPIC, PLANNING), (CANCEL, PLANNING), (SERVICE, DRIVING), (DEACTIVATE, DRIVING),
    (SIGINT, DRIVING), (KILL, DRIVING), (SIGTERM, PLANNING),
]  # fmt: skip
OTHER = {PLANNING: DRIVING, DRIVING: PLANNING}


@pytest.fixture(scope="module", params=list(stopping.BODIES))
def robot(request: pytest.FixtureRequest, new_ros: Any) -> Iterator[tuple[str, stopping.Rig]]:
    with new_ros() as ros:
        yield request.param, stopping.Rig(ros, stopping.BODIES[request.param])


@pytest.mark.parametrize(("request_kind", "phase"), REQUESTS, ids=[request_kind for request_kind, _ in REQUESTS])
def test_every_request_stops_the_robot_without_transforms(
    robot: tuple[str, stopping.Rig], request_kind: str, phase: str
) -> None:
    name, rig = robot
    stopped = rig.stop(Situation(request_kind, phase if name == "base" else OTHER[phase], "dead"))
    assert not stopped.violations
    if request_kind == KILL:
        assert stopped.stood_s < STANDS_S
    else:
        assert stopped.zero_s < ONE_TRY_S
