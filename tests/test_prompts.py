"""Prompt files are complete, versioned, and take instructions as plain text."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest

from si_embodied import Code, Hold, Observation, Outcome, Pose, Task
from si_embodied.backends import ScriptedBackend
from si_embodied.config import PlannerConfig, Prompts
from si_embodied.embodiment import MobileBase, TableArm
from si_embodied.errors import ConfigError, ObservationError, UnknownNameError
from si_embodied.grounding import Grounder
from si_embodied.memory import Attempt, Memory
from si_embodied.plan import view_numbers
from si_embodied.planner import Planner
from si_embodied.prompts import load_prompt, prompt_versions
from si_embodied.prompts.template import parse_template
from si_embodied.skills import Finish, Goto, Navigate, NavigateTo, Pick, Place
from si_embodied.types import Execute, Prompt, Refusal, SeenObject, SkillOption, SkillState

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
    assert len(view_numbers(prompt.schema)) == 1


def test_the_goal_image_comes_before_the_views_and_is_not_a_view(telling: Observation) -> None:
    two = dataclasses.replace(telling, frames=telling.frames * 2)
    prompt = load_prompt("nav/imagenav_v1").render(Task("go there", "navigation"), two, Memory())
    assert [image is GOAL for image in prompt.images] == [True, False, False]
    assert "Goal picture: <image>\nTask: go there" in prompt.text
    assert len(view_numbers(prompt.schema)) == 2


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
    text = load_prompt("rearrange/v2").render(Task("tidy up", "rearrangement"), telling, Memory()).text
    assert "The robot can:\npick up the red mug\n" in text
    assert "Last: you are at the green sofa\nIn the gripper: the blue can\n" in text


def test_an_answer_can_only_use_the_robots_names(telling: Observation) -> None:
    schema = load_prompt("rearrange/v2").render(Task("tidy up", "rearrangement"), telling, Memory()).schema
    text = json.dumps(schema)
    assert '"object": {"enum": ["red mug"]}' in text
    assert "navigate" not in text  # there is nowhere to go


def test_a_prompt_with_skills_needs_them_in_the_observation(wall_ahead: Observation) -> None:
    with pytest.raises(ObservationError, match="has none"):
        load_prompt("rearrange/v2").render(Task("tidy up", "rearrangement"), wall_ahead, Memory())


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
    assert "find the $memory $5 chair Done." in load_prompt("nav/v2").render(task, wall_ahead, Memory()).text


def test_asking_again_quotes_the_offence(wall_ahead: Observation) -> None:
    template = load_prompt("nav/v2")
    prompt = template.render(Task("find it", "navigation"), wall_ahead, Memory())
    again = template.ask_again(prompt, "done: Field required")
    assert again.text.startswith(prompt.text)
    assert "done: Field required" in again.text
    assert again.schema == prompt.schema


def test_an_unknown_version_suggests_the_closest() -> None:
    with pytest.raises(UnknownNameError, match=r"'nav/v9'.*Did you mean 'nav/v"):
        load_prompt("nav/v9")


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
    with pytest.raises(ConfigError, match=r"goal_image first"):
        parse_template("x/v1", text)


# --- what is remembered ---------------------------------------------------------------------------------------------


@pytest.fixture
def remembering(telling: Observation) -> Observation:
    """Two earlier views, from 2 m behind and from here, looking left; a known object; a point to reach."""
    (frame,) = telling.frames
    rgb = np.full_like(frame.rgb, 200)
    behind = dataclasses.replace(frame, stamp_s=4.0, rgb=rgb, T_map_camera=Pose.planar(-2.0, 0, 0) @ frame.T_map_camera)
    left = dataclasses.replace(
        frame, stamp_s=7.0, rgb=rgb + 1, T_map_camera=Pose.planar(0, 0, 1.57) @ frame.T_map_camera
    )
    mug = SeenObject("red mug", np.array([0.0, -2.0, 0.5]), 6.0, None, 2)
    return dataclasses.replace(
        telling, keyframes=(behind, left), objects=(mug,), goal_point_m=np.array([-3.0, 0.0, 0.0]), skills=None
    )


def test_earlier_views_are_numbered_and_described(remembering: Observation) -> None:
    prompt = load_prompt("nav/v2").render(Task("find it", "navigation"), remembering, Memory())
    assert prompt.numbered
    assert [image is GOAL for image in prompt.images] == [True, False, False, False]
    assert prompt.views == {2: 1, 3: 2, 4: 0}
    notes = (
        "Image-1: the goal picture\nImage-2: from 2.0 m behind, looking ahead, 6 s ago\n"
        "Image-3: from here, looking 90 degrees left, 3 s ago\nImage-4: now, head camera\n"
    )
    assert notes in prompt.text
    assert "red mug: 2.0 m away, 90 degrees right, 4 s ago, seen twice" in prompt.text
    assert "Point to reach: 3.0 m away, behind" in prompt.text
    assert view_numbers(prompt.schema) == range(2, 5)


def test_the_small_model_sees_earlier_views_at_half_size(remembering: Observation) -> None:
    prompt = load_prompt("nav/nano2").render(Task("find it", "navigation"), remembering, Memory())
    assert [image.shape[:2] for image in prompt.images] == [(50, 50), (50, 50), (100, 100)]
    assert prompt.images[0].mean() == 200


def test_a_plan_refers_to_views_by_index_and_grounds_in_their_own_image(
    base: MobileBase, remembering: Observation
) -> None:
    """Image-2 was taken 2 m behind the robot: the wall in its middle is 1 m ahead of the robot."""
    answer = '{"subgoals":[{"skill":"goto","object":"wall","view":1,"point":[500,500]}],"done":false}'
    config = PlannerConfig(prompts=Prompts(navigation="nav/v2"))
    present = dataclasses.replace(remembering, keyframes=(), goal_image=None, stamp_s=10.0)
    memory = Memory(keyframes=remembering.keyframes[:1])
    decision = Planner(ScriptedBackend([answer]), base, config).plan(Task("go", "navigation"), present, memory)
    assert isinstance(decision, Execute)
    assert decision.plan.subgoals[0].view == 1  # type: ignore[attr-defined]
    (goal,) = decision.goals
    assert goal.place_m == pytest.approx([1.0, 0.0, 1.0], abs=0.05)


def test_what_is_handled_must_be_pointed_at_in_a_present_view(arm: TableArm, remembering: Observation) -> None:
    for skill in (Pick, Place):
        refusal = skill(object="red mug", view=1, point=(500, 500)).ground(remembering, Grounder(arm))
        assert isinstance(refusal, Refusal)
        assert refusal.code is Code.STALE_OBSERVATION


def test_an_old_view_or_object_is_not_driven_to(base: MobileBase, remembering: Observation) -> None:
    later = dataclasses.replace(remembering, stamp_s=1000.0)
    for subgoal in (Goto(object="wall", view=1, point=(500, 500)), Navigate(object="red mug")):
        assert isinstance(subgoal.ground(remembering, Grounder(base)), NavigateTo)
        refusal = subgoal.ground(later, Grounder(base))
        assert isinstance(refusal, Refusal)
        assert refusal.code is Code.STALE_OBSERVATION
        assert "more than 300 s" in refusal.message


def test_a_robot_drives_to_a_known_object_by_its_name(base: MobileBase, remembering: Observation) -> None:
    there = Navigate(object="red mug").ground(remembering, Grounder(base))
    assert isinstance(there, NavigateTo)
    assert there.target_m == pytest.approx([0.0, -2.0, 0.5])
    unknown = Navigate(object="blue mug").ground(remembering, Grounder(base))
    assert isinstance(unknown, Refusal)
    assert "known: red mug" in unknown.message


def test_a_point_goal_may_be_driven_to_by_name_before_anything_has_been_seen(remembering: Observation) -> None:
    at_start = dataclasses.replace(remembering, objects=(), goal_point_m=np.array([3.0, 0.0, 0.0]))
    prompt = load_prompt("nav/v2").render(Task("go there", "navigation"), at_start, Memory())
    assert '"object": {"enum": ["goal"]}' in json.dumps(prompt.schema)


def test_skills_that_need_memory_are_offered_only_by_prompts_that_show_it(remembering: Observation) -> None:
    task = Task("find it", "navigation")
    old, new = (load_prompt(version).render(task, remembering, Memory()) for version in ("nav/v1", "nav/v2"))
    nothing = load_prompt("nav/v2").render(
        task, dataclasses.replace(remembering, objects=(), goal_point_m=None), Memory()
    )
    for name, offered in (("navigate", (False, True, False)), ("look_around", (False, True, True))):
        assert tuple(f"'{name}'" in str(prompt.schema) for prompt in (old, new, nothing)) == offered
        assert (f"{name}:" in old.system, f"{name}:" in new.system) == (False, True)
    assert "red mug" in str(new.schema)


def test_look_around_can_be_withdrawn(remembering: Observation) -> None:
    prompt = (
        load_prompt("nav/v2").limited(look_around=False).render(Task("find it", "navigation"), remembering, Memory())
    )
    assert "look_around" not in str(prompt.schema) + prompt.system
    assert "'turn'" in str(prompt.schema)


@pytest.mark.parametrize(("version", "images"), [("nav/v1", 2), ("nav/v2", 5), ("nav/nano2", 3)])
def test_the_first_camera_alone_can_be_shown(version: str, images: int, remembering: Observation) -> None:
    """nav/v1 shows the present views; nav/v2 the goal picture and two earlier views as well; nav/nano2 one camera."""
    two = dataclasses.replace(remembering, frames=remembering.frames * 2)
    template, task = load_prompt(version), Task("find it", "navigation")
    assert len(template.render(task, two, Memory()).images) == images
    only_first = template.limited(first_camera_only=True).render(task, two, Memory())
    assert len(only_first.images) == images - (version != "nav/nano2")
    assert [index for index in only_first.views.values() if index < 2] == [0]


def test_the_planner_shows_and_offers_what_its_settings_allow(base: MobileBase, wall_ahead: Observation) -> None:
    asked: list[Prompt] = []

    def answer(prompt: Prompt) -> str:
        asked.append(prompt)
        return '{"subgoals":[],"done":true}'

    two = dataclasses.replace(wall_ahead, frames=wall_ahead.frames * 2)
    for limited in (False, True):
        config = PlannerConfig(Prompts("nav/v2"), look_around=not limited, first_camera_only=limited)
        Planner(ScriptedBackend(answer), base, config).plan(Task("find it", "navigation"), two, Memory())
    assert [len(prompt.images) for prompt in asked] == [2, 1]
    assert ["look_around" in prompt.system for prompt in asked] == [True, False]


@pytest.mark.parametrize(
    ("version", "confirm", "believed"),
    [
        ("", True, False),
        ("", False, True),
        ("nav/v1", True, False),
        ("nav/nano", True, True),
        ("nav/nano2", True, False),
    ],
)
def test_done_is_believed_only_without_subgoals_left(
    version: str, confirm: bool, believed: bool, base: MobileBase, wall_ahead: Observation
) -> None:
    """Except from a model that is not told what it has done: after another look, it would start over."""
    turn = '{"skill":"turn","degrees":90}'
    answers = [f'{{"subgoals":[{turn}],"done":true}}', '{"subgoals":[],"done":true}']
    answers.append(f'{{"subgoals":[{turn},{{"skill":"stop"}}],"done":false}}')
    planner = Planner(ScriptedBackend(answers), base, PlannerConfig(Prompts(version), confirm_done=confirm))
    ends = []
    for _ in answers:
        decision = planner.plan(Task("go", "navigation"), wall_ahead, Memory())
        assert isinstance(decision, Execute)
        ends.append(isinstance(decision.goals[-1], Finish))
    assert ends == [believed, True, believed]
