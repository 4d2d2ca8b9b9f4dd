"""The prompt in EmbodiedBench's structure, and rules from a file of the user's."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from si_embodied.benchmarking.embodied.answers import parse_seven, parse_skills
from si_embodied.benchmarking.embodied.prompts import load_prompter
from si_embodied.benchmarking.embodied.situation import Past, Situation
from si_embodied.errors import ConfigError

PICTURE = np.zeros((40, 40, 3), np.uint8)
TABLE = Situation("stack the {red} cube.", PICTURE, "{'object 1': [52, 40, 12]}", (), ())
HOUSE = Situation("bring the mug", PICTURE, "", ("navigate to the table", "pick up the mug"), ())


def test_a_manipulation_prompt_shows_task_objects_ranges_and_examples_and_then_the_picture() -> None:
    prompt = load_prompter("manipulation").prompt(TABLE)
    text, picture = prompt.content
    assert isinstance(text, str)
    assert picture is PICTURE
    for part in (
        "Instruction: stack the {red} cube.\nObjects: {'object 1': [52, 40, 12]}", "whole numbers from 0 to 100",
        "from 0 to 120 in units of 3 degrees", "Example 3:", '"executable_plan"',
    ):  # fmt: skip
        assert part in text
    assert "Actions so far" not in text


def test_a_rearrangement_prompt_shows_the_picture_and_then_the_skills_by_id() -> None:
    picture, text = load_prompter("rearrangement").prompt(HOUSE).content
    assert picture is PICTURE
    assert "0 to 1, and their names: \naction id 0: navigate to the table, \naction id 1: pick up the mug" in text


def test_the_next_prompt_says_what_came_of_earlier_actions() -> None:
    past = (Past("[1, 2]", "invalid"), Past("[3, 4]", "carried out"))
    text = load_prompter("manipulation").prompt(Situation("stack", PICTURE, "{}", (), past)).text
    assert "Actions so far, and what came of them:\n1. [1, 2]: invalid\n2. [3, 4]: carried out" in text


def test_the_examples_are_answers_in_the_format() -> None:
    for example in load_prompter("manipulation").examples:
        assert all(len(action) == 7 for action in parse_seven(example.partition("Answer: ")[2]))  # type: ignore[arg-type]
    for example in load_prompter("rearrangement").examples:
        assert min(parse_skills(example.partition("Answer: ")[2], 13)) >= 0


def test_fewer_examples_are_another_prompt() -> None:
    all_shots, none = load_prompter("manipulation"), load_prompter("manipulation", shots=0)
    assert "Example 1" not in none.prompt(TABLE).text
    assert all_shots.version != none.version
    assert all_shots.version.startswith("embodiedbench/manipulation@")


def test_free_text_is_bound_to_no_schema() -> None:
    assert load_prompter("manipulation", form="text").prompt(TABLE).schema["type"] == "text"


def test_rules_come_from_a_text_with_placeholders_in_order_or_by_name(tmp_path: Path) -> None:
    file = tmp_path / "rules.txt"
    file.write_text("up to {}, {}, {} of {} degrees\n{}")
    assert "up to 100, 100, 120 of 3 degrees\nExample 1:" in load_prompter("manipulation", file=file).prompt(TABLE).text
    file.write_text("{last} and {skills}")
    assert "1 and \naction id 0" in load_prompter("rearrangement", file=file).prompt(HOUSE).text


def test_rules_are_read_from_a_python_file_without_running_it(tmp_path: Path) -> None:
    file = tmp_path / "system_prompts.py"
    file.write_text("raise SystemExit\nother = 'no'\neb_manipulation_system_prompt = '''OFFICIAL {} {} {} {} {}'''\n")
    assert "OFFICIAL 100 100 120 3 Example 1" in load_prompter("manipulation", file=file).prompt(TABLE).text
    with pytest.raises(ConfigError, match="no string to habitat_system_prompt"):
        load_prompter("rearrangement", file=file)


@pytest.mark.parametrize("text", ["{} {} {} {} {} {}", "{level}", "{skills}", "{", "{0.real.x}"])
def test_placeholders_that_cannot_be_filled_are_rejected_at_once(text: str, tmp_path: Path) -> None:
    file = tmp_path / "rules.txt"
    file.write_text(text)
    with pytest.raises(ConfigError, match="placeholders"):
        load_prompter("manipulation", file=file)


def test_a_missing_file_is_said(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot read a prompt"):
        load_prompter("manipulation", file=tmp_path / "none.txt")
