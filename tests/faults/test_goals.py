"""The guard bounds every kind of goal, also those of a planning server and of registered skills."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pytest

from si_embodied import Code, Execute, Hold, Intrinsics, Observation, Pose, Task
from si_embodied import skills as skill_registry
from si_embodied.backends import ScriptedBackend
from si_embodied.embodiment import MobileBase, TableArm
from si_embodied.errors import ConfigError, ObservationError
from si_embodied.guard import Guard
from si_embodied.memory import Memory
from si_embodied.planner import Planner
from si_embodied.skills import (
    Drive,
    ExploreFrontier,
    Finish,
    Goal,
    NavigateTo,
    PushAlong,
    Release,
    Rotate,
    Subgoal,
    TiltCamera,
    register_skill,
)
from si_embodied.types import NavigationMap

INF = np.float32(np.inf)


@dataclass(frozen=True, slots=True)
class Wiggle(Goal):
    """A registered goal without a check of its own."""

    times: float
    T_map_base: Pose | None = None
    points: tuple[float, ...] = ()

    @property
    def words(self) -> str:
        return "wiggle"

    @property
    def pose(self) -> Pose | None:
        return self.T_map_base

    @property
    def amount(self) -> float:
        return self.times


class WiggleSubgoal(Subgoal):
    """The skill of that goal."""

    prompt = {"navigation": "wiggle."}
    goals = (Wiggle,)
    skill: Literal["wiggle"] = "wiggle"

    def ground(self, observation: Observation, grounder: object) -> Wiggle:
        return Wiggle(1.0)


@pytest.fixture
def wiggling() -> Iterator[None]:
    register_skill(WiggleSubgoal)
    yield
    skill_registry._SKILLS.remove(WiggleSubgoal)


def code_of(
    goal: Goal, robot: MobileBase | TableArm, seen: Observation, earlier: tuple[Goal, ...] = ()
) -> Code:  # fmt: skip
    refusal = Guard(robot).check_goal(goal, seen, Memory(), earlier)
    return Code.OK if refusal is None else refusal.code


def wall_at(observation: Observation, depth_m: float) -> Observation:
    """A wall across the lower half of the view of a camera 1 m above the floor, which is seen below it."""
    v = np.arange(100)[:, None] - 49.5
    floor = np.where(v > 0, 50.0 / np.maximum(v, 1e-9), np.inf)  # distance at which each row meets the floor
    depth = np.broadcast_to(np.minimum(floor, depth_m), (100, 100)).astype(np.float32)
    return dataclasses.replace(
        observation, frames=(dataclasses.replace(observation.frames[0], depth_m=depth),)
    )  # fmt: skip


def room(observation: Observation) -> Observation:
    """A map of 4 m x 4 m around the robot, with a wall at x = 1 m."""
    length = np.zeros((40, 40), np.float32)
    length[:, 30:34] = INF
    return dataclasses.replace(observation, navigation_map=NavigationMap(0.1, (-2.0, -2.0), length))


@pytest.mark.parametrize(
    ("x", "y", "code"),
    [(0.5, 0.0, Code.OK), (-50.0, 0.0, Code.TOO_FAR), (1e6, 0.0, Code.TOO_FAR), (1.2, 0.0, Code.OFF_MAP),
     (-5.0, 0.0, Code.OFF_MAP), (0.0, 2.5, Code.OFF_MAP)],
)  # fmt: skip
def test_a_base_goes_only_where_its_map_is_free(
    base: MobileBase, wall_ahead: Observation, x: float, y: float, code: Code
) -> None:
    goal = NavigateTo(Pose.planar(x, y, 0.0), np.zeros(3))
    assert code_of(goal, base, room(wall_ahead)) is code


@pytest.mark.parametrize(
    ("distance_m", "wall_m", "code"),
    [(1.0, 3.0, Code.OK), (2.7, 3.0, Code.OK), (2.9, 3.0, Code.OBSTRUCTED), (0.5, 0.3, Code.OBSTRUCTED),
     (3.1, 9.0, Code.TOO_FAR), (0.0, 9.0, Code.GOAL_INVALID), (-0.5, 9.0, Code.GOAL_INVALID)],
)  # fmt: skip
def test_a_drive_ends_before_what_the_camera_sees(
    base: MobileBase, wall_ahead: Observation, distance_m: float, wall_m: float, code: Code
) -> None:
    """The base's radius is 0.2 m."""
    assert code_of(Drive(distance_m), base, wall_at(wall_ahead, wall_m)) is code


