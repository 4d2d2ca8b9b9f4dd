"""Prompt files are complete, versioned, and take instructions as plain text."""

from __future__ import annotations

import dataclasses
import json

import pytest

from si_embodied import Code, Observation, Outcome, Task
from si_embodied.errors import ConfigError, UnknownNameError
from si_embodied.memory import Attempt, Memory
from si_embodied.prompts import load_prompt, prompt_versions
from si_embodied.prompts.template import parse_template


@pytest.mark.parametrize("version", prompt_versions())
def test_every_version_renders_its_task_and_views(version: str, wall_ahead: Observation) -> None:
    kind = "manipulation" if version.startswith("manip") else "navigation"
    prompt = load_prompt(version).render(Task("find it", kind), wall_ahead, Memory())
    assert prompt.version == version
    assert "Task: find it" in prompt.text
    assert prompt.images[0] is wall_ahead.frames[0].rgb


@pytest.mark.parametrize("version", ["nav/v1", "manip/v1"])
def test_views_are_captioned_and_the_memory_is_told(version: str, wall_ahead: Observation) -> None:
    kind = "manipulation" if version.startswith("manip") else "navigation"
    two = dataclasses.replace(wall_ahead, frames=wall_ahead.frames * 2)
    text = load_prompt(version).render(Task("find it", kind), two, Memory()).text
    assert "(nothing yet)" in text
    assert "View 0 (head camera): <image>" in text
    assert "View 1 (head camera): <image>" in text


@pytest.mark.parametrize("version", ["nav/nano", "manip/nano"])
def test_a_small_model_sees_the_first_view_alone(version: str, wall_ahead: Observation) -> None:
    kind = "manipulation" if version.startswith("manip") else "navigation"
    two = dataclasses.replace(wall_ahead, frames=wall_ahead.frames * 2)
    prompt = load_prompt(version).render(Task("find it", kind), two, Memory())
    assert len(prompt.images) == 1
    assert '"view": {"maximum": 0' in json.dumps(prompt.schema)


def test_a_small_model_is_told_how_the_last_attempt_went(wall_ahead: Observation) -> None:
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


def test_an_unknown_version_is_named_with_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match=r"'nav/v2'.*Did you mean 'nav/v1'"):
        load_prompt("nav/v2")


@pytest.mark.parametrize(
    "text",
    [
        "# system\na\n# user\n$instruction $memory $views\n",
        "# system\na\n# user\n$instruction $views\n# repair\n$offence\n",
        "# system\na\n# user\n$instruction $first_view $views\n# repair\n$offence\n",
        "# system\na\n# user\n$instruction $memory $views $frame\n# repair\n$offence\n",
    ],
)
def test_a_broken_prompt_file_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="expected"):
        parse_template("x/v1", text)
