"""`si-embodied watch`, `eval --watch` and `play`."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from si_embodied.cli.main import main
from si_embodied.cli.watch import newest_run
from si_embodied.errors import ConfigError


def test_an_evaluation_prints_the_address_of_its_page(
    fake_world: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("fastapi")
    arguments = ["eval", "--env", fake_world, "--policy", "stopper", "--episodes", "2", "--out", str(tmp_path)]
    assert main([*arguments, "--watch"]) == 0
    said = capsys.readouterr().out
    assert "watch it at http://127.0.0.1:" in said


def test_without_a_folder_the_newest_run_is_watched(tmp_path: Path) -> None:
    for age_s, name in ((100, "eval/old"), (1, "eval/new"), (50, "demo/middle")):
        file = tmp_path / name / "records.jsonl"
        file.parent.mkdir(parents=True)
        file.touch()
        os.utime(file, (1e9 - age_s, 1e9 - age_s))
    assert newest_run(tmp_path) == tmp_path / "eval" / "new"


def test_no_run_to_watch_is_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ConfigError, match="eval --watch"):
        newest_run(tmp_path)
    assert main(["watch", str(tmp_path / "nowhere")]) == 2
    assert "give the folder of a run" in capsys.readouterr().err


def test_only_planners_are_played_with(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("mujoco")
    pytest.importorskip("fastapi")
    assert main(["play", "--policy", "oracle", "--port", "0"]) == 2
    assert "--policy planner or perfect-pixels, got: 'oracle'" in capsys.readouterr().err
