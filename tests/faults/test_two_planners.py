"""Two planners on one robot, of the same name or not: one of them acts, and the other takes over when it is lost.

Over real processes: tests/ros/test_watchdog.py.
"""

from __future__ import annotations

import pytest

from si_embodied.ros_nodes.node.planner_watch import SETTLES_S, Beat, PlannerWatch, StopsHeard

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


@pytest.mark.parametrize("idle_first", [True, False])
def test_a_watchdog_that_was_restarted_names_the_planner_that_acts(idle_first: bool) -> None:
    acting = Beat("b2", "/planner", active=True, acting=True)
    watch = PlannerWatch(timeout_s=0.5, started_s=0.0)
    for beat in (A, acting) if idle_first else (acting, A):
        watch.hear(beat, 0.0)
        assert watch.named(0.0) in ("", "b2")
    assert watch.named(0.0) == "b2"


def test_a_planner_that_does_not_act_is_named_after_a_moment_in_which_others_may_be_heard() -> None:
    watch = PlannerWatch(timeout_s=0.5, started_s=0.0)
    watch.hear(A, 10.0)
    assert not watch.named(10.0 + SETTLES_S - 0.01)
    watch.hear(A, 10.0 + SETTLES_S)
    assert watch.named(10.0 + SETTLES_S) == "a1"
    watch.hear(B, 10.0 + SETTLES_S)
    watch.hear(Beat("a1", "/planner", active=False), 10.0 + SETTLES_S)
    assert watch.named(10.0 + SETTLES_S) == "b2", "later ones are named at once"


def test_a_second_planner_that_acts_does_not_displace_the_first_while_that_acts() -> None:
    watch = PlannerWatch(timeout_s=0.5, started_s=0.0)
    watch.hear(Beat("a1", "/planner", active=True, acting=True), 0.0)
    watch.hear(Beat("b2", "/planner", active=True, acting=True), 0.0)
    assert watch.named(0.0) == "a1"


def test_a_flood_of_planners_that_hold_a_stop_is_not_remembered_without_bound() -> None:
    heard = StopsHeard()
    for number in range(10_000):
        heard.hear(Beat(f"f{number}", "/planner", active=True, stopped=True), 0.0)
    assert len(heard.stopped) <= 20
