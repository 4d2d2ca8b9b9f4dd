"""Recordings for the Rerun viewer, read back by Rerun's own command."""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from si_embodied.cli.main import main
from si_embodied.errors import MissingExtraError

MISSING = "needs the extra rerun: pip install 'si-embodied[rerun]'"


def entities(file: Path) -> set[str]:
    """The entities of a recording; fails if Rerun cannot read the file."""
    command = [sys.executable, "-m", "rerun", "rrd"]
    subprocess.run([*command, "verify", file], check=True, capture_output=True)
    told = subprocess.run([*command, "stats", file], check=True, capture_output=True, text=True).stdout
    lines = told.partition("Num chunks per entity")[2].partition("\n\n")[0].splitlines()
    return {line.partition(": ")[0] for line in lines}


def test_without_rerun_the_extra_is_named(
    fake_world: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for module in ("rerun_file", "rerun_episodes"):
        monkeypatch.delitem(sys.modules, f"si_embodied.live.{module}", raising=False)
    monkeypatch.setitem(sys.modules, "rerun", None)
    with pytest.raises(MissingExtraError, match="rerun"):
        importlib.import_module("si_embodied.live.rerun_file")
    arguments = ["--episodes", "1", "--out", str(tmp_path / "run"), "--rerun", str(tmp_path / "pictures")]
    assert main(["eval", "--env", fake_world, "--policy", "stopper", *arguments]) == 2
    assert "si-embodied[rerun]" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == [], "before anything is run"


def test_a_file_is_for_one_episode(fake_world: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--episodes", "2", "--out", str(tmp_path), "--rerun", "two.rrd"]
    assert main(["eval", "--env", fake_world, "--policy", "stopper", *arguments]) == 2
    assert "give a folder, or --episodes 1" in capsys.readouterr().err


def test_each_episode_has_a_file_that_rerun_reads(fake_world: str, tmp_path: Path) -> None:
    pytest.importorskip("rerun", reason=MISSING)
    arguments = ["--episodes", "2", "--seed", "3", "--out", str(tmp_path / "run"), "--rerun", str(tmp_path / "rerun")]
    assert main(["eval", "--env", fake_world, "--policy", "thinker", *arguments]) == 0
    files = sorted((tmp_path / "rerun").iterdir())
    assert [file.name for file in files] == ["thinker-seed-000003.rrd", "thinker-seed-000004.rrd"]
    found = entities(files[0])
    assert {"/map/robot", "/map/cameras/head/image", "/log", "/answer", "/latency/total"} <= found


def test_a_plan_is_written_with_its_points_goals_prompt_and_depth(
    base: Any, wall_ahead: Any, find_chair: Any, tmp_path: Path
) -> None:
    pytest.importorskip("rerun", reason=MISSING)
    from si_embodied.backends import ScriptedBackend
    from si_embodied.backends.tapped import Tap
    from si_embodied.live.moment import Moment
    from si_embodied.live.rerun_file import RerunFile
    from si_embodied.planner import Planner
    from si_embodied.policies.planner_policy import SpatialPlannerPolicy

    tap = Tap()
    answer = '{"subgoals":[{"skill":"goto","object":"red chair","view":1,"point":[500,500]}],"done":false}'
    policy = SpatialPlannerPolicy(Planner(tap.on(ScriptedBackend([answer])), base))
    policy.reset(find_chair)
    policy.act(wall_ahead)
    file = RerunFile(tmp_path / "new" / "one.rrd", "one")
    for step in range(3):
        file.add(
            Moment(
                "t",
                1,
                find_chair.instruction,
                step,
                "acting",
                wall_ahead,
                policy.decisions,
                policy.execution,
                tap.prompt,
                base,
                [(0.0, 0.0), (0.0, 1.0)],
            )
        )
    file.close()
    policy.close()
    found = entities(tmp_path / "new" / "one.rrd")
    assert {"/map/robot", "/map/cameras/head/image", "/map/cameras/head/depth", "/latency/total"} <= found
    assert {"/plan/view", "/plan/points", "/map/goals", "/prompt", "/answer", "/map/way"} <= found
