"""Who is on the graph, and how regularly images come: each fault by its verdict."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from si_embodied.ros_nodes.checks.graph import Heard, check_graph
from si_embodied.ros_nodes.checks.stamps import judge_stamps, stamps_of

GOOD = Heard(
    seconds=5.0, planner_answers=True, active_planner=("c1cb9d7a",) * 10, watchdogs=1, stop_latched=False,
    stop_listeners=("planner", "watchdog"), stop_drivers=("button",), pressed=True, odometry=250,
    drivers=("bt_navigator",), goal_name="navigate_to_pose",
)  # fmt: skip


def verdicts(**changes: object) -> dict[str, str]:
    return {each.what: each.verdict for each in check_graph(replace(GOOD, **changes))}  # type: ignore[arg-type]


def test_a_robot_with_everything_is_fine() -> None:
    assert set(verdicts().values()) == {"fine"}


@pytest.mark.parametrize(
    ("changes", "what", "verdict"),
    [
        ({"planner_answers": False}, "planner", "off"),
        ({"watchdogs": 0, "active_planner": ()}, "watchdog", "off"),
        ({"watchdogs": 2}, "watchdog", "off"),
        ({"active_planner": ("c1cb9d7a",)}, "watchdog", "off"),  # latched once, then silence: it hangs
        ({"active_planner": ("nobody",) * 10}, "watchdog", "off"),
        ({"active_planner": ("",) * 10}, "watchdog", "off"),
        ({"stop_listeners": ("planner",)}, "emergency stop", "off"),
        ({"pressed": False}, "emergency stop", "off"),
        ({"pressed": None}, "emergency stop", "unknown"),
        ({"pressed": None, "stop_latched": True}, "emergency stop", "note"),
        ({"stop_drivers": ()}, "emergency stop's button", "note"),
        ({"drivers": ()}, "driver", "off"),
        ({"odometry": 0}, "odometry", "note"),
    ],
)
def test_each_fault_has_its_verdict_and_a_fix(changes: dict[str, object], what: str, verdict: str) -> None:
    assert verdicts(**changes)[what] == verdict
    for each in check_graph(replace(GOOD, **changes)):  # type: ignore[arg-type]
        assert each.verdict in ("fine", "note") or each.fix


def judged(stamps_s: np.ndarray, delay_s: float | np.ndarray = 0.03) -> str:
    return judge_stamps("head/image_raw", stamps_of(stamps_s, stamps_s + delay_s), seconds=5.0).verdict


def test_a_regular_camera_is_fine_and_its_figures_are_those_it_was_made_with() -> None:
    stamps_s = np.arange(150) / 30
    found = stamps_of(stamps_s, stamps_s + 0.03)
    assert found.rate_hz == pytest.approx(30)
    assert found.jitter_s == pytest.approx(0, abs=1e-9)
    assert found.age_s == pytest.approx(0.03)
    assert judged(stamps_s) == "fine"


def test_no_images_and_few_images_are_off() -> None:
    assert judged(np.array([])) == "off"
    assert judged(np.arange(3) / 30) == "off"
    assert judged(np.zeros(20)) == "off", "a stamp that never changes is no rate"


def test_old_slow_and_future_images_are_off() -> None:
    stamps_s = np.arange(50) / 10
    assert judged(stamps_s, 1.5) == "off"
    assert judged(np.arange(12) / 1.5) == "off"
    assert judged(stamps_s, -0.5) == "off"


def test_lost_and_irregular_images_are_a_note() -> None:
    stamps_s = np.arange(150) / 30
    assert judged(np.delete(stamps_s, slice(50, 55))) == "note"
    irregular = np.cumsum(np.random.default_rng(0).choice([0.005, 0.06], 150))
    assert judged(irregular) == "note"


def test_images_that_arrive_out_of_order_are_counted_all_the_same() -> None:
    stamps_s = np.random.default_rng(0).permutation(np.arange(150) / 30)
    assert judged(stamps_s) == "fine"
