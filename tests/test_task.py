"""The task loop: decisions, steps, outcomes, and the end of the task."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from si_embodied import Observation, Pose
from si_embodied.config import MemoryConfig
from si_embodied.memory import Memory
from si_embodied.plan import Plan
from si_embodied.skills import Drive, Finish, Forward, Pick, Rotate, Turn
from si_embodied.task import MOST_HOLDS, TaskProgress
from si_embodied.types import Code, Execute, Hold, Outcome, PlanRecord, SeenObject, Task

RECORD = PlanRecord(0.0, "nav/v1", "model", "none", "none", (), 0, 0, {}, Code.OK, "")
TURN_FORWARD = (Turn(degrees=90), Forward(centimetres=50))
HERE, THERE = Pose.planar(1.0, 0.0, 0.0), Pose.planar(1.0, 2.0, 1.0)


@pytest.fixture
def progress() -> TaskProgress:
    return TaskProgress(Task("find the red chair", "navigation"), Memory(12))


def execute(*, done: bool = False) -> Execute:
    """Turn, then drive."""
    goals = (Rotate(1.0), Drive(0.5), Finish()) if done else (Rotate(1.0), Drive(0.5))
    return Execute(goals, TURN_FORWARD, Plan(subgoals=TURN_FORWARD, done=done), RECORD)


def hold(code: Code = Code.DEPTH_INVALID, message: str = "no depth") -> Hold:
    return Hold(dataclasses.replace(RECORD, code=code, message=message))


def seen(wall_ahead: Observation) -> Observation:
    return dataclasses.replace(wall_ahead, T_map_base=HERE)


def test_goals_run_in_order_each_relative_to_its_own_start(progress: TaskProgress, wall_ahead: Observation) -> None:
    progress.decided(execute(), seen(wall_ahead))
    first = progress.next_step()
    assert first is not None
    assert (first.goal, first.words) == (Rotate(1.0), "turn 90")
    np.testing.assert_array_equal(first.T_map_base.translation, HERE.translation)
    progress.finished(Outcome(Code.OK))
    second = progress.next_step(THERE)
    assert second is not None
    np.testing.assert_array_equal(second.T_map_base.translation, THERE.translation)
    progress.finished(Outcome(Code.OK))
    assert progress.next_step(THERE) is None
    assert progress.end is None, "a new plan is due"
    assert progress.memory.describe() == "1. turn 90: done\n2. forward 50: done"
    assert (progress.plans, progress.subgoals, progress.failures) == (1, 2, 0)


def test_a_failed_goal_drops_the_rest_of_its_plan(progress: TaskProgress, wall_ahead: Observation) -> None:
    progress.decided(execute(done=True), seen(wall_ahead))
    assert progress.next_step() is not None
    progress.finished(Outcome(Code.BLOCKED, "a cat"))
    assert progress.next_step(HERE) is None
    assert progress.end is None, "the task is not done: its last goals were not executed"
    assert (progress.subgoals, progress.failures) == (0, 1)


@pytest.mark.parametrize("code", [Code.OK, Code.NO_GRASP])
def test_what_was_grasped_at_is_no_longer_known(code: Code, progress: TaskProgress, wall_ahead: Observation) -> None:
    """It is in the gripper, or was not there, or was pushed away."""
    for name in ("red cube", "blue cube"):
        progress.memory = progress.memory.pointed_at(name, np.zeros(3), 1.0, None)
    pick = Pick(object="red cube", view=0, point=(500, 500))
    progress.decided(Execute((Rotate(1.0),), (pick,), Plan(subgoals=(pick,), done=False), RECORD), seen(wall_ahead))
    assert progress.next_step() is not None
    progress.finished(Outcome(code))
    assert [thing.name for thing in progress.memory.objects] == ["blue cube"]


def test_done_ends_the_task_after_its_goals(progress: TaskProgress, wall_ahead: Observation) -> None:
    progress.decided(execute(done=True), seen(wall_ahead))
    for _ in range(2):
        assert progress.next_step(HERE) is not None
        progress.finished(Outcome(Code.OK))
    assert progress.next_step(HERE) is None
    assert progress.end == Outcome(Code.OK)


def test_consecutive_holds_end_the_task_and_a_plan_resets_the_count(
    progress: TaskProgress, wall_ahead: Observation
) -> None:
    for _ in range(MOST_HOLDS - 1):
        progress.decided(hold(), seen(wall_ahead))
    progress.decided(execute(), seen(wall_ahead))
    assert progress.next_step() is not None
    progress.finished(Outcome(Code.OK))
    assert progress.next_step(HERE) is not None
    progress.finished(Outcome(Code.OK))
    for _ in range(MOST_HOLDS):
        assert progress.end is None
        progress.decided(hold(), None)
    assert progress.end is not None
    assert progress.end.code is Code.DEPTH_INVALID
    assert f"({MOST_HOLDS}); the last reason: no depth" in progress.end.message
    assert progress.holds == 2 * MOST_HOLDS - 1


def test_a_refusal_is_remembered_with_its_reason(progress: TaskProgress, wall_ahead: Observation) -> None:
    progress.decided(hold(Code.NO_DEPTH), seen(wall_ahead))
    assert progress.memory.describe() == "1. plan: failed (no_depth)"
    assert progress.next_step() is None


def test_a_stopped_task_has_no_next_step(progress: TaskProgress, wall_ahead: Observation) -> None:
    progress.decided(execute(), seen(wall_ahead))
    assert progress.next_step() is not None
    progress.stop(Outcome(Code.EMERGENCY_STOP, "the stop was pressed"))
    assert progress.step is None
    assert progress.next_step(HERE) is None
    assert progress.end == Outcome(Code.EMERGENCY_STOP, "the stop was pressed")


def outage(took_s: float) -> Hold:
    record = dataclasses.replace(RECORD, code=Code.BACKEND_FAILED, message="gone", latency_s={"total": took_s})
    return Hold(record)


def test_a_failing_server_is_waited_out_with_growing_pauses(progress: TaskProgress, wall_ahead: Observation) -> None:
    """Ten failures in a row: neither `most_holds` nor the guard's `max_failures` counts them."""
    pauses = []
    for _ in range(10):
        progress.decided(outage(1.0), seen(wall_ahead))
        pauses.append(progress.pause_s)
    assert pauses == [0.25, 0.5, 1.0] + [2.0] * 7
    assert (progress.end, progress.holds, progress.memory.attempts) == (None, 10, ())
    progress.decided(execute(), seen(wall_ahead))
    assert progress.pause_s == 0.0
    assert progress.next_step() is not None


