"""The image's age is checked when planning starts, at delivery, and before each later goal of a plan."""

from __future__ import annotations

import dataclasses
import math
import time

import pytest

from si_embodied import Code, Execute, Hold, Observation, Outcome, Task
from si_embodied.backends import ScriptedBackend
from si_embodied.embodiment import BaseAction, MobileBase
from si_embodied.guard import Guard
from si_embodied.memory import Memory
from si_embodied.planner import Planner
from si_embodied.policies.planner_policy import SpatialPlannerPolicy
from si_embodied.task import TaskProgress
from si_embodied.worker import PlannerWorker

TURN_TWICE = '{"subgoals":[{"skill":"turn","degrees":90},{"skill":"turn","degrees":-90}],"done":true}'


def at(observation: Observation, stamp_s: float) -> Observation:
    frames = tuple(dataclasses.replace(frame, stamp_s=stamp_s) for frame in observation.frames)
    return dataclasses.replace(observation, frames=frames, stamp_s=stamp_s)


@pytest.mark.parametrize("now_s", [math.nan, math.inf, -math.inf, 12.0, -90.0])
def test_a_plan_is_not_made_at_a_time_that_does_not_fit_the_image(
    base: MobileBase, wall_ahead: Observation, find_chair: Task, now_s: float
) -> None:
    decision = Planner(ScriptedBackend([TURN_TWICE]), base).plan(find_chair, wall_ahead, Memory(), now_s=now_s)
    assert isinstance(decision, Hold)
    assert decision.code is Code.STALE_OBSERVATION


@pytest.mark.parametrize("stamp_s", [math.nan, math.inf, 1010.0])
def test_an_observation_stamped_differently_from_its_image_is_refused(
    base: MobileBase, wall_ahead: Observation, find_chair: Task, stamp_s: float
) -> None:
    wrong = dataclasses.replace(wall_ahead, stamp_s=stamp_s)
    decision = Planner(ScriptedBackend([TURN_TWICE]), base).plan(find_chair, wrong, Memory(), now_s=stamp_s)
    assert isinstance(decision, Hold)
    assert decision.code is Code.STALE_OBSERVATION
    assert math.isfinite(decision.record.observation_stamp_s)


@pytest.mark.parametrize("now_s", [25.0, -1000.0, math.nan])
def test_a_plan_delivered_late_or_after_the_clock_was_set_back_is_dropped(
    base: MobileBase, wall_ahead: Observation, find_chair: Task, now_s: float
) -> None:
    clock = [10.0]
    worker = PlannerWorker(Planner(ScriptedBackend([TURN_TWICE]), base), lambda: clock[0])
    worker.submit(find_chair, wall_ahead, Memory())
    end = time.monotonic() + 5
    while worker._answer is None and time.monotonic() < end:
        time.sleep(0.002)
    clock[0] = now_s
    decision = worker.poll()
    worker.close()
    assert isinstance(decision, Hold)
    assert decision.code is Code.STALE_PLAN


@pytest.mark.promise(code="STALE_PLAN")
def test_a_later_goal_of_an_old_plan_is_dropped_and_remembered(
    base: MobileBase, wall_ahead: Observation, find_chair: Task
) -> None:
    decision = Planner(ScriptedBackend([TURN_TWICE]), base).plan(find_chair, wall_ahead, Memory())
    assert isinstance(decision, Execute)
    progress, guard = TaskProgress(find_chair, Memory()), Guard(base)
    progress.decided(decision, wall_ahead)
    assert progress.stamp_s == wall_ahead.stamp_s == 10.0
    assert progress.next_step(stale=guard.check_plan_age(progress.stamp_s, 11.0)) is not None
    progress.finished(Outcome(Code.OK))
    assert progress.next_step(stale=guard.check_plan_age(progress.stamp_s, 22.0)) is None
    assert progress.end is None, "neither the old goal nor the old `done` counts: a new plan is due"
    assert progress.memory.describe() == "1. turn 90: done\n2. turn -90: failed (stale_plan)"


@pytest.mark.promise(recovers="with the next plan")
def test_the_policy_plans_anew_instead_of_beginning_an_old_goal(
    base: MobileBase, wall_ahead: Observation, find_chair: Task
) -> None:
    """Each action takes 6 s here, so the second turn would begin 12 s after the image; the limit is 10 s."""
    planner = Planner(ScriptedBackend([TURN_TWICE, '{"subgoals":[],"done":true}']), base)
    policy = SpatialPlannerPolicy(planner)
    policy.reset(find_chair)
    actions, yaw = [], 0.0
    for step in range(12):
        seen = at(wall_ahead, 10.0 + 6.0 * step)
        turned = dataclasses.replace(seen.T_map_base, rotation=type(seen.T_map_base).planar(0, 0, yaw).rotation)
        actions.append(policy.act(dataclasses.replace(seen, T_map_base=turned)))
        yaw += math.radians(15) * (actions[-1] == BaseAction.TURN_LEFT)
    assert BaseAction.TURN_RIGHT not in actions
    assert actions[6] == BaseAction.STOP, "the new plan, after six turns by 15 degrees"
