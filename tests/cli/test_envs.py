from __future__ import annotations

import json

import pytest

from si_embodied.cli.main import main

TASKS = {
    "si_embodied/Apartment-v0": {"objectnav", "spatial", "route"},
    "si_embodied/Tabletop-v0": {"base", "stack", "sort", "spatial", "visual", "complex"},
    "si_embodied/OwnWorld-v0": {"goals", "pointnav"},
    "si_embodied/HabitatPointNav-v0": {"pointnav"},
    "si_embodied/HabitatObjectNav-v0": {"objectnav"},
    "si_embodied/HabitatImageNav-v0": {"imagenav"},
    "si_embodied/HabitatInstructionNav-v0": {"instructionnav"},
    "si_embodied/HabitatRearrange-v0": {"base", "swap", "clear", "store"},
}


def test_json_lists_every_world_with_its_tasks_and_every_policy(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["envs", "--json"]) == 0
    row = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert {world["id"]: set(world["tasks"]) for world in row["environments"]} == TASKS
    assert all(world["action_modes"] for world in row["environments"])
    assert {"random", "oracle", "perfect-pixels", "planner"} <= set(row["policies"])


def test_the_table_names_what_can_be_given(capsys: pytest.CaptureFixture[str]) -> None:
    main(["envs"])
    shown = capsys.readouterr().out
    for word in (*TASKS, "image_size=224", "turn_step_deg=15,", "discrete", "oracle"):
        assert word in shown
