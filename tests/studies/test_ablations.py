"""Ablations change one part of the planner each, are left out where they change nothing, and are paired by seed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

pytest.importorskip("gymnasium")

from si_embodied.config import PlannerConfig
from si_embodied.errors import ConfigError
from si_embodied.evaluation.episode import EpisodeResult
from si_embodied.studies import ablations
from si_embodied.studies.ablations import ABLATIONS, FULL, configurations
from si_embodied.studies.playing import Played, paired
from si_embodied.studies.settings import AblationsRun


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A checkpoint that names prompts without memory."""
    directory = tmp_path / "model"
    directory.mkdir()
    (directory / "planner.yaml").write_text("prompts: {navigation: nav/nano, manipulation: manip/nano}\n")
    return directory


@pytest.fixture
def run(model: Path, tmp_path: Path, fake_world: str) -> AblationsRun:
    """Three episodes in the smallest world, of a policy that needs no model."""
    return AblationsRun(
        model=model, out=tmp_path / "out", tasks=(f"{fake_world}:objectnav",), policies=("thinker",), episodes=3, seed=6
    )


# --- configurations -------------------------------------------------------------------------------------------------


def changed(name: str) -> dict[str, object]:
    """The settings that an ablation changes."""
    ablation = next(each for each in ABLATIONS if each.name == name)
    full = PlannerConfig()
    ablated = ablation.change(full)
    settings = {
        "memory.keyframes": (full.memory.keyframes, ablated.memory.keyframes),
        "memory.objects": (full.memory.objects, ablated.memory.objects),
        "look_around": (full.look_around, ablated.look_around),
        "confirm_done": (full.confirm_done, ablated.confirm_done),
        "first_camera_only": (full.first_camera_only, ablated.first_camera_only),
    }
    return {setting: after for setting, (before, after) in settings.items() if before != after}


def test_each_ablation_switches_off_one_part() -> None:
    assert {each.name: changed(each.name) for each in ABLATIONS} == {
        "keyframes off": {"memory.keyframes": 0},
        "look around off": {"look_around": False},
        "objects off": {"memory.objects": 0},
        "confirmation off": {"confirm_done": False},
        "one view": {"memory.keyframes": 0, "first_camera_only": True},
    }


def test_one_view_is_left_out_for_a_robot_with_one_camera(run: AblationsRun) -> None:
    found = configurations(run, run.tasks[0], "perfect-pixels")
    assert [*found] == [FULL, "keyframes off", "look around off", "objects off", "confirmation off"]
    assert found[FULL].planner.prompts.navigation == "nav/v2"
    assert found[FULL].planner.confirm_done


def test_an_arm_with_three_cameras_has_one_view_and_no_look_around(run: AblationsRun) -> None:
    pytest.importorskip("mujoco")
    found = configurations(run, "Tabletop-v0:base", "perfect-pixels")
    assert [*found] == [FULL, "keyframes off", "objects off", "confirmation off", "one view"]


def test_what_the_checkpoints_prompt_does_not_show_is_not_ablated(run: AblationsRun) -> None:
    found = configurations(run, run.tasks[0], "planner")
    assert [*found] == [FULL]
    assert found[FULL].planner.prompts.navigation == "nav/nano"


@pytest.mark.parametrize("task", ["objectnav", "Apartment-v0:", ":objectnav"])
def test_a_task_names_its_world(run: AblationsRun, task: str) -> None:
    with pytest.raises(ConfigError, match=r"a task such as Apartment-v0:objectnav, got"):
        configurations(run, task, "perfect-pixels")


# --- playing --------------------------------------------------------------------------------------------------------


def test_all_configurations_play_the_same_seeds_and_nothing_is_repeated(run: AblationsRun, tmp_path: Path) -> None:
    found = ablations.study(run, tmp_path)
    assert [row.configuration for row in found.rows] == [
        FULL, "keyframes off", "look around off", "objects off", "confirmation off",
    ]  # fmt: skip
    assert {row.played.seeds for row in found.rows} == {(6, 7, 8)}
    assert found.rows[0].played.success == (1, 0, 1)  # the fake world is won with even seeds
    records = {file.name: file.read_bytes() for file in run.out.iterdir()}
    assert "world-objectnav-thinker-keyframes-off.jsonl" in records
    first = json.loads(records["world-objectnav-thinker-objects-off.jsonl"].splitlines()[0])
    assert first["config"]["planner"]["memory"]["objects"] == 0
    assert ablations.study(run, tmp_path) == found
    assert {file.name: file.read_bytes() for file in run.out.iterdir()} == records


def played(seeds: tuple[int, ...], success: tuple[int, ...], spl: tuple[float, ...] = ()) -> Played:
    return Played(seeds, success, spl, (1,) * len(seeds), (1,) * len(seeds), None)


def test_only_seeds_of_both_are_compared() -> None:
    success, spl = paired(played((1, 2, 3), (1, 1, 0), (0.9, 0.5, 0.0)), played((2, 3, 4), (0, 0, 1), (0.0, 0.0, 0.7)))
    assert (success.only_first, success.only_second) == (1, 0)
    assert spl is not None
    assert spl.mean == pytest.approx(-0.25)  # seed 2 loses 0.5, seed 3 nothing


def test_without_spl_only_success_is_compared() -> None:
    assert paired(played((1,), (1,)), played((1,), (0,)))[1] is None


def test_lost_episodes_are_left_out() -> None:
    episodes = [
        EpisodeResult(1, "", "", True, 9, "terminated", 1.0, 1.0, {"spl": 0.12345}),
        EpisodeResult(2, "", "", False, 0, "lost", 0.0, 0.0, {}),
    ]
    found = Played.of(episodes)
    assert (found.seeds, found.spl, found.steps, found.plan_s_p50) == ((1,), (0.1235,), (9,), None)
