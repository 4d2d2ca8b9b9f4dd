"""Why an episode failed, judged from hand-made records: what each rule decides, and what it leaves alone."""

from __future__ import annotations

import dataclasses

import pytest

from si_embodied.evaluation.episode import EpisodeResult, GoalEntry, PlanEntry
from si_embodied.evaluation.failures import FAILURE_KINDS, failure, failure_counts
from si_embodied.types import Code, PlanRecord

GOTO = '{"subgoals":[{"skill":"goto","object":"red chair","view":0,"point":[500,500]}],"done":false}'
EXPLORE = '{"subgoals":[{"skill":"explore"}],"done":false}'
DONE = '{"subgoals":[],"done":true}'
STOP = '{"subgoals":[{"skill":"stop"}],"done":false}'


def plan(text: str = GOTO, code: Code = Code.OK, pointed_at=None, message: str = "") -> PlanEntry:
    record = PlanRecord(0.0, "nav/v2", "m", "sdpa", "float32", (text,), 9, 5, {"total": 0.1}, code, message)
    return PlanEntry(record, code is Code.OK, text, pointed_at)


def goal(code: Code, words: str = "goto red chair") -> GoalEntry:
    return GoalEntry(0, words, code, "")


def episode(*plans: PlanEntry, goals=(), **changes) -> EpisodeResult:
    made = EpisodeResult(0, "objectnav", "find it", False, 100, "truncated", 9.0, 9.0, {}, plans, tuple(goals))
    return dataclasses.replace(made, **changes)


def kind(*plans: PlanEntry, **changes) -> str:
    found = failure(episode(*plans, **changes))
    assert found is not None
    assert found.kind in FAILURE_KINDS
    assert found.reason
    return found.kind


def test_a_success_and_a_lost_episode_are_no_failures() -> None:
    assert failure(episode(plan(), success=True)) is None
    assert failure(episode(ended="lost")) is None


def test_a_last_plan_at_another_object_is_a_wrong_object_even_if_the_target_was_never_seen() -> None:
    assert kind(plan(pointed_at="other")) == "wrong object"
    assert kind(plan(pointed_at="other"), plan(DONE), target_seen=False, own_end=Code.OK) == "wrong object"
    assert kind(plan(pointed_at="other"), plan(STOP), own_end=Code.OK) == "wrong object"


def test_an_earlier_plan_at_another_object_is_not_the_reason() -> None:
    assert kind(plan(pointed_at="other"), plan(EXPLORE)) == "time"


def test_a_refused_plan_at_another_object_did_not_bring_the_robot_there() -> None:
    assert kind(plan(code=Code.TOO_FAR, pointed_at="other")) == "unreachable"


def test_a_target_that_never_came_into_view_was_not_seen() -> None:
    assert kind(plan(EXPLORE), target_seen=False) == "not seen"
    assert kind(target_seen=False) == "not seen"  # of a policy that does not plan
    assert kind(plan(EXPLORE), target_seen=True) == "time"
    assert kind(plan(EXPLORE), target_seen=None) == "time"


def test_a_last_plan_at_no_object_is_badly_grounded() -> None:
    assert kind(plan(pointed_at="nothing"), target_seen=True) == "bad grounding"
    assert kind(plan(pointed_at="target"), target_seen=True) == "time"


@pytest.mark.parametrize("code", [Code.DEPTH_INVALID, Code.DEPTH_AMBIGUOUS, Code.NO_STANDOFF, Code.NO_GRASP])
def test_a_hold_without_a_usable_place_at_the_pixel_is_bad_grounding(code: Code) -> None:
    assert kind(plan(code=code), own_end=code) == "bad grounding"


@pytest.mark.parametrize("code", [Code.UNREACHABLE, Code.OFF_MAP, Code.OUT_OF_REACH, Code.NO_STANDOFF])
def test_a_last_goal_without_a_way_is_unreachable(code: Code) -> None:
    assert kind(plan(pointed_at="target"), goals=[goal(code)]) == "unreachable"


def test_only_the_last_goal_counts() -> None:
    assert kind(plan(), goals=[goal(Code.UNREACHABLE), goal(Code.OK)]) == "time"


def test_a_blocked_goal_or_constant_touching_is_a_collision() -> None:
    assert kind(plan(pointed_at="target"), goals=[goal(Code.BLOCKED)]) == "collision"
    assert kind(steps=100, metrics={"collisions": 25.0}) == "collision"
    assert kind(steps=100, metrics={"collisions": 24.0}) == "time"


def test_a_policy_that_ended_the_task_itself_gave_up() -> None:
    early = failure(
        episode(plan(), plan(DONE), ended="terminated", own_end=Code.OK, metrics={"distance_to_goal": 2.31})
    )
    assert early is not None
    assert (early.kind, "2.3 m from the goal" in early.reason) == ("gave up", True)
    assert kind(plan(code=Code.UNSURE), own_end=Code.UNSURE, own_end_message="too many holds") == "gave up"
    assert kind(ended="terminated") == "gave up"  # a policy that does not plan, and stopped
    assert kind(plan(EXPLORE), plan(STOP), ended="terminated") == "gave up"  # a record that does not tell how it ended


def test_an_episode_out_of_steps_ran_out_of_time() -> None:
    assert kind(plan(EXPLORE)) == "time"
    assert kind(ended="step_limit") == "time"


def test_what_no_rule_explains_is_undetermined() -> None:
    assert kind(plan(EXPLORE), ended="terminated") == "undetermined"


def test_kinds_are_counted_over_the_episodes_that_failed() -> None:
    episodes = [episode(), episode(success=True), episode(target_seen=False), episode(ended="step_limit")]
    assert failure_counts(episodes) == {"time": 2, "not seen": 1}
