"""Going round in circles: the guard notices, the memory tells the model, and the task ends with NO_PROGRESS."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Callable, Iterable

import pytest

from si_embodied import Code, Hold, Observation, Outcome, Pose, Task
from si_embodied.backends import ScriptedBackend
from si_embodied.config import PlannerConfig
from si_embodied.embodiment import MobileBase, TableArm
from si_embodied.memory import Memory
from si_embodied.planner import Planner
from si_embodied.skills import Rotate
from si_embodied.task import TaskProgress
from si_embodied.types import Execute

GOTO = '{"subgoals":[{"skill":"goto","object":"chair","view":0,"point":[500,500]}],"done":false}'
EXPLORE = '{"subgoals":[{"skill":"explore"}],"done":false}'
HOME = '{"subgoals":[{"skill":"home"}],"done":false}'
LOOK = '{{"subgoals":[{{"skill":"look","direction":"{}"}}],"done":false}}'
TURN = '{{"subgoals":[{{"skill":"turn","degrees":{}}}],"done":false}}'

Place = Callable[[int, float], Pose]
STILL: Place = lambda _, __: Pose.identity()  # noqa: E731
TURNING: Place = lambda _, yaw: Pose.planar(0.0, 0.0, yaw)  # noqa: E731
DRIVING: Place = lambda number, yaw: Pose.planar(0.5 * number, 0.0, yaw)  # noqa: E731


def run(
    planner: Planner, wall: Observation, answers: Iterable[str], place: Place, limit: int, code: Code = Code.OK
) -> TaskProgress:
    """Drive the task loop; a rotation turns the robot, and each executed goal ends with `code`."""
    progress = TaskProgress(Task("find it", planner.embodiment.kind), Memory(planner.config.memory_entries))
    script, yaw = iter(answers), 0.0
    planner.backend = ScriptedBackend(lambda _: next(script))
    while progress.end is None and progress.plans < limit:
        seen = dataclasses.replace(wall, T_map_base=place(progress.subgoals, yaw))
        decision = planner.plan(progress.task, seen, progress.memory)
        progress.decided(decision, seen)
        if isinstance(decision, Execute):
            step = progress.next_step(seen.T_map_base)
            while step is not None:
                yaw += step.goal.angle_rad if isinstance(step.goal, Rotate) else 0.0
                progress.finished(Outcome(code))
                step = progress.next_step(place(progress.subgoals, yaw))
    return progress


@pytest.mark.parametrize(
    ("cycle", "place"),
    [
        ([GOTO], STILL),
        ([EXPLORE], STILL),
        ([TURN.format(0)], STILL),
        ([GOTO, EXPLORE], STILL),
        ([TURN.format(90), TURN.format(-90)], TURNING),
        ([TURN.format(90)], TURNING),
        ([LOOK.format("up"), LOOK.format("down")], STILL),
        ([GOTO, GOTO, GOTO, EXPLORE], STILL),
        ([TURN.format(30), TURN.format(-30), EXPLORE], TURNING),
    ],
)
@pytest.mark.parametrize("code", [Code.OK, Code.SKILL_FAILED])
@pytest.mark.promise(code="NO_PROGRESS")
def test_a_cycle_without_movement_ends_with_no_progress(
    base: MobileBase, wall_ahead: Observation, cycle: list[str], place: Place, code: Code
) -> None:
    progress = run(Planner(ScriptedBackend([]), base), wall_ahead, itertools.cycle(cycle), place, 100, code)
    assert progress.end is not None
    assert progress.end.code is Code.NO_PROGRESS
    assert progress.plans <= 40
    if code is Code.OK:
        assert "failed (repetition)" in progress.memory.describe()


def test_an_arm_that_repeats_itself_ends_too(arm: TableArm, wall_ahead: Observation) -> None:
    progress = run(Planner(ScriptedBackend([]), arm), wall_ahead, itertools.cycle([HOME]), STILL, 100)
    assert progress.end is not None
    assert progress.end.code is Code.NO_PROGRESS


def test_the_window_may_be_longer_than_the_memory(base: MobileBase, wall_ahead: Observation) -> None:
    planner = Planner(ScriptedBackend([]), base, PlannerConfig(memory_entries=6))
    cycle = itertools.cycle([TURN.format(90), TURN.format(-90)])
    progress = run(planner, wall_ahead, cycle, TURNING, 100)
    assert progress.end is not None
    assert progress.end.code is Code.NO_PROGRESS


def test_a_robot_that_gets_somewhere_may_repeat_its_answers(base: MobileBase, wall_ahead: Observation) -> None:
    progress = run(Planner(ScriptedBackend([]), base), wall_ahead, itertools.cycle([EXPLORE]), DRIVING, 100)
    assert progress.end is None
    assert progress.holds == 0


def test_one_look_around_in_small_turns_is_allowed(base: MobileBase, wall_ahead: Observation) -> None:
    answers = [TURN.format(30)] * 12
    progress = run(Planner(ScriptedBackend([]), base), wall_ahead, answers, TURNING, 12)
    assert progress.holds == 0
    assert math.isclose(progress.memory.attempts[-1].T_map_base.yaw, math.radians(-30), abs_tol=1e-6)


def test_after_a_refusal_another_goal_is_allowed(base: MobileBase, wall_ahead: Observation) -> None:
    answers = [*([TURN.format(90), TURN.format(-90)] * 6), TURN.format(90), EXPLORE]
    progress = run(Planner(ScriptedBackend([]), base), wall_ahead, answers, TURNING, 14)
    lines = progress.memory.describe().splitlines()
    assert [line.split(". ")[1] for line in lines[-2:]] == ["plan: failed (repetition)", "explore: done"]


def test_the_reason_is_in_the_record(base: MobileBase, wall_ahead: Observation, find_chair: Task) -> None:
    progress = run(
        Planner(ScriptedBackend([]), base),
        wall_ahead,
        itertools.cycle([TURN.format(90), TURN.format(-90)]),
        TURNING,
        12,
    )
    planner = Planner(ScriptedBackend([TURN.format(90)]), base)
    decision = planner.plan(find_chair, wall_ahead, progress.memory)
    assert isinstance(decision, Hold)
    assert decision.code is Code.REPETITION
    assert "round in circles" in decision.message