def test_a_drive_over_unseen_ground_is_refused(base: MobileBase, wall_ahead: Observation) -> None:
    blind = dataclasses.replace(wall_ahead, frames=(dataclasses.replace(wall_ahead.frames[0], depth_m=None),))
    for goal in (Drive(0.5), ExploreFrontier()):
        assert code_of(goal, base, blind) is Code.NO_DEPTH
        assert code_of(goal, base, room(blind)) is Code.NO_DEPTH, "the map is of before the depth died"
    seen = wall_at(wall_ahead, 3.0)
    assert code_of(Drive(1.0), base, seen, (Rotate(math.pi),)) is Code.OBSTRUCTED, "behind the camera"
    assert code_of(Drive(1.0), base, seen, (Rotate(math.pi), Rotate(-math.pi))) is Code.OK
    assert code_of(Drive(1.0), base, seen, (ExploreFrontier(),)) is Code.OBSTRUCTED, "from an unknown place"
    assert code_of(Drive(1.5), base, seen, (Drive(1.5),)) is Code.OBSTRUCTED, "each is short enough, both are not"


def test_a_drive_stays_in_the_known_free_space_of_the_map(base: MobileBase, wall_ahead: Observation) -> None:
    seen = room(wall_at(wall_ahead, 9.0))
    assert code_of(Drive(0.8), base, seen) is Code.OK
    assert code_of(Drive(1.2), base, seen) is Code.OBSTRUCTED, "the wall of the map, which the depth does not show"
    assert code_of(Drive(1.8), base, seen, (Rotate(math.pi),)) is Code.OK, "the map knows what is behind"
    assert code_of(Drive(2.5), base, seen, (Rotate(math.pi),)) is Code.OBSTRUCTED, "the map's edge"


@pytest.mark.parametrize(
    ("goal", "code"),
    [
        (Rotate(2 * math.pi), Code.OK),
        (Rotate(-6.5), Code.GOAL_INVALID),
        (Rotate(math.nan), Code.GOAL_INVALID),
        (Rotate(math.inf), Code.GOAL_INVALID),
        (Rotate(10**400), Code.GOAL_INVALID),  # type: ignore[arg-type]
        (TiltCamera(0.26), Code.OK),
        (TiltCamera(-0.9), Code.OK),
        (TiltCamera(2.0), Code.GOAL_INVALID),
        (TiltCamera(math.nan), Code.GOAL_INVALID),
        (Drive(math.nan), Code.GOAL_INVALID),
        (NavigateTo(Pose.identity(), np.array([math.nan, 0.0, 0.0])), Code.GOAL_INVALID),
        (Release(np.zeros(3)), Code.GOAL_INVALID),
        (Finish(), Code.OK),
    ],
)
def test_a_base_refuses_what_it_cannot_do(
    base: MobileBase, wall_ahead: Observation, goal: Goal, code: Code
) -> None:  # fmt: skip
    """The camera is level, and tilts from -1 to 1 rad."""
    assert code_of(goal, base, wall_ahead) is code


