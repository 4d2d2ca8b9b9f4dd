"""The referee of `make chaos` finds what is unsafe, and only that."""

from __future__ import annotations

import math

import pytest
from faults import ARM, BASE, FAULTS, Fault, faults_of
from referee import Referee

BLIND = Fault("blind", recovers_s=2.0, no_goal_s=1.0, stands_s=2.0, no_plan=True)
HARMLESS = Fault("harmless", recovers_s=2.0)
FROZEN = Fault("frozen", recovers_s=2.0, no_goal_s=1.0, stands_s=2.0, needs_motion=True)
HERE, AWAY = (0.0, 0.0, 0.0), (0.2, 0.0, 0.0)


@pytest.fixture
def referee() -> Referee:
    found = Referee((-10.0, -10.0, 0.0), (10.0, 10.0, 0.0))
    found.place(HERE, moving=False, now_s=0.0)
    return found


def test_a_goal_is_unsafe_once_the_fault_must_be_known(referee: Referee) -> None:
    referee.began(BLIND, 10.0, 100.0)
    referee.goal(HERE, 10.9)
    assert not referee.violations
    referee.goal(HERE, 11.1)
    assert referee.violations == ["goal 1.10 s after 'blind' began"]
    referee.ended(BLIND, 12.0, 102.0)
    referee.goal(HERE, 12.1)
    assert len(referee.violations) == 1


def test_a_robot_that_moves_on_is_reported_once(referee: Referee) -> None:
    referee.began(BLIND, 10.0, 100.0)
    for tenth in range(30):
        referee.place(HERE, moving=True, now_s=10.0 + 0.1 * tenth)
    assert len(referee.violations) == 1


def test_a_slow_simulation_has_its_own_time(referee: Referee) -> None:
    slow = Fault("slow", recovers_s=2.0, no_goal_s=1.0, by_robot_time=True)
    referee.began(slow, 10.0, 100.0)
    referee.robot_s = 0.9
    referee.goal(HERE, 12.0)
    assert not referee.violations
    referee.robot_s = 1.1
    referee.goal(HERE, 12.1)
    assert len(referee.violations) == 1


@pytest.mark.parametrize("goal", [(11.0, 0.0, 0.0), (0.0, 0.0, 0.1), (math.nan, 0.0, 0.0), (0.0, -math.inf, 0.0)])
def test_a_goal_out_of_bounds_is_unsafe(referee: Referee, goal: tuple[float, float, float]) -> None:
    referee.goal(goal, 1.0)
    assert len(referee.violations) == 1


@pytest.mark.parametrize("values", [(0.1, 0.0, 0.0), (0.0, 0.0, math.nan)])
def test_a_velocity_other_than_zero_is_unsafe(referee: Referee, values: tuple[float, ...]) -> None:
    referee.velocity((0.0, 0.0, 0.0))
    assert not referee.violations
    referee.velocity(values)
    assert len(referee.violations) == 1


def test_a_plan_on_an_image_of_the_fault_is_unsafe_during_it_and_after_it(referee: Referee) -> None:
    referee.began(BLIND, 10.0, 100.0)
    referee.plan(0, 99.9, 10.1)
    assert not referee.violations
    referee.plan(0, 101.0, 11.1)
    assert len(referee.violations) == 1
    referee.plan(102, 101.0, 11.1)
    assert len(referee.violations) == 1, "a hold is no plan"
    referee.ended(BLIND, 15.0, 105.0)
    referee.plan(0, 103.0, 15.1)
    assert len(referee.violations) == 2
    referee.plan(0, 105.5, 15.6)
    assert len(referee.violations) == 2


def test_after_a_jump_of_the_clock_the_same_stamps_are_of_good_images(referee: Referee) -> None:
    referee.began(BLIND, 10.0, 100.0)
    referee.ended(BLIND, 14.0, 104.0)
    referee.clock_jumped(-5.0)
    referee.plan(0, 102.0, 17.0)
    assert not referee.violations


def test_a_frozen_camera_counts_from_the_motion_that_shows_it(referee: Referee) -> None:
    referee.began(FROZEN, 10.0, 100.0)
    referee.goal(HERE, 15.0)
    assert not referee.violations, "a robot that stands sees the same image"
    referee.place(AWAY, moving=True, now_s=15.0)
    referee.goal(HERE, 16.5)
    assert len(referee.violations) == 1


@pytest.mark.parametrize("acts", ["plan", "motion"])
def test_the_recovery_is_timed_from_the_end_of_the_fault_to_the_next_act(referee: Referee, acts: str) -> None:
    referee.began(HARMLESS, 10.0, 100.0)
    referee.ended(HARMLESS, 12.0, 102.0)
    referee.plan(102, 102.1, 12.1)
    assert referee.pending, "a hold is no recovery"
    if acts == "plan":
        referee.plan(0, 103.0, 13.5)
    else:
        referee.place(AWAY, moving=True, now_s=13.5)
    assert [(each.fault, each.seconds) for each in referee.recoveries] == [(HARMLESS, 1.5)]
    assert not referee.pending


def test_a_robot_that_never_acts_again_is_lost(referee: Referee) -> None:
    referee.began(HARMLESS, 10.0, 100.0)
    referee.ended(HARMLESS, 12.0, 102.0)
    assert not referee.lost(17.0)
    assert referee.lost(18.1) == [HARMLESS]


def test_a_fault_that_begins_before_the_recovery_prolongs_it(referee: Referee) -> None:
    slow = Fault("slow", recovers_s=20.0)
    referee.began(slow, 10.0, 100.0)
    referee.ended(slow, 12.0, 102.0)
    referee.began(HARMLESS, 13.0, 103.0)
    assert not referee.lost(90.0)
    referee.ended(HARMLESS, 14.0, 104.0)
    referee.plan(0, 105.0, 15.5)
    assert [(each.fault, each.seconds) for each in referee.recoveries] == [(slow, 1.5)]


def test_after_two_faults_the_time_is_from_the_end_of_the_last_and_by_the_longer_promise(referee: Referee) -> None:
    slow = Fault("slow", recovers_s=20.0)
    for fault in (slow, HARMLESS):
        referee.began(fault, 10.0, 100.0)
    referee.ended(slow, 12.0, 102.0)
    referee.plan(0, 103.0, 13.0)
    assert not referee.recoveries, "the other one lasts"
    referee.ended(HARMLESS, 14.0, 104.0)
    assert not referee.lost(70.0)
    referee.plan(0, 115.0, 25.0)
    assert [(each.fault, each.seconds) for each in referee.recoveries] == [(slow, 11.0)]


def test_every_fault_has_a_name_of_its_own_and_each_robot_its_faults() -> None:
    assert len({fault.name for fault in FAULTS}) == len(FAULTS)
    assert {each.name for world in (BASE, ARM) for each in faults_of(world)} == {each.name for each in FAULTS}
