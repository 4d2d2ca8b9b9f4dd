"""Base and arm stop at every request, driving and planning, also without transforms.

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

# What test_stopping.py and test_watchdog.py lack: they stop a base that drives, by every request.
CASES = {
    "base": [(TOPIC, PLANNING), (CANCEL, PLANNING), (SIGTERM, PLANNING), (SERVICE, DRIVING), (DEACTIVATE, DRIVING)],
    "arm": [
        (TOPIC, DRIVING), (CANCEL, DRIVING), (SIGINT, DRIVING), (KILL, DRIVING),
        (SERVICE, PLANNING), (DEACTIVATE, PLANNING),
    ],
}  # fmt: skip


@pytest.fixture(scope="module")
def base(new_ros: Any) -> Iterator[stopping.Rig]:
    with new_ros() as ros:
        yield stopping.Rig(ros, stopping.BODIES["base"])


@pytest.fixture(scope="module")
def arm(new_ros: Any) -> Iterator[stopping.Rig]:
    with new_ros() as ros:
        yield stopping.Rig(ros, stopping.BODIES["arm"])


@pytest.mark.parametrize(("request_kind", "phase"), CASES["base"])
def test_every_request_stops_the_base_without_transforms(base: stopping.Rig, request_kind: str, phase: str) -> None:
    assert_stops(base, Situation(request_kind, phase, "dead"))


@pytest.mark.parametrize(("request_kind", "phase"), CASES["arm"])
def test_every_request_stops_the_arm_without_transforms(arm: stopping.Rig, request_kind: str, phase: str) -> None:
    assert_stops(arm, Situation(request_kind, phase, "dead"))


def assert_stops(rig: stopping.Rig, situation: Situation) -> None:
    stopped = rig.stop(situation)
    assert not stopped.violations
    if situation.request == KILL:
        assert stopped.stood_s < STANDS_S
    else:
        assert stopped.zero_s < ONE_TRY_S