@pytest.mark.parametrize(
    ("goal", "code"),
    [
        (PushAlong(np.array([0.5, 0.0, 0.1]), np.array([0.7, 0.0, 0.1])), Code.OK),
        (PushAlong(np.array([0.5, -0.3, 0.1]), np.array([0.5, 0.3, 0.1])), Code.TOO_FAR),
        (PushAlong(np.array([0.5, math.inf, 0.1]), np.array([0.5, 0.3, 0.1])), Code.GOAL_INVALID),
        (Release(np.array([math.nan, 0.0, 0.1])), Code.GOAL_INVALID),
        (NavigateTo(Pose.identity(), np.zeros(3)), Code.GOAL_INVALID),
        (Drive(0.1), Code.GOAL_INVALID),
    ],
)
def test_an_arm_refuses_what_it_cannot_do(arm: TableArm, wall_ahead: Observation, goal: Goal, code: Code) -> None:
    assert code_of(goal, arm, wall_ahead) is code


@pytest.mark.usefixtures("wiggling")
@pytest.mark.parametrize(
    ("goal", "code"),
    [
        (Wiggle(3.0), Code.OK),
        (Wiggle(math.nan), Code.GOAL_INVALID),
        (Wiggle(100.0), Code.GOAL_INVALID),
        (Wiggle(1.0, points=(0.0, math.inf)), Code.GOAL_INVALID),
        (Wiggle(1.0, Pose.planar(13.0, 0.0, 0.0)), Code.TOO_FAR),
        (Wiggle(1.0, Pose.planar(1.2, 0.0, 0.0)), Code.OFF_MAP),
    ],
)
def test_a_registered_goal_is_bounded_without_a_check_of_its_own(
    base: MobileBase, wall_ahead: Observation, goal: Goal, code: Code
) -> None:
    assert code_of(goal, base, room(wall_ahead)) is code


def test_a_goal_that_nobody_registered_is_refused(base: MobileBase, wall_ahead: Observation) -> None:
    assert code_of(Wiggle(1.0), base, wall_ahead) is Code.GOAL_INVALID


@pytest.mark.parametrize("depth_m", [0.0, 1e-20, 1e-42, 0.003, -2.0, 3000.0, 1e30, math.inf, math.nan])
@pytest.mark.parametrize("skill", ["pick", "place"])
def test_a_depth_that_no_camera_measures_is_refused(
    arm: TableArm, table_from_above: Callable[..., Observation], stack_cubes: Task, depth_m: float, skill: str
) -> None:
    seen = table_from_above([])
    depth = np.full((201, 201), depth_m, np.float32)
    seen = dataclasses.replace(seen, frames=(dataclasses.replace(seen.frames[0], depth_m=depth),))
    subgoal = {"skill": skill, "object": "cube", "view": 1, "point": [500, 500]}
    answer = json.dumps({"subgoals": [subgoal], "done": False})
    decision = Planner(ScriptedBackend([answer]), arm).plan(stack_cubes, seen, Memory())
    assert isinstance(decision, Hold)
    assert decision.code is Code.DEPTH_INVALID


@pytest.mark.parametrize(
    "values",
    [(math.inf, 50.0, 0.0, 0.0), (1e-320, 50.0, 0.0, 0.0), (50.0, math.nan, 0.0, 0.0), (50.0, 50.0, 1e308, 0.0),
     (50.0, 50.0, 0.0, -math.inf)],
)  # fmt: skip
def test_intrinsics_that_no_camera_has_are_refused(values: tuple[float, float, float, float]) -> None:
    with pytest.raises(ConfigError, match="focal lengths"):
        Intrinsics(100, 100, *values)


@pytest.mark.parametrize("x", [math.nan, math.inf, 1e10, -1e308])
def test_a_pose_beyond_any_map_is_refused(x: float) -> None:
    with pytest.raises(ConfigError, match="must be finite"):
        Pose.planar(x, 0.0, 0.0)


@pytest.mark.parametrize(("resolution_m", "x"), [(0.0, 0.0), (math.nan, 0.0), (-1.0, 0.0), (0.1, math.inf)])
def test_a_map_without_a_grid_is_refused(resolution_m: float, x: float) -> None:
    with pytest.raises(ObservationError):
        NavigationMap(resolution_m, (x, 0.0), np.zeros((2, 2), np.float32))


