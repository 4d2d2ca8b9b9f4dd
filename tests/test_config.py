"""Settings from plain values: the same names everywhere, and nothing unknown."""

from __future__ import annotations

from pathlib import Path

import pytest

from si_embodied.config import PlannerConfig, Prompts, checkpoint_prompts, from_mapping, load_planner_config
from si_embodied.errors import ConfigError


def test_what_is_not_named_keeps_its_default() -> None:
    config = from_mapping(PlannerConfig, {"guard": {"max_repeats": 5}})
    assert config.guard.max_repeats == 5
    assert config.guard.max_failures == PlannerConfig().guard.max_failures


def test_an_integer_is_taken_for_a_float() -> None:
    assert from_mapping(PlannerConfig, {"deadline_s": 3}).deadline_s == 3.0


def test_an_exponent_is_a_number_as_in_yaml_1_2(tmp_path: Path) -> None:
    (tmp_path / "planner.yaml").write_text("deadline_s: 1e-1\n")
    assert load_planner_config(tmp_path / "planner.yaml").deadline_s == 0.1


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"deadline": 3.0}, r"unknown setting 'deadline'.*Did you mean 'deadline_s'"),
        ({"guard": {"max_repeat": 3}}, r"unknown setting 'guard.max_repeat'.*Did you mean 'max_repeats'"),
        ({"guard": 3}, "expected 'guard' to be a group"),
        ({"deadline_s": "3"}, "expected 'deadline_s' to be float, got: '3'"),
        ({"memory": {"entries": True}}, "expected 'memory.entries' to be int, got: True"),
        ({"deadline_s": float("nan")}, "finite"),
        ({"deadline_s": 0}, "positive"),
        ({"memory": {"entries": 0}}, "at least 1"),
        ({"min_probability": 1.5}, "from 0 to 1, got: 1.5"),
        ({"min_done_probability": -0.1}, "min_done_probability to be from 0 to 1, got: -0.1"),
    ],
)
def test_what_cannot_be_honoured_is_named(values: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        from_mapping(PlannerConfig, values)


def test_a_yaml_file_is_read(tmp_path: Path) -> None:
    file = tmp_path / "planner.yaml"
    file.write_text("prompts: {reasoning: true}\nguard: {max_plan_age_s: 2.5}\n")
    config = load_planner_config(file)
    assert config.prompts.reasoning
    assert config.guard.max_plan_age_s == 2.5
    assert load_planner_config(None) == PlannerConfig()


def test_settings_of_0_1_0_are_still_read(tmp_path: Path) -> None:
    file = tmp_path / "planner.yaml"
    file.write_text("navigation_prompt: nav/nano\nreasoning: true\ndeadline_s: 3\n")
    prompts = Prompts(navigation="nav/nano", reasoning=True)
    assert load_planner_config(file) == PlannerConfig(prompts, deadline_s=3.0)


def test_a_checkpoint_sets_its_prompts_and_nothing_else(tmp_path: Path) -> None:
    assert checkpoint_prompts(tmp_path) == Prompts()
    (tmp_path / "planner.yaml").write_text("prompts: {navigation: nav/mine}\n")
    assert checkpoint_prompts(tmp_path) == Prompts(navigation="nav/mine")
    (tmp_path / "planner.yaml").write_text("guard: {max_goal_distance_m: 99}\n")
    with pytest.raises(ConfigError, match="may only set its prompts, got: guard"):
        checkpoint_prompts(tmp_path)
    (tmp_path / "planner.yaml").write_text("{1: 2, guard: 3, null: 4}\n")
    with pytest.raises(ConfigError, match="may only set its prompts, got: 1, None, guard"):
        checkpoint_prompts(tmp_path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [", "not valid YAML"),
        ("- 1", "names to settings"),
        # PyYAML raises what its constructors raise: IndexError, AttributeError, KeyError.
        ("deadline_s: !!int ''", "not valid YAML"),
        ("deadline_s: !!timestamp soon", "not valid YAML"),
        ("deadline_s: !!bool maybe", "not valid YAML"),
    ],
)
def test_a_file_that_holds_no_settings_is_named(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "planner.yaml"
    file.write_text(text)
    with pytest.raises(ConfigError, match=message):
        load_planner_config(file)


def test_a_value_that_grows_when_written_out_is_shown_briefly(tmp_path: Path) -> None:
    """Thirty aliases, each a list of two of the one before: a billion items, if it were printed."""
    lists = ["&a0 [x, x]", *(f"&a{number} [*a{number - 1}, *a{number - 1}]" for number in range(1, 30))]
    file = tmp_path / "planner.yaml"
    file.write_text(f"deadline_s: [{', '.join(lists)}]\n")
    with pytest.raises(ConfigError, match="deadline_s") as error:
        load_planner_config(file)
    assert len(str(error.value)) < 300


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.yaml"):
        load_planner_config(tmp_path / "none.yaml")
