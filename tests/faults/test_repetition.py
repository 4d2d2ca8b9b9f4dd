"""Going round in circles: the guard notices, the memory tells the model, and the task ends with NO_PROGRESS."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Callable, Iterable

import numpy as np
import pytest

from si_embodied import Code, Hold, Observation, Outcome, Pose, Task
from si_embodied.backends import ScriptedBackend
from si_embodied.config import MemoryConfig, PlannerConfig
from si_embodied.embodiment import MobileBase, TableArm
from si_embodied.guard import Guard
from si_embodied.memory import Attempt, Memory
from si_embodied.planner import Planner
from si_embodied.skills import Grasp, Release, Rotate
from si_embodied.task import TaskProgress
from si_embodied.types import Execute, NavigationMap

GOTO = '{"subgoals":[{"skill":"goto","object":"chair","view":1,"point":[500,500]}],"done":false}'
EXPLORE = '{"subgoals":[{"skill":"explore"}],"done":false}'
HOME = '{"subgoals":[{"skill":"home"}],"done":false}'
LOOK = '{{"subgoals":[{{"skill":"look","direction":"{}"}}],"done":false}}'
TURN = '{{"subgoals":[{{"skill":"turn","degrees":{}}}],"done":false}}'

Place = Callable[[int, float], Pose]
STILL: Place = lambda _, __: Pose.identity()  # noqa: E731
TURNING: Place = lambda _, yaw: Pose.planar(0.0, 0.0, yaw)  # noqa: E731
DRIVING: Place = lambda number, yaw: Pose.planar(0.5 * number, 0.0, yaw)  # noqa: E731


def commuting(places: int) -> Place:
    """Places 2 m apart, visited in turn, for ever."""
    return lambda number, yaw: Pose.planar(2.0 * (number % places), 0.0, yaw)


def grown(known_m2: float) -> NavigationMap:
    """A map on which this much floor is known before the wall, in cells of a hundredth of a square metre."""
    centres = np.arange(-15.0, 15.0, 0.1) + 0.05
    order = np.hypot(*np.meshgrid(centres - 2.0, centres)).ravel().argsort()
    lengths = np.full(order.shape, np.inf, np.float32)
    lengths[order[: round(known_m2 / 0.01)]] = 1.0
    return NavigationMap(0.1, (-15.0, -15.0), lengths.reshape(300, 300))


def run(
    planner: Planner, wall: Observation, answers: Iterable[str], place: Place, limit: int, code: Code = Code.OK,
    *, gain_m2: float | None = None,
) -> TaskProgress:  # fmt: skip
    """Drive the task loop; a rotation turns the robot, and each executed goal ends with `code`.

    With `gain_m2`, the robot has a map, which grows by this much with every plan.
    """
    kind = planner.embodiment.kind
    progress = TaskProgress(Task("find it", kind), Memory.for_planner(planner.config, kind))
    script, yaw = iter(answers), 0.0
    planner.backend = ScriptedBackend(lambda _: next(script))
    while progress.end is None and progress.plans < limit:
        grid = None if gain_m2 is None else grown(100.0 + progress.plans * gain_m2)
        seen = dataclasses.replace(wall, T_map_base=place(progress.subgoals, yaw), navigation_map=grid)
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
    assert progress.plans <= 20
    if code is Code.OK:
        assert "failed (repetition)" in progress.memory.describe()


def test_an_arm_that_repeats_itself_ends_too(arm: TableArm, wall_ahead: Observation) -> None:
    progress = run(Planner(ScriptedBackend([]), arm), wall_ahead, itertools.cycle([HOME]), STILL, 100)
    assert progress.end is not None
    assert progress.end.code is Code.NO_PROGRESS


def test_the_window_may_be_longer_than_the_memory(base: MobileBase, wall_ahead: Observation) -> None:
    planner = Planner(ScriptedBackend([]), base, PlannerConfig(memory=MemoryConfig(entries=6)))
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
    answers = [*([TURN.format(90), TURN.format(-90)] * 3), TURN.format(90), EXPLORE]
    progress = run(Planner(ScriptedBackend([]), base), wall_ahead, answers, TURNING, 8)
    refused, explored = progress.memory.describe().splitlines()[-2:]
    assert refused.startswith("7. plan: failed (repetition): going round in circles: the last 6 tries were of 2 goals")
    assert explored == "8. explore: done"


def test_the_reason_is_in_the_record(base: MobileBase, wall_ahead: Observation, find_chair: Task) -> None:
    progress = run(
        Planner(ScriptedBackend([]), base),
        wall_ahead,
        itertools.cycle([TURN.format(90), TURN.format(-90)]),
        TURNING,
        6,
    )
    planner = Planner(ScriptedBackend([TURN.format(90)]), base)
    decision = planner.plan(find_chair, wall_ahead, progress.memory)
    assert isinstance(decision, Hold)
    assert decision.code is Code.REPETITION
    assert "round in circles" in decision.message


# --- robots that drive, and their maps --------------------------------------------------------------------------------

ROOMS = [f'{{"subgoals":[{{"skill":"goto","object":"wall","view":1,"point":[{x},500]}}],"done":false}}'
         for x in range(100, 1000, 110)]  # fmt: skip
"""Nine points of the wall, 0.44 m apart."""


@pytest.mark.parametrize(
    ("cycle", "places", "rounds"),
    [
        ([GOTO, EXPLORE], 2, 3),
        ([GOTO, EXPLORE], 1, 3),
        (ROOMS[:5], 5, 3),
        (ROOMS[:8], 8, 3),
        (ROOMS[:8], 2, 3),
        ([EXPLORE], 4, 12),  # one goal from four places
    ],
)
@pytest.mark.parametrize("gain_m2", [None, 0.0, 0.01])
@pytest.mark.promise(code="NO_PROGRESS")
def test_a_circle_of_drives_ends_once_the_map_gains_nothing(
    base: MobileBase, wall_ahead: Observation, cycle: list[str], places: int, rounds: int, gain_m2: float | None
) -> None:
    """Each goal of the circle is allowed three times; then come three refusals, and two holds end the task."""
    planner = Planner(ScriptedBackend([]), base)
    endless = itertools.cycle(cycle)
    progress = run(planner, wall_ahead, endless, commuting(places), 400, gain_m2=gain_m2)
    assert progress.end is not None
    assert progress.end.code is Code.NO_PROGRESS
    assert progress.plans == rounds * len(cycle) + 5


@pytest.mark.parametrize("cycle", [[GOTO, EXPLORE], ROOMS[:5]])
def test_a_robot_whose_map_grows_may_repeat_its_goals(
    base: MobileBase, wall_ahead: Observation, cycle: list[str]
) -> None:
    planner = Planner(ScriptedBackend([]), base)
    progress = run(planner, wall_ahead, itertools.cycle(cycle), commuting(2), 60, gain_m2=0.5)
    assert progress.end is None
    assert progress.holds == 0


def test_a_map_that_loses_floor_and_finds_it_again_has_gained_nothing(
    base: MobileBase, wall_ahead: Observation
) -> None:
    """A door that opens and closes, or an obstacle that was noise, does not hide a circle."""
    planner, memory, areas = Planner(ScriptedBackend([EXPLORE] * 9), base), Memory(), itertools.cycle([30.0, 20.0])
    progress = TaskProgress(Task("find it", "navigation"), memory)
    codes = []
    for area in itertools.islice(areas, 4):
        seen = dataclasses.replace(wall_ahead, navigation_map=grown(area))
        decision = planner.plan(progress.task, seen, progress.memory)
        codes.append(decision.record.code)
        progress.decided(decision, seen)
        if progress.next_step() is not None:
            progress.finished(Outcome(Code.OK))
    assert codes == [Code.OK, Code.OK, Code.OK, Code.REPETITION]


def test_sorting_into_one_bin_is_no_circle(arm: TableArm, wall_ahead: Observation) -> None:
    """Every second goal of an arm is the same; the others are new."""
    guard, memory = Guard(arm), Memory()
    for number in range(12):
        pick = Grasp(Pose.from_rpy(math.pi, 0, 0, (0.4, 0.05 * number - 0.3, 0.1)), 0.05, 0.02)
        for goal in (pick, Release(np.array([0.6, 0.0, 0.1]))):
            assert guard.check_goal(goal, wall_ahead, memory) is None
            memory = memory.add(Attempt("x", goal, Pose.identity(), Outcome(Code.OK)))


@pytest.mark.parametrize(("degrees", "plans"), [(30, 36 + 5), (20, 54 + 5), (9, 120 + 5)])
@pytest.mark.promise(code="NO_PROGRESS")
def test_a_long_circle_ends_too(base: MobileBase, wall_ahead: Observation, degrees: int, plans: int) -> None:
    """Three rounds of turns; the refusals do not push the circle out of the memory."""
    planner = Planner(ScriptedBackend([]), base)
    progress = run(planner, wall_ahead, itertools.repeat(TURN.format(degrees)), TURNING, 400)
    assert progress.end is not None
    assert progress.end.code is Code.NO_PROGRESS
    assert progress.plans <= plans