@pytest.mark.parametrize("length", [np.inf, np.nan])
@pytest.mark.parametrize("size", [0, 20])
@pytest.mark.promise(code="NO_STANDOFF, OBSTRUCTED")
def test_on_a_map_without_a_free_cell_the_robot_holds(
    base: MobileBase, wall_ahead: Observation, find_chair: Task, length: float, size: int
) -> None:
    nowhere = NavigationMap(1e-9 if size == 0 else 0.5, (-5.0, -5.0), np.full((size, size), length, np.float32))
    seen = dataclasses.replace(wall_at(wall_ahead, 3.0), navigation_map=nowhere)
    for subgoal, code in (
        ({"skill": "goto", "object": "chair", "view": 1, "point": [500, 500]}, Code.NO_STANDOFF),
        ({"skill": "forward", "centimetres": 50}, Code.OBSTRUCTED),
    ):
        answer = json.dumps({"subgoals": [subgoal], "done": False})
        decision = Planner(ScriptedBackend([answer]), base).plan(find_chair, seen, Memory())
        assert isinstance(decision, Hold)
        assert decision.code is code


def test_the_goals_before_a_refused_drive_are_executed(
    base: MobileBase, wall_ahead: Observation, find_chair: Task
) -> None:
    answer = '{"subgoals":[{"skill":"turn","degrees":180},{"skill":"forward","centimetres":100}],"done":true}'
    decision = Planner(ScriptedBackend([answer]), base).plan(find_chair, wall_at(wall_ahead, 3.0), Memory())
    assert isinstance(decision, Execute)
    assert decision.goals == (Rotate(math.pi),), "neither the drive nor the end of the task"


@pytest.mark.parametrize(
    ("goal", "stamp_s", "code"),
    [
        (NavigateTo(Pose.planar(1.0, 0.0, 0.0), np.zeros(3)), 10.0, Code.OK),
        (NavigateTo(Pose.planar(1e6, 0.0, 0.0), np.zeros(3)), 10.0, Code.TOO_FAR),
        (NavigateTo(Pose.planar(-50.0, 0.0, 0.0), np.zeros(3)), 10.0, Code.TOO_FAR),
        (Drive(2.9), 10.0, Code.OBSTRUCTED),
        (Rotate(100.0), 10.0, Code.GOAL_INVALID),
        (Rotate(1.0), 9.0, Code.BACKEND_FAILED),  # the answer to another question
    ],
)
def test_goals_of_a_planning_server_are_bounded_by_the_guard_of_the_robot(
    base: MobileBase,
    wall_ahead: Observation,
    find_chair: Task,
    monkeypatch: pytest.MonkeyPatch,
    goal: Goal,
    stamp_s: float,
    code: Code,
) -> None:
    pytest.importorskip("msgpack")
    from si_embodied.serving.client import RemotePlanner

    answered = Planner(ScriptedBackend(['{"subgoals":[{"skill":"explore"}],"done":false}']), base)
    decision = answered.plan(find_chair, wall_ahead, Memory())
    assert isinstance(decision, Execute)
    record = dataclasses.replace(decision.record, observation_stamp_s=stamp_s)
    reply = dataclasses.replace(decision, goals=(goal,), record=record)
    planner = RemotePlanner("ws://127.0.0.1:1", base)

    async def exchange(*_: object) -> Execute:
        return reply

    monkeypatch.setattr(planner, "_exchange", exchange)
    assert planner.plan(find_chair, wall_at(wall_ahead, 3.0), Memory()).record.code is code
    monkeypatch.setattr(planner, "_exchange", lambda *_: 1 / 0)
    assert planner.plan(find_chair, wall_ahead, Memory()).record.code is Code.INTERNAL_ERROR
    planner.close()
