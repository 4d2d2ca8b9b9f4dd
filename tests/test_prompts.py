"""Prompt files are complete, versioned, and take instructions as plain text."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest

from si_embodied import Code, Hold, Observation, Outcome, Task
from si_embodied.backends import ScriptedBackend
from si_embodied.config import PlannerConfig, Prompts
from si_embodied.embodiment import MobileBase
from si_embodied.errors import ConfigError, ObservationError, UnknownNameError
from si_embodied.memory import Attempt, Memory
from si_embodied.plan import view_count
from si_embodied.planner import Planner
from si_embodied.prompts import load_prompt, prompt_versions
from si_embodied.prompts.template import parse_template
from si_embodied.types import SkillOption, SkillState

KINDS = {"nav": "navigation", "manip": "manipulation", "rearrange": "rearrangement"}
GOAL = np.full((30, 40, 3), 200, np.uint8)


@pytest.fixture
def telling(wall_ahead: Observation) -> Observation:
    """An observation with every optional field."""
    option = SkillOption("pick", "red mug", None)
    skills = SkillState((option,), "you are at the green sofa", True, "the blue can")
    return dataclasses.replace(wall_ahead, skills=skills, goal_image=GOAL)


@pytest.mark.parametrize("version", prompt_versions())
def test_every_version_renders_its_task_and_views(version: str, telling: Observation) -> None:
    prompt = load_prompt(version).render(Task("find it", KINDS[version.partition("/")[0]]), telling, Memory())
    assert prompt.version == version
    assert "Task: find it" in prompt.text
    assert prompt.images[-1] is telling.frames[0].rgb
    assert view_count(prompt.schema) == 1


def test_the_goal_image_comes_before_the_views_and_is_not_a_view(telling: Observation) -> None:
    two = dataclasses.replace(telling, frames=telling.frames * 2)
    prompt = load_prompt("nav/imagenav_v1").render(Task("go there", "navigation"), two, Memory())
    assert [image is GOAL for image in prompt.images] == [True, False, False]
    assert "Goal picture: <image>\nTask: go there" in prompt.text
    assert view_count(prompt.schema) == 2


def test_a_prompt_without_the_placeholder_shows_no_goal_image(telling: Observation) -> None:
    prompt = load_prompt("nav/v1").render(Task("go there", "navigation"), telling, Memory())
    assert len(prompt.images) == 1


def test_the_planner_holds_if_the_goal_image_is_missing(base: MobileBase, wall_ahead: Observation) -> None:
    planner = Planner(ScriptedBackend([]), base, PlannerConfig(prompts=Prompts(navigation="nav/imagenav_v1")))
    decision = planner.plan(Task("go there", "navigation"), wall_ahead, Memory())
    assert isinstance(decision, Hold)
    assert decision.code is Code.NO_IMAGE
    assert "goal image" in decision.message


def test_a_skill_robots_prompt_lists_its_skills_and_the_last_result(telling: Observation) -> None:
    text = load_prompt("rearrange/v1").render(Task("tidy up", "rearrangement"), telling, Memory()).text
    assert "The robot can:\npick up the red mug\n" in text
    assert "Last: you are at the green sofa\nIn the gripper: the blue can\n" in text


def test_an_answer_can_only_use_the_robots_names(telling: Observation) -> None:
    schema = load_prompt("rearrange/v1").render(Task("tidy up", "rearrangement"), telling, Memory()).schema
    text = json.dumps(schema)
    assert '"object": {"enum": ["red mug"]}' in text
    assert "navigate" not in text  # there is nowhere to go


def test_a_prompt_with_skills_needs_them_in_the_observation(wall_ahead: Observation) -> None:
    with pytest.raises(ObservationError, match="has none"):
        load_prompt("rearrange/v1").render(Task("tidy up", "rearrangement"), wall_ahead, Memory())


@pytest.mark.parametrize("version", ["nav/v1", "manip/v1"])
def test_views_have_captions_and_the_memory_is_shown(version: str, wall_ahead: Observation) -> None:
    kind = "manipulation" if version.startswith("manip") else "navigation"
    two = dataclasses.replace(wall_ahead, frames=wall_ahead.frames * 2)
    text = load_prompt(version).render(Task("find it", kind), two, Memory()).text
    assert "(nothing yet)" in text
    assert "View 0 (head camera): <image>" in text
    assert "View 1 (head camera): <image>" in text


@pytest.mark.parametrize("version", ["nav/nano", "manip/nano"])
def test_a_small_model_sees_only_the_first_view(version: str, wall_ahead: Observation) -> None:
    kind = "manipulation" if version.startswith("manip") else "navigation"
    two = dataclasses.replace(wall_ahead, frames=wall_ahead.frames * 2)
    prompt = load_prompt(version).render(Task("find it", kind), two, Memory())
    assert len(prompt.images) == 1
    assert '"view": {"maximum": 0' in json.dumps(prompt.schema)


def test_a_small_model_gets_the_last_outcome(wall_ahead: Observation) -> None:
    memory = Memory()
    for words, code in (("explore", Code.OK), ("goto red chair", Code.BLOCKED)):
        memory = memory.add(Attempt(words, None, wall_ahead.T_map_base, Outcome(code)))
    text = load_prompt("nav/nano").render(Task("find it", "navigation"), wall_ahead, memory).text
    assert "So far: goto red chair: failed (blocked)\n" in text
    assert "explore" not in text


def test_a_dollar_in_the_instruction_is_text(wall_ahead: Observation) -> None:
    task = Task("find the $memory $5 chair\nDone.", "navigation")
    assert "find the $memory $5 chair Done." in load_prompt("nav/v1").render(task, wall_ahead, Memory()).text


def test_asking_again_quotes_the_offence(wall_ahead: Observation) -> None:
    template = load_prompt("nav/v1")
    prompt = template.render(Task("find it", "navigation"), wall_ahead, Memory())
    again = template.ask_again(prompt, "done: Field required")
    assert again.text.startswith(prompt.text)
    assert "done: Field required" in again.text
    assert again.schema == prompt.schema


def test_an_unknown_version_suggests_the_closest() -> None:
    with pytest.raises(UnknownNameError, match=r"'nav/v2'.*Did you mean 'nav/v1'"):
        load_prompt("nav/v2")


@pytest.mark.parametrize(
    "text",
    [
        "# system\na\n# user\n$instruction $memory $views\n",
        "# system\na\n# user\n$instruction $views\n# repair\n$offence\n",
        "# system\na\n# user\n$instruction $first_view $views\n# repair\n$offence\n",
        "# system\na\n# user\n$instruction $memory $views $frame\n# repair\n$offence\n",
        "# system\na\n# user\n$instruction $memory $views $skills $skills\n# repair\n$offence\n",
        "# system\nfor 5 $\n# user\n$instruction $memory $views\n# repair\n$offence\n",
        "# system\na\n# user\n$instruction $memory $views ${a}\n# repair\n$offence\n",
        "# system\na\n# user\n$instruction $memory $$views\n# repair\n$offence\n",
    ],
)
def test_a_malformed_prompt_file_is_rejected(text: str) -> None:
    with pytest.raises(ConfigError, match="expected"):
        parse_template("x/v1", text)


def test_a_goal_image_after_the_views_is_rejected() -> None:
    """A plan's views are the last images of the prompt."""
    text = "# system\na\n# user\n$instruction $memory $views $goal_image\n# repair\n$offence\n"
    with pytest.raises(ConfigError, match="before the views"):
        parse_template("x/v1", text)
