"""A robot of skills: one call per goal, the next unvisited place, and an unused number to hold still."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from si_embodied import Code, Observation, Outcome, Pose, Task
from si_embodied.backends import ScriptedBackend
from si_embodied.embodiment import SkillRobot
from si_embodied.errors import ConfigError, ObservationError
from si_embodied.planner import Planner
from si_embodied.policies.controllers import make_controller
from si_embodied.policies.planner_policy import SpatialPlannerPolicy
from si_embodied.skills import CallSkill, ExploreFrontier, GoHome
from si_embodied.types import SkillOption, SkillState

ROBOT = SkillRobot(("head",), "skill", reach_m=1.0, control_period_s=5.0)
NEAR, FAR = np.array([[1.0, 0.0], [2.0, 1.0]]), np.array([[5.0, 0.0], [6.0, 1.0]])
OPTIONS = (
    SkillOption("navigate", "brown desk", FAR),
    SkillOption("navigate", "green sofa", NEAR),
    SkillOption("pick", "red mug", None),
)
TIDY = Task("put the red mug on the green sofa", "rearrangement")


@pytest.fixture
def home(wall_ahead: Observation) -> Observation:
    """A place with a sofa nearby and a desk far away."""
    return dataclasses.replace(wall_ahead, skills=SkillState(OPTIONS, "the task begins", True, "nothing"))


def after(observation: Observation, feedback: str, *, succeeded: bool) -> Observation:
    return dataclasses.replace(observation, skills=SkillState(OPTIONS, feedback, succeeded, "nothing"))


def test_a_call_is_one_action_and_ends_as_the_robot_says(home: Observation) -> None:
    for succeeded, outcome in ((True, Outcome(Code.OK)), (False, Outcome(Code.SKILL_FAILED, "it is not near"))):
        skill = make_controller(ROBOT).skill(CallSkill(2, OPTIONS[2], NEAR))
        assert skill.step(home) == 2
        assert skill.step(after(home, "it is not near", succeeded=succeeded)) == outcome


def test_exploring_visits_every_place_once_the_nearest_first(home: Observation) -> None:
    body = make_controller(ROBOT)
    visited = []
    for _ in OPTIONS[:2]:
        skill = body.skill(ExploreFrontier())
        visited.append(skill.step(home))
        assert skill.step(home) == Outcome(Code.OK)
    assert visited == [1, 0]
    done = body.skill(ExploreFrontier()).step(home)
    assert isinstance(done, Outcome)
    assert done.code is Code.SKILL_FAILED
    assert body.skill(ExploreFrontier()).step(home) == 1  # starts over, for another object


def test_a_place_that_was_driven_to_is_not_explored(home: Observation) -> None:
    body = make_controller(ROBOT)
    body.skill(CallSkill(1, OPTIONS[1], NEAR))
    assert body.skill(ExploreFrontier()).step(home) == 0


def test_holding_still_is_the_first_number_without_a_skill(home: Observation) -> None:
    body = make_controller(ROBOT)
    assert body.wait(home) == body.finished(home) == len(OPTIONS)


def test_it_has_no_skill_for_an_arms_goal() -> None:
    with pytest.raises(ConfigError, match="GoHome"):
        make_controller(ROBOT).skill(GoHome())


def test_an_observation_without_skills_is_refused_by_what_it_lacks(wall_ahead: Observation) -> None:
    with pytest.raises(ObservationError, match="skill_areas"):
        make_controller(ROBOT).update(wall_ahead)


def test_the_planner_calls_skills_and_tells_the_next_prompt_how_they_went(home: Observation) -> None:
    answers = iter(
        [
            '{"subgoals":[{"skill":"navigate","object":"green sofa"}],"done":false}',
            '{"subgoals":[{"skill":"pick","object":"red mug","view":1,"point":[500,500]}],"done":false}',
            '{"subgoals":[{"skill":"explore"}],"done":false}',
        ]
    )
    asked: list[str] = []

    def answer(prompt):
        asked.append(prompt.text)
        return next(answers)

    policy = SpatialPlannerPolicy(Planner(ScriptedBackend(answer), ROBOT))
    policy.reset(TIDY)
    assert policy.act(home) == 1
    there = dataclasses.replace(after(home, "you are there", succeeded=True), T_map_base=Pose.planar(0.5, 0.5, 0.0))
    assert policy.act(there) == len(OPTIONS)  # the pixel shows a wall 3 m away, without furniture: the planner holds
    assert policy.act(there) == 0
    assert "1. navigate green sofa: done" in asked[1]
    assert "2. plan: failed (no_grasp)" in asked[2]


@pytest.mark.parametrize("latency", [1.5, "measured"])
def test_a_robot_of_skills_cannot_wait_for_the_planner(latency: float | str) -> None:
    with pytest.raises(ConfigError, match="latency 0"):
        SpatialPlannerPolicy(Planner(ScriptedBackend([]), ROBOT), latency=latency)  # type: ignore[arg-type]
