"""Memory: bounded, immutable, and described for the prompt."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest

from si_embodied import Code, Hold, NavigationMap, Observation, Outcome, Pose, Task
from si_embodied.backends import ScriptedBackend
from si_embodied.config import MemoryConfig, PlannerConfig, Prompts
from si_embodied.embodiment import MobileBase
from si_embodied.grounding import Grounder
from si_embodied.memory import Attempt, Memory
from si_embodied.planner import Planner
from si_embodied.skills import Navigate, NavigateTo
from si_embodied.types import Refusal, SeenObject


def attempt(words: str, code: Code = Code.OK) -> Attempt:
    return Attempt(words, None, Pose.identity(), Outcome(code))


def test_an_empty_memory_says_so() -> None:
    assert Memory().describe() == "(nothing yet)"


def test_attempts_are_listed_with_their_outcomes() -> None:
    memory = Memory().add(attempt("explore")).add(attempt("goto red chair", Code.UNREACHABLE))
    assert memory.describe() == "1. explore: done\n2. goto red chair: failed (unreachable)"


def test_the_oldest_attempt_is_dropped_and_numbering_continues() -> None:
    memory = Memory(limit=2, kept=2)
    for words in "abc":
        memory = memory.add(attempt(words))
    assert memory.describe() == "2. b: done\n3. c: done"


def test_more_attempts_are_kept_than_shown() -> None:
    memory = Memory(limit=2, kept=4)
    for words in "abcdef":
        memory = memory.add(attempt(words))
    assert memory.describe() == "5. e: done\n6. f: done"
    assert [each.description for each in memory.attempts] == ["c", "d", "e", "f"]


def test_a_refused_repetition_is_shown_with_its_reason() -> None:
    again = Attempt("plan", None, Pose.identity(), Outcome(Code.REPETITION, "the last 6 goals were the same 2"))
    assert Memory().add(again).describe() == "1. plan: failed (repetition): the last 6 goals were the same 2"


def test_a_memory_is_shortened_by_halves(wall_ahead: Observation) -> None:
    """The newest is kept longest; the last copy shows the latest attempt alone, and the original comes first."""
    (frame,) = wall_ahead.frames
    views = tuple(dataclasses.replace(frame, stamp_s=float(stamp)) for stamp in range(3))
    memory = Memory(limit=5, keyframes=views, before=views[2])
    for words in "abcde":
        memory = memory.add(attempt(words)).pointed_at(words, np.zeros(3), 0.0, None)
    copies = list(memory.shortened())
    assert copies[0] is memory
    shown = [(len(each.describe().splitlines()), len(each.keyframes), len(each.objects)) for each in copies]
    assert shown == [(5, 3, 5), (2, 1, 2), (1, 0, 1), (1, 0, 0)]
    assert [each.before is None for each in copies] == [False, False, False, True]
    assert copies[1].describe() == "4. d: done\n5. e: done"
    assert (copies[1].keyframes, [seen.name for seen in copies[1].objects]) == (views[2:], ["d", "e"])
    assert all(each.attempts == memory.attempts for each in copies), "the guard needs them"


def test_adding_does_not_change_the_original() -> None:
    memory = Memory()
    memory.add(attempt("explore"))
    assert memory.attempts == ()


def test_the_latest_attempt_is_shown_unnumbered() -> None:
    memory = Memory()
    assert memory.last() == "(nothing yet)"
    for code, words in ((Code.OK, "done"), (Code.BLOCKED, "failed (blocked)")):
        memory = memory.add(attempt("goto red chair", code))
        assert memory.last() == f"goto red chair: {words}"


def test_what_was_reached_is_listed_however_much_was_explored_since() -> None:
    there = NavigateTo(Pose.identity(), np.zeros(3))
    memory = Memory(limit=2).add(Attempt("goto red chair", there, Pose.identity(), Outcome(Code.OK)))
    memory = memory.add(Attempt("goto sofa", there, Pose.identity(), Outcome(Code.BLOCKED)))
    for _ in range(5):
        memory = memory.add(attempt("explore"))
    assert memory.achieved() == "goto red chair"
    assert "goto red chair" not in memory.describe()


# --- views ----------------------------------------------------------------------------------------------------------


def seen_from(observation: Observation, x: float, yaw: float, stamp_s: float) -> Observation:
    """The same image, from another place."""
    moved = Pose.planar(x, 0.0, yaw)
    (frame,) = observation.frames
    frame = dataclasses.replace(frame, stamp_s=stamp_s, T_map_camera=moved @ frame.T_map_camera)
    return Observation(stamp_s, (frame,), moved)


def around(observation: Observation, quarters: int, start_s: float = 0.0) -> list[Observation]:
    return [seen_from(observation, 0.0, k * math.pi / 2, start_s + k) for k in range(quarters)]


def test_a_view_is_remembered_if_it_shows_enough_new_ground(wall_ahead: Observation) -> None:
    memory = Memory()
    for observation in (*around(wall_ahead, 4), *around(wall_ahead, 4, start_s=4.0)):
        memory = memory.saw(observation)
    assert [view.stamp_s for view in memory.keyframes] == [0.0, 1.0, 2.0, 3.0]


def test_of_too_many_views_the_one_that_the_others_show_best_is_forgotten(wall_ahead: Observation) -> None:
    memory = Memory(config=MemoryConfig(keyframes=2, min_view_gain_m2=0.5))
    for index, (x, yaw) in enumerate(((0.0, 0.0), (0.6, 0.0), (0.0, math.pi))):
        memory = memory.saw(seen_from(wall_ahead, x, yaw, float(index)))
    assert len(memory.keyframes) == 2
    assert memory.keyframes[-1].stamp_s == 2.0


def test_a_view_of_a_known_object_is_kept_longer(wall_ahead: Observation) -> None:
    config = MemoryConfig(keyframes=2, min_view_gain_m2=2.0)
    first, second, third = (seen_from(wall_ahead, 0.0, yaw, yaw) for yaw in (0.0, 1.6, 3.1))
    for name, at_m in (("first", (2.5, 0.0, 0.5)), ("second", (0.0, 2.5, 0.5))):
        memory = Memory(config=config).saw(first).saw(second).pointed_at(name, np.array(at_m), 1.6, None)
        assert memory.saw(third).keyframes[0].stamp_s == {"first": 0.0, "second": 1.6}[name]


def test_a_clock_set_back_drops_the_views_from_before(wall_ahead: Observation) -> None:
    memory = Memory()
    for observation in (*around(wall_ahead, 3, start_s=50.0), *around(wall_ahead, 1, start_s=2.0)):
        memory = memory.saw(observation)
    assert [view.stamp_s for view in memory.keyframes] == [2.0]


def test_nothing_is_remembered_without_depth_or_if_it_is_turned_off(wall_ahead: Observation) -> None:
    (frame,) = wall_ahead.frames
    blind = dataclasses.replace(wall_ahead, frames=(dataclasses.replace(frame, depth_m=None),))
    assert Memory().saw(blind).keyframes == ()
    off = Memory(config=MemoryConfig(keyframes=0)).saw(wall_ahead).planned(wall_ahead)
    assert off.keyframes == ()
    assert off.before is None


def test_a_plan_sees_the_views_of_before_and_never_the_present_one_twice(wall_ahead: Observation) -> None:
    first, second, third = around(wall_ahead, 3)
    memory = Memory().saw(first).saw(second).planned(second)
    assert [view.stamp_s for view in memory.recall(second).keyframes] == [0.0]
    recalled = memory.recall(third)
    assert [view.stamp_s for view in recalled.keyframes] == [0.0, 1.0]
    assert recalled.views[0] is third.frames[0]


def test_the_view_of_the_last_plan_is_shown_also_if_it_added_nothing(wall_ahead: Observation) -> None:
    first, second = (dataclasses.replace(seen_from(wall_ahead, 0.0, 0.0, stamp)) for stamp in (1.0, 2.0))
    third = seen_from(wall_ahead, 0.0, 0.0, 3.0)
    memory = Memory().saw(first).saw(second).planned(second)
    assert [view.stamp_s for view in memory.recall(third).keyframes] == [1.0, 2.0]


@pytest.mark.parametrize(("version", "views", "objects"), [("nav/v1", 0, 0), ("nav/v2", 4, 16), ("", 4, 16)])
def test_only_what_the_prompt_shows_is_remembered(version: str, views: int, objects: int) -> None:
    config = Memory.for_planner(PlannerConfig(prompts=Prompts(navigation=version)), "navigation").config
    assert (config.keyframes, config.objects) == (views, objects)


# --- objects --------------------------------------------------------------------------------------------------------


def test_an_object_seen_twice_at_one_place_is_confirmed() -> None:
    memory = Memory()
    for stamp_s, x in ((1.0, 2.0), (2.0, 2.1), (3.0, 5.0)):
        memory = memory.pointed_at("red chair", np.array([x, 0.0, 0.5]), stamp_s, 0.9)
    assert [(seen.stamp_s, seen.confirmed) for seen in memory.objects] == [(2.0, True), (3.0, False)]


def test_the_objects_are_bounded_and_forgotten_when_they_are_moved() -> None:
    memory = Memory(config=MemoryConfig(objects=2))
    for index, name in enumerate(("red mug", "blue can", "green bowl")):
        memory = memory.pointed_at(name, np.array([float(index), 0.0, 0.0]), 1.0, None)
    assert [seen.name for seen in memory.objects] == ["blue can", "green bowl"]
    assert [seen.name for seen in memory.moved("blue can").objects] == ["green bowl"]


def test_the_next_task_knows_the_views_and_objects_and_not_the_attempts(wall_ahead: Observation) -> None:
    memory = Memory().saw(wall_ahead).planned(wall_ahead).add(attempt("explore"))
    memory = memory.pointed_at("red mug", np.zeros(3), 1.0, None).next_task()
    assert (len(memory.keyframes), len(memory.objects), memory.attempts, memory.before) == (1, 1, (), None)


# --- the goal picture -----------------------------------------------------------------------------------------------


def goal_at(x: float, agreement: float) -> SeenObject:
    return SeenObject("goal", np.array([x, 0.0, 0.0]), 1.0, agreement)


def test_a_localised_goal_is_a_point_goal_for_the_plan(wall_ahead: Observation) -> None:
    recalled = Memory().localised(goal_at(2.0, 0.9)).recall(wall_ahead)
    np.testing.assert_array_equal(recalled.places["goal"].position_m, [2.0, 0.0, 0.0])
    assert Memory().recall(wall_ahead).goal_point_m is None


def test_a_given_point_goal_is_not_replaced(wall_ahead: Observation) -> None:
    given = dataclasses.replace(wall_ahead, goal_point_m=np.array([7.0, 0.0, 0.0]))
    recalled = Memory().localised(goal_at(2.0, 0.9)).recall(given)
    np.testing.assert_array_equal(recalled.goal_point_m, [7.0, 0.0, 0.0])


@pytest.mark.parametrize("agreements", [(0.9, 0.95), (0.95, 0.9)])
def test_the_view_that_agrees_best_with_the_picture_tells_where_the_goal_is(agreements: tuple[float, float]) -> None:
    memory = Memory()
    for agreement in agreements:
        memory = memory.localised(goal_at(10 * agreement, agreement))
    assert memory.goal is not None
    assert (memory.goal.position_m[0], memory.goal.sightings) == (9.5, 2)


def test_a_goal_that_was_last_seen_long_ago_is_not_driven_to(wall_ahead: Observation, base: MobileBase) -> None:
    """Odometry drifts: where the picture was taken is known for as long as a view or an object."""
    memory = Memory().localised(goal_at(1.0, 0.95))
    seen_again = memory.localised(dataclasses.replace(goal_at(1.0, 0.9), stamp_s=990.0))
    later = dataclasses.replace(wall_ahead, stamp_s=1000.0)
    refusal = Navigate(object="goal").ground(memory.recall(later), Grounder(base))
    assert isinstance(refusal, Refusal)
    assert refusal.code is Code.STALE_OBSERVATION
    assert isinstance(Navigate(object="goal").ground(seen_again.recall(later), Grounder(base)), NavigateTo)
    given = dataclasses.replace(later, goal_point_m=np.array([1.0, 0.0, 0.0]))
    assert isinstance(Navigate(object="goal").ground(memory.recall(given), Grounder(base)), NavigateTo)


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("mapped", [False, True])
def test_a_point_goal_that_is_not_a_number_moves_nothing(
    wall_ahead: Observation, base: MobileBase, value: float, mapped: bool
) -> None:
    grid = NavigationMap(0.1, (-4.0, -4.0), np.zeros((80, 80), np.float32)) if mapped else None
    nowhere = dataclasses.replace(wall_ahead, goal_point_m=np.array([value, 0.0, 0.0]), navigation_map=grid)
    answer = '{"subgoals":[{"skill":"navigate","object":"goal"}],"done":false}'
    config = PlannerConfig(prompts=Prompts(navigation="nav/v2"))
    decision = Planner(ScriptedBackend([answer] * 2), base, config).plan(Task("go", "navigation"), nowhere, Memory())
    assert isinstance(decision, Hold)


def test_the_next_task_has_another_goal() -> None:
    assert Memory().localised(goal_at(2.0, 0.9)).next_task().goal is None
