"""Two planners on one robot, of the same name or not: one of them acts, and the other takes over when it is lost.

Over real processes: tests/ros/test_watchdog.py.
"""

from __future__ import annotations

import pytest

from si_embodied.ros_nodes.node.planner_watch import Beat, PlannerWatch

A, B = Beat("a1", "/planner", active=True), Beat("b2", "/planner", active=True)


@pytest.mark.promise(recovers="at once: the second planner acts")
def test_the_first_of_two_planners_of_one_name_acts_and_the_second_follows_it() -> None:
    watch = PlannerWatch(timeout_s=0.5, started_s=0.0)
    for beat in (A, B, A, B):
        watch.hear(beat, 0.0)
    assert (watch.chosen, list(watch.names)) == ("a1", ["a1", "b2"])
    watch.hear(B, 0.6)
    assert watch.check(0.6), "the planner that acted was lost"
    assert watch.chosen == "b2"


def test_losing_a_planner_that_does_not_act_stops_nothing() -> None:
    watch = PlannerWatch(timeout_s=0.5, started_s=0.0)
    watch.hear(A, 0.0)
    watch.hear(B, 0.0)
    watch.hear(A, 0.6)
    assert not watch.check(0.6)
    assert list(watch.names) == ["a1"]


def test_planners_of_two_names_are_both_reported() -> None:
    watch = PlannerWatch(timeout_s=0.5, started_s=0.0)
    watch.hear(A, 0.0)
    watch.hear(Beat("c3", "/robot/planner", active=True), 0.1)
    assert watch.names == {"a1": "/planner", "c3": "/robot/planner"}
    assert watch.chosen == "a1"


@pytest.mark.promise(recovers="at once: the second planner acts")
def test_the_second_planner_acts_once_the_first_is_deactivated() -> None:
    watch = PlannerWatch(timeout_s=0.5, started_s=0.0)
    watch.hear(A, 0.0)
    watch.hear(B, 0.0)
    watch.hear(Beat("a1", "/planner", active=False), 0.1)
    assert watch.chosen == "b2"
    assert not watch.check(0.2)


def test_a_flood_of_planners_does_not_displace_the_first_one_or_grow_without_bound() -> None:
    watch = PlannerWatch(timeout_s=0.5, started_s=0.0)
    watch.hear(A, 0.0)
    for number in range(10_000):
        watch.hear(Beat(f"f{number}", "/planner", active=True), 0.0)
    assert watch.chosen == "a1"
    assert len(watch.names) <= 20
