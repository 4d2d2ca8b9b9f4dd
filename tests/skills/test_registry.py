"""A skill is defined once; its schema, prompt line, goal and bounds follow from the definition."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, get_args

import pytest

from si_embodied import skills
from si_embodied.embodiment import TaskKind
from si_embodied.errors import ConfigError, PlanParseError
from si_embodied.plan import parse_plan, plan_schema, plan_text
from si_embodied.serving.values import DECISION, GOAL
from si_embodied.skills import Goal, Shown, Subgoal, goal_types, register_skill, skill_list, skills_of
from si_embodied.types import Code, Execute, PlanRecord

WAVE = '{"subgoals":[{"skill":"wave","times":3}],"done":false}'


@dataclass(frozen=True, slots=True)
class WaveArm(Goal):
    times: float

    @property
    def words(self) -> str:
        return f"wave {self.times:.0f} times"


class Wave(Subgoal):
    prompt = {"manipulation": "wave to the person at the table."}
    goals = (WaveArm,)
    skill: Literal["wave"] = "wave"
    times: int

    def ground(self, observation: object, grounder: object) -> WaveArm:
        return WaveArm(float(self.times))


@pytest.fixture
def wave() -> Iterator[type[Subgoal]]:
    yield register_skill(Wave)
    skills._SKILLS.remove(Wave)


def test_a_registered_skill_is_prompted_for_allowed_and_parsed(wave: type[Subgoal]) -> None:
    assert "wave: wave to the person at the table." in skill_list("manipulation")
    assert "wave" not in skill_list("navigation")
    assert "wave" in str(plan_schema("manipulation", 1))
    plan = parse_plan(WAVE, "manipulation", 1)
    assert plan.subgoals == (Wave(times=3),)
    assert plan_text(plan) == WAVE
    with pytest.raises(PlanParseError, match="wave"):
        parse_plan(WAVE, "navigation", 1)


def test_a_registered_goal_can_be_sent_and_recorded(wave: type[Subgoal]) -> None:
    pytest.importorskip("msgpack")
    plan = parse_plan(WAVE, "manipulation", 1)
    record = PlanRecord(0.0, "manip/v1", "m", "k", "d", (WAVE,), 1, 1, {}, Code.OK, "")
    decision = Execute((WaveArm(3.0),), plan.subgoals, plan, record)
    back = DECISION.decode(DECISION.encode(decision), "decision")
    assert isinstance(back, Execute)
    assert (back.goals, back.subgoals, back.plan) == (decision.goals, decision.subgoals, decision.plan)


def test_a_duplicate_name_is_rejected(wave: type[Subgoal]) -> None:
    with pytest.raises(ConfigError, match="registered already"):
        register_skill(Wave)


def test_unregistering_leaves_no_trace() -> None:
    with pytest.raises(PlanParseError):
        parse_plan(WAVE, "manipulation", 1)
    assert WaveArm not in goal_types()


@pytest.mark.parametrize("kind", get_args(TaskKind))
def test_every_skill_of_a_kind_of_task_is_in_its_schema_and_its_prompt(kind: TaskKind) -> None:
    shown = get_args(Shown)
    schema, lines = str(plan_schema(kind, 1, shown=shown)), skill_list(kind, shown)
    for skill in skills_of(kind):
        name = skill.model_fields["skill"].default
        assert f"'const': '{name}'" in schema
        assert name in lines


def test_every_goal_has_words_and_can_be_sent() -> None:
    pytest.importorskip("msgpack")
    assert len(goal_types()) == 12
    for goal in (skills.Rotate(1.0), skills.Drive(0.5), skills.ExploreFrontier(), skills.Finish(), skills.GoHome()):
        assert goal.words
        assert GOAL.decode(GOAL.encode(goal), "goal") == goal
