"""The guard's refusals."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest

from si_embodied import Code, Observation, Outcome, Pose
from si_embodied.embodiment import MobileBase, TableArm
from si_embodied.guard import Guard
from si_embodied.memory import Attempt, Memory
from si_embodied.skills import ExploreFrontier, Finish, Goal, Grasp, NavigateTo, Release, Rotate


def tried(goal: Goal, times: int, code: Code = Code.SKILL_FAILED, pose: Pose | None = None) -> Memory:
    memory = Memory()
    for _ in range(times):
        memory = memory.add(Attempt("x", goal, pose or Pose.identity(), Outcome(code)))
    return memory


def test_an_observation_without_images_is_refused(base: MobileBase, wall_ahead: Observation) -> None:
    refusal = Guard(base).check_observation(dataclasses.replace(wall_ahead, frames=()), 10.0)
    assert refusal is not None
    assert refusal.code is Code.NO_IMAGE


@pytest.mark.parametrize(("now_s", "refused"), [(10.0, False), (10.9, False), (11.5, True), (8.5, True)])
def test_an_image_from_another_time_is_refused(
    base: MobileBase, wall_ahead: Observation, now_s: float, refused: bool
) -> None:
    refusal = Guard(base).check_observation(wall_ahead, now_s)
    assert (refusal is not None) is refused
    if refusal is not None:
        assert refusal.code is Code.STALE_OBSERVATION


def test_an_old_image_of_any_camera_is_refused(base: MobileBase, wall_ahead: Observation) -> None:
    old = dataclasses.replace(wall_ahead.frames[0], name="rear", stamp_s=wall_ahead.stamp_s - 60.0)
    both = dataclasses.replace(wall_ahead, frames=(*wall_ahead.frames, old))
    refusal = Guard(base).check_observation(both, wall_ahead.stamp_s)
    assert refusal is not None
    assert refusal.code is Code.STALE_OBSERVATION


def test_a_goal_too_far_is_refused(base: MobileBase, wall_ahead: Observation) -> None:
    goal = NavigateTo(Pose.planar(13.0, 0.0, 0.0), np.zeros(3))
    refusal = Guard(base).check_goal(goal, wall_ahead, Memory())
    assert refusal is not None
    assert refusal.code is Code.TOO_FAR
    assert "13.0 m" in refusal.message


@pytest.mark.parametrize(
    ("point", "code"),
    [
        ((0.6, 0.0, 0.1), None),
        ((0.6, 0.6, 0.1), Code.OUT_OF_WORKSPACE),
        ((0.6, 0.0, -0.1), Code.OUT_OF_WORKSPACE),
        ((0.95, 0.45, 0.1), Code.OUT_OF_REACH),  # inside the box, but 1.12 m from the shoulder
    ],
)
def test_the_arm_keeps_to_its_workspace_and_reach(
    arm: TableArm, wall_ahead: Observation, point: tuple[float, float, float], code: Code | None
) -> None:
    grasp = Grasp(Pose.from_rpy(math.pi, 0, 0, point), 0.05, 0.02)
    for goal in (grasp, Release(np.array(point))):
        refusal = Guard(arm).check_goal(goal, wall_ahead, Memory())
        assert (refusal.code if refusal else None) is code


def test_the_same_goal_from_the_same_place_is_refused_the_fourth_time(
    base: MobileBase, wall_ahead: Observation
) -> None:
    goal = NavigateTo(Pose.planar(1.0, 0.0, 0.0), np.array([1.5, 0.0, 0.5]))
    guard = Guard(base)
    assert guard.check_goal(goal, wall_ahead, tried(goal, 2)) is None
    refusal = guard.check_goal(goal, wall_ahead, tried(goal, 3))
    assert refusal is not None
    assert refusal.code is Code.REPETITION


def test_the_same_goal_from_elsewhere_is_allowed(base: MobileBase, wall_ahead: Observation) -> None:
    memory = tried(ExploreFrontier(), 5, pose=Pose.planar(2.0, 0.0, 0.0))
    assert Guard(base).check_goal(ExploreFrontier(), wall_ahead, memory) is None


def test_repeated_turns_are_allowed(base: MobileBase, wall_ahead: Observation) -> None:
    memory = tried(Rotate(1.0), 5, code=Code.OK, pose=Pose.planar(0.0, 0.0, 1.0))
    assert Guard(base).check_goal(Rotate(1.0), wall_ahead, memory) is None


def test_another_target_is_allowed(base: MobileBase, wall_ahead: Observation) -> None:
    memory = tried(NavigateTo(Pose.planar(1.0, 0.0, 0.0), np.array([1.5, 0.0, 0.5])), 3)
    goal = NavigateTo(Pose.planar(1.0, 0.0, 0.0), np.array([1.5, 1.0, 0.5]))
    assert Guard(base).check_goal(goal, wall_ahead, memory) is None


def test_finishing_is_never_a_repetition(base: MobileBase, wall_ahead: Observation) -> None:
    assert Guard(base).check_goal(Finish(), wall_ahead, tried(Finish(), 5)) is None


def test_a_series_of_failures_is_no_progress(base: MobileBase) -> None:
    guard = Guard(base)
    assert guard.check_memory(tried(Rotate(1.0), 7)) is None
    refusal = guard.check_memory(tried(Rotate(1.0), 8))
    assert refusal is not None
    assert refusal.code is Code.NO_PROGRESS
    one_success = tried(Rotate(1.0), 7).add(Attempt("x", Rotate(1.0), Pose.identity(), Outcome(Code.OK)))
    assert guard.check_memory(one_success) is None
