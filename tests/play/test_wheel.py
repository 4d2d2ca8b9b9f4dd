"""A person in the model's place: their plans take the way of every plan."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from si_embodied import Code, Execute, Hold, Observation, Task
from si_embodied.backends import ScriptedBackend
from si_embodied.config import PlannerConfig, Prompts
from si_embodied.embodiment import BaseAction, MobileBase
from si_embodied.plan import Plan
from si_embodied.planner import Planner
from si_embodied.play.wheel import PERSON, Wheel
from si_embodied.policies.planner_policy import SpatialPlannerPolicy
from si_embodied.skills import Forward, Goto, Turn

STOP = '{"subgoals":[],"done":true}'


def seated(base: MobileBase, task: Task, prompt: str = "nav/v2") -> tuple[SpatialPlannerPolicy, Wheel]:
    wheel = Wheel(ScriptedBackend([STOP] * 9))
    planner = Planner(wheel, base, PlannerConfig(prompts=Prompts(navigation=prompt)))
    policy = SpatialPlannerPolicy(planner, ready=wheel.ready)
    policy.reset(task)
    return policy, wheel


def plan(*subgoals: object) -> Plan:
    return Plan(subgoals=subgoals, done=False)  # type: ignore[arg-type]


def test_by_hand_the_planner_waits_for_the_person_and_then_does_what_they_say(
    base: MobileBase, wall_ahead: Observation, find_chair: Task
) -> None:
    policy, wheel = seated(base, find_chair)
    wheel.by_hand = True
    assert policy.act(wall_ahead) == BaseAction.WAIT
    assert wheel.waiting
    assert policy.decisions == []
    wheel.give(plan(Turn(degrees=15)))
    assert policy.act(wall_ahead) == BaseAction.TURN_LEFT
    assert not wheel.waiting
    (decision,) = policy.decisions
    assert isinstance(decision, Execute)
    assert (decision.record.model, decision.record.raw_text) == (
        PERSON, ('{"subgoals":[{"skill":"turn","degrees":15}],"done":false}',)
    )  # fmt: skip
    assert wheel.lesson is not None
    assert wheel.lesson.by_hand
    assert wheel.lesson.answer == decision.record.raw_text[0]


def test_the_model_plans_when_the_person_leaves_the_wheel(
    base: MobileBase, wall_ahead: Observation, find_chair: Task
) -> None:
    policy, wheel = seated(base, find_chair)
    wheel.by_hand = True
    policy.act(wall_ahead)
    wheel.by_hand = False
    assert policy.act(wall_ahead) == BaseAction.STOP
    assert policy.decisions[0].record.model == "scripted"


def test_the_guard_bounds_the_person_too(base: MobileBase, wall_ahead: Observation, find_chair: Task) -> None:
    policy, wheel = seated(base, find_chair)
    wheel.by_hand = True
    wheel.give(plan(Forward(centimetres=300)))  # the wall is 3 m ahead
    policy.act(wall_ahead)
    hold = policy.decisions[0]
    assert isinstance(hold, Hold)
    assert hold.code is Code.OBSTRUCTED


def test_a_view_gets_the_number_that_the_prompt_gives_it(
    base: MobileBase, wall_ahead: Observation, find_chair: Task
) -> None:
    goto = Goto(object="red chair", view=0, point=(500, 500))
    policy, wheel = seated(base, find_chair)  # nav/v2 counts Image-1, Image-2, …
    wheel.by_hand = True
    wheel.give(plan(goto))
    policy.act(wall_ahead)
    assert isinstance(policy.decisions[0], Execute)
    assert policy.decisions[0].subgoals == (goto,)
    assert '"view":1' in policy.decisions[0].record.raw_text[0]


def test_a_view_that_the_model_is_not_shown_cannot_be_pointed_at(
    base: MobileBase, wall_ahead: Observation, find_chair: Task
) -> None:
    side = dataclasses.replace(wall_ahead.frames[0], name="side", rgb=np.full((100, 100, 3), 9, np.uint8))
    both = dataclasses.replace(wall_ahead, frames=(*wall_ahead.frames, side))
    policy, wheel = seated(base, find_chair, "nav/nano2")  # shows the first camera alone
    wheel.by_hand = True
    wheel.give(plan(Goto(object="red chair", view=1, point=(500, 500))))
    policy.act(both)
    hold = policy.decisions[0]
    assert isinstance(hold, Hold)
    assert "it shows: head" in hold.message
    assert wheel.lesson is None


def test_nothing_that_was_given_is_left_for_the_next_episode(
    base: MobileBase, wall_ahead: Observation, find_chair: Task
) -> None:
    _, wheel = seated(base, find_chair)
    wheel.by_hand = True
    wheel.give(plan(Turn(degrees=15)))
    wheel.release()
    assert not wheel.ready()


@pytest.mark.parametrize("by_hand", [False, True])
def test_records_name_whose_plan_it_is(by_hand: bool) -> None:
    wheel = Wheel(ScriptedBackend([STOP]))
    wheel.by_hand = by_hand
    assert wheel.info.model == (PERSON if by_hand else "scripted")
