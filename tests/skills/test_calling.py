"""A subgoal becomes the entry of the robot's skill list that its pixel and words refer to, or is refused."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from si_embodied import Code, Observation
from si_embodied.embodiment import SkillRobot
from si_embodied.grounding import Grounder
from si_embodied.guard import Guard
from si_embodied.memory import Memory
from si_embodied.skills import CallSkill, Close, Explore, ExploreFrontier, Goto, Navigate, Open, Pick, Place, Subgoal
from si_embodied.types import Refusal, SkillOption, SkillState

SOFA, FRIDGE = np.array([[2.5, -2.0], [3.5, -1.0]]), np.array([[2.8, -0.3], [3.4, 0.3]])
OPTIONS = (
    SkillOption("navigate", "green sofa", SOFA),
    SkillOption("navigate", "white fridge", FRIDGE),
    SkillOption("pick", "red mug", None),
    SkillOption("place", "green sofa", SOFA),
    SkillOption("place", "white fridge", FRIDGE),
    SkillOption("open", "white fridge", FRIDGE),
    SkillOption("close", "white fridge", FRIDGE),
)
ROBOT = SkillRobot(("head",), "skill", 2.9, 5.0)
AT_FRIDGE, AT_SOFA, AT_NOTHING = (500, 500), (750, 500), (250, 500)
"""Of the wall in 3 m (f = 50 of 100 pixels): (3, 0), (3, -1.5) and (3, 1.5) in the map."""


@pytest.fixture
def kitchen(wall_ahead: Observation) -> Observation:
    """A wall at 3 m, with a sofa and a fridge that a skill robot knows."""
    return dataclasses.replace(wall_ahead, skills=SkillState(OPTIONS, "the task begins", True, "nothing"))


def ground(subgoal: Subgoal, observation: Observation) -> CallSkill | Refusal:
    goal = subgoal.ground(observation, Grounder(ROBOT))
    assert isinstance(goal, CallSkill | Refusal)
    return goal


@pytest.mark.parametrize(
    ("subgoal", "text"),
    [
        (Goto(object="red mug", view=0, point=AT_SOFA), "navigate to the green sofa"),
        (Goto(object="green sofa", view=0, point=AT_SOFA), "navigate to the green sofa"),
        (Navigate(object="white fridge"), "navigate to the white fridge"),
        (Navigate(object="the white fridge"), "navigate to the white fridge"),
        (Pick(object="red mug", view=0, point=AT_SOFA), "pick up the red mug"),
        (Place(object="green sofa", view=0, point=AT_SOFA), "place at the green sofa"),
        (Place(object="couch", view=0, point=AT_SOFA), "place at the green sofa"),
        (Open(object="white fridge", view=0, point=AT_FRIDGE), "open the white fridge"),
        (Close(object="white fridge", view=0, point=AT_FRIDGE), "close the white fridge"),
    ],
)
def test_the_pixel_selects_the_place_and_the_words_the_object(
    kitchen: Observation, subgoal: Subgoal, text: str
) -> None:
    call = ground(subgoal, kitchen)
    assert isinstance(call, CallSkill)
    assert OPTIONS[call.number].text == text


def test_pick_is_executed_at_the_place_under_the_pixel(kitchen: Observation) -> None:
    call = ground(Pick(object="red mug", view=0, point=AT_SOFA), kitchen)
    assert isinstance(call, CallSkill)
    np.testing.assert_array_equal(call.area_m, SOFA)


@pytest.mark.parametrize(
    ("subgoal", "code", "words"),
    [
        (Goto(object="green sofa", view=0, point=AT_NOTHING), Code.NO_STANDOFF, "the robot knows no place"),
        (Pick(object="red mug", view=0, point=AT_NOTHING), Code.NO_GRASP, "the robot knows no place"),
        (Pick(object="blue mug", view=0, point=AT_SOFA), Code.PLAN_INVALID, "'blue mug'; it can pick: red mug"),
        (Navigate(object="brown table"), Code.PLAN_INVALID, "it can navigate: green sofa, white fridge"),
        (Open(object="green sofa", view=0, point=AT_SOFA), Code.PLAN_INVALID, "it can open: white fridge"),
        (Place(object="white fridge", view=0, point=AT_SOFA), Code.PLAN_INVALID, "the pixel shows 'green sofa'"),
    ],
)
def test_an_impossible_skill_is_refused(kitchen: Observation, subgoal: Subgoal, code: Code, words: str) -> None:
    refusal = ground(subgoal, kitchen)
    assert isinstance(refusal, Refusal)
    assert refusal.code is code
    assert words in refusal.message


def test_a_pixel_without_depth_is_refused(kitchen: Observation) -> None:
    blind = dataclasses.replace(kitchen.frames[0], depth_m=np.zeros((100, 100), np.float32))
    refusal = ground(
        Pick(object="red mug", view=0, point=AT_SOFA), dataclasses.replace(kitchen, frames=(blind,))
    )  # fmt: skip
    assert isinstance(refusal, Refusal)
    assert refusal.code is Code.DEPTH_INVALID


def test_exploring_needs_no_pixel(kitchen: Observation) -> None:
    assert Explore().ground(kitchen, Grounder(ROBOT)) == ExploreFrontier()


@pytest.mark.parametrize(
    "subgoal", [Navigate(object="green sofa"), Open(object="fridge", view=0, point=AT_FRIDGE)]
)  # fmt: skip
def test_a_robot_without_a_skill_list_refuses_these_skills(wall_ahead: Observation, subgoal: Subgoal) -> None:
    assert ground(subgoal, wall_ahead).code is Code.PLAN_INVALID  # type: ignore[union-attr]


# --- reach ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("reach_m", "code"), [(2.9, None), (2.7, Code.OUT_OF_REACH)])
def test_manipulation_out_of_reach_is_refused(kitchen: Observation, reach_m: float, code: Code | None) -> None:
    guard = Guard(SkillRobot(("head",), "skill", reach_m, 5.0))  # the fridge starts 2.8 m in front of the base
    opening, driving = (
        ground(subgoal, kitchen)
        for subgoal in (Open(object="white fridge", view=0, point=AT_FRIDGE), Navigate(object="white fridge"))
    )
    assert isinstance(opening, CallSkill)
    assert isinstance(driving, CallSkill)
    refusal = guard.check_goal(opening, kitchen, Memory())
    assert (None if refusal is None else refusal.code) == code
    assert guard.check_goal(driving, kitchen, Memory()) is None