def test_a_server_that_stays_away_ends_the_task_after_most_outage_s(
    progress: TaskProgress, wall_ahead: Observation
) -> None:
    """Plans of 10 s with pauses of 0.25, 0.5, 1, 2 and 2 s: 55.75 s, and 65.75 s after the sixth plan."""
    for _ in range(5):
        progress.decided(outage(10.0), seen(wall_ahead))
    assert progress.end is None
    progress.decided(outage(10.0), seen(wall_ahead))
    assert progress.end == Outcome(Code.BACKEND_FAILED, "no plan for 66 s; the last reason: gone")


def test_a_plan_between_two_outages_restarts_the_time(progress: TaskProgress, wall_ahead: Observation) -> None:
    for _ in range(2):
        for _ in range(5):
            progress.decided(outage(10.0), seen(wall_ahead))
        progress.decided(execute(), seen(wall_ahead))
        for _ in range(2):
            assert progress.next_step() is not None
            progress.finished(Outcome(Code.OK))
    assert progress.end is None


def test_failures_of_the_server_do_not_excuse_refusals(progress: TaskProgress, wall_ahead: Observation) -> None:
    for _ in range(MOST_HOLDS):
        assert progress.end is None
        progress.decided(outage(1.0), seen(wall_ahead))
        progress.decided(hold(), seen(wall_ahead))
    assert progress.end is not None
    assert progress.end.code is Code.DEPTH_INVALID


# --- the goal picture -----------------------------------------------------------------------------------------------


@pytest.fixture
def sought(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Stamps of the observations in which the goal picture was looked for; it is found at (2, 0) in each."""
    stamps: list[float] = []

    def localised(observation: Observation, picture: object) -> SeenObject:
        stamps.append(observation.stamp_s)
        return SeenObject("goal", np.array([2.0, 0.0, 0.0]), observation.stamp_s, 0.9)

    monkeypatch.setattr("si_embodied.task.localised_goal", localised)
    return stamps


def pictured(wall_ahead: Observation, stamp_s: float, x: float) -> Observation:
    """A camera x metres farther on, and a goal picture."""
    (frame,) = wall_ahead.frames
    camera = Pose.planar(x, 0.0, 0.0) @ frame.T_map_camera
    moved = dataclasses.replace(frame, T_map_camera=camera, stamp_s=stamp_s)
    return dataclasses.replace(wall_ahead, stamp_s=stamp_s, frames=(moved,), goal_image=frame.rgb)


def test_a_goal_picture_is_looked_for_once_in_each_new_view(
    progress: TaskProgress, wall_ahead: Observation, sought: list[float]
) -> None:
    for stamp_s, x in ((0.0, 0.0), (1.0, 0.1), (2.0, 0.5), (3.0, 0.6)):
        progress.saw(pictured(wall_ahead, stamp_s, x))
    assert sought == [0.0, 2.0]
    assert progress.memory.goal is not None
    assert progress.memory.goal.sightings == 2


def test_a_goal_picture_is_looked_for_in_the_view_of_a_plan(
    progress: TaskProgress, wall_ahead: Observation, sought: list[float]
) -> None:
    progress.decided(execute(), pictured(wall_ahead, 0.0, 0.0))
    assert sought == [0.0]


def test_without_a_goal_picture_nothing_is_looked_for(
    progress: TaskProgress, wall_ahead: Observation, sought: list[float]
) -> None:
    progress.saw(wall_ahead)
    assert (sought, progress.memory.goal) == ([], None)


@pytest.mark.parametrize("config", [MemoryConfig(localise_goal=False), MemoryConfig(objects=0)])
def test_a_goal_picture_is_not_looked_for_if_that_is_off_or_the_prompt_could_not_name_the_goal(
    wall_ahead: Observation, sought: list[float], config: MemoryConfig
) -> None:
    progress = TaskProgress(Task("go there", "navigation"), Memory(config=config))
    progress.saw(pictured(wall_ahead, 0.0, 0.0))
    assert (sought, progress.memory.goal) == ([], None)
