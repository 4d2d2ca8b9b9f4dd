"""The commands on the real worlds: small pictures, one episode each."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from si_embodied.cli import demo
from si_embodied.cli.main import main

APARTMENT, TABLETOP = "si_embodied/Apartment-v0", "si_embodied/Tabletop-v0"
REARRANGE = "si_embodied/HabitatRearrange-v0"


def last_json(capsys: pytest.CaptureFixture[str]) -> dict:
    return json.loads(capsys.readouterr().out.splitlines()[-1])


@pytest.mark.parametrize(("env", "task"), [(APARTMENT, "objectnav"), (TABLETOP, "base"), (REARRANGE, "store")])
def test_perfect_pixels_succeeds_where_the_oracle_does(
    env: str, task: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--env", env, "--task", task, "--policy", "perfect-pixels", "--episodes", "1", "--control", "oracle"]
    assert main(["eval", *arguments, "--out", str(tmp_path), "--json"]) == 0
    row = last_json(capsys)
    assert (row["success_rate"], row["controls"]["oracle"]["success_rate"]) == (1.0, 1.0)
    assert row["plans"] > 0


def test_the_demo_leaves_a_table_records_and_videos(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(demo, "POLICIES", ("oracle", "planner"))
    assert main(["demo", "--episodes", "1", "--out", str(tmp_path)]) == 0
    shown = capsys.readouterr()
    assert "Apartment objectnav" in shown.out
    assert "Tabletop base" in shown.out
    assert "random weights" not in shown.err  # the planner is the one that comes with the package
    report = json.loads((tmp_path / "report.json").read_text())
    assert [(run["env"], run["policy"]) for run in report["runs"]] == [
        (env, policy) for env in (APARTMENT, TABLETOP) for policy in ("oracle", "planner")
    ]
    assert len(list(tmp_path.glob("*/records.jsonl"))) == len(list(tmp_path.glob("*/videos/*.mp4"))) == 4


@pytest.mark.parametrize("env", [APARTMENT, TABLETOP, REARRANGE])
def test_plan_shows_an_episodes_first_observation_to_the_planner(env: str, capsys: pytest.CaptureFixture[str]) -> None:
    answer = '{"subgoals": [{"skill": "stop"}], "done": true}'
    assert main(["plan", "--env", env, "--seed", "3", "--answer", answer, "--json"]) == 0
    row = last_json(capsys)
    assert (row["verdict"], row["seed"]) == ("execute", 3)
    assert row["instruction"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--env", "si_embodied/Apartmant-v0"], ("unknown environment", "Did you mean 'si_embodied/Apartment-v0'")),
        (["--env", APARTMENT, "--task", "objectnaw"], ("unknown task", "Did you mean 'objectnav'")),
        (["--env", TABLETOP, "--action-mode", "poses"], ("unknown action mode", "Did you mean 'pose'")),
    ],
)
def test_an_unknown_name_is_answered_with_the_nearest(
    arguments: list[str], words: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["eval", *arguments, "--policy", "random", "--out", str(tmp_path / "out")]) == 2
    assert not (tmp_path / "out").exists()
    shown = capsys.readouterr().err
    assert all(word in shown for word in words), shown
