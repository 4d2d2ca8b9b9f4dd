from __future__ import annotations

import json
import resource
from pathlib import Path
from typing import Any

import pytest

from si_embodied.cli.main import main
from si_embodied.evaluation.config import EvaluationConfig
from si_embodied.evaluation.session import Session
from si_embodied.run_lock import locked


def evaluate(world: str, out: Path, *arguments: str) -> int:
    return main(["eval", "--env", world, "--out", str(out), *arguments])


def test_the_last_line_is_the_report(fake_world: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code = evaluate(fake_world, tmp_path, "--policy", "thinker", "--episodes", "4", "--seed", "2", "--json")
    row = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert code == 0
    promised = {"env", "task", "policy", "model", "episodes", "seed", "success_rate", "wilson95", "spl", "mean_steps"}
    assert promised | {"holds", "plan_latency_ms", "controls"} <= set(row)
    assert (row["episodes"], row["seed"], row["success_rate"], row["spl"]) == (4, 2, 0.5, 0.25)
    assert row["holds"] == {"NO_DEPTH": 4}
    # every episode decides twice, in 20 and in 40 ms
    assert row["plan_latency_ms"]["p50"] == pytest.approx(30)
    assert json.loads((tmp_path / "report.json").read_text()) == row


def test_the_records_and_the_report_say_the_noise(
    fake_world: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:  # fmt: skip
    assert evaluate(fake_world, tmp_path, "--policy", "stopper", "--episodes", "2", "--noise", "zed", "--json") == 0
    row = json.loads(capsys.readouterr().out.splitlines()[-1])
    run = json.loads((tmp_path / "records.jsonl").read_text().splitlines()[0])
    assert (row["noise"], run["config"]["noise"]["name"]) == ("zed", "zed")


def test_ctrl_c_finishes_the_report(fake_world: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code = evaluate(fake_world, tmp_path, "--policy", "interrupter", "--episodes", "5", "--json")
    row = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert code == 130
    assert (row["interrupted"], row["episodes"], row["asked"]) == (True, 2, 5)


def test_a_control_runs_on_the_same_seeds(fake_world: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ("--policy", "stopper", "--episodes", "3", "--control", "random", "--json")
    assert evaluate(fake_world, tmp_path, *arguments) == 0
    row = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (row["controls"]["random"]["episodes"], row["controls"]["random"]["shared_seeds"]) == (3, 3)


def test_a_world_takes_further_arguments_as_json_or_text(fake_world: str, tmp_path: Path) -> None:
    arguments = ("--policy", "stopper", "--episodes", "1", "--env-arg", "image_size=48", "--env-arg", "task=a=b")
    assert evaluate(fake_world, tmp_path, *arguments) == 0
    run, episode = (json.loads(line) for line in (tmp_path / "records.jsonl").read_text().splitlines())
    assert run["config"]["env_args"] == {"image_size": 48, "task": "a=b"}
    assert episode["task"] == "a=b"


def test_videos_lie_beside_the_records(
    fake_world: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:  # fmt: skip
    assert evaluate(fake_world, tmp_path, "--policy", "stopper", "--episodes", "3", "--videos", "2") == 0
    assert f"\nrecords, report and 2 videos are in {tmp_path}\n" in capsys.readouterr().out
    names = sorted(path.name for path in (tmp_path / "videos").iterdir())
    assert names == ["seed-000000-success.mp4", "seed-000001-failure.mp4"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--seed", "abc"), ("'abc'", "whole number", "example 1")),
        (("--seed", "-1"), ("'-1'", "at least 0")),
        (("--episodes", "-3"), ("'-3'", "at least 1")),
        (("--episodes", "0"), ("'0'", "at least 1")),
        (("--image-size", "-64"), ("'-64'", "at least 16", "example 224")),
        (("--latency", "fast"), ("'fast'", "measured", "seconds")),
        (("--latency", "nan"), ("'nan'", "measured")),
        (("--control", "blind"), ("blind", "blank")),
        (("--noise", "realsens"), ("Did you mean", "realsense", "orbbec", "zed")),
        (("--env-arg", "rooms"), ("'rooms'", "room_count=3")),
    ],
)
def test_an_argument_that_is_no_number_is_named_with_a_right_one(
    arguments: tuple[str, ...], words: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["eval", "--env", "e", "--policy", "random", *arguments])
    assert stopped.value.code == 2
    shown = capsys.readouterr().err
    assert all(word in shown for word in words), shown


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--policy", "orcale"), ("unknown policy 'orcale'", "Did you mean 'oracle'")),
        (("--policy", "planner", "--model", "/no/such"), ("/no/such", "models tiny DIR")),
        (("--policy", "stopper", "--control", "blank"), ("--control blank", "'stopper'")),
        (("--policy", "random", "--control", "random"), ("--control random is --policy random itself", "leave it out")),
        (("--policy", "stopper", "--config", "/no/such.yaml"), ("/no/such.yaml",)),
        (("--policy", "stopper", "--action-mode", "pose"), ("action_mode",)),
        (("--policy", "stopper", "--env-arg", "image_siz=32"), ("'image_siz'", "Did you mean 'image_size'", "task")),
        (("--policy", "stopper", "--python", "/no/python"), ("no Python at '/no/python'",)),
    ],
)
def test_a_bad_request_names_its_fix(
    fake_world: str,
    tmp_path: Path,
    arguments: tuple[str, ...],
    words: tuple[str, ...],
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert evaluate(fake_world, tmp_path, "--episodes", "1", *arguments) == 2
    shown = capsys.readouterr().err
    assert shown.startswith("error: ")
    assert all(word in shown for word in words), shown


def test_a_folder_that_another_run_writes_into_is_refused_and_left_alone(
    fake_world: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ("--policy", "stopper", "--episodes", "1")
    with locked(tmp_path):
        assert evaluate(fake_world, tmp_path, *arguments) == 2
    assert "another run is writing into" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
    assert evaluate(fake_world, tmp_path, *arguments) == 0


def test_a_folder_without_a_model_is_refused_before_the_world_is_up(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "docs").mkdir()
    out = tmp_path / "out"
    assert evaluate("nowhere:World-v0", out, "--policy", "planner", "--model", str(tmp_path / "docs")) == 2
    assert "no config.json" in capsys.readouterr().err
    assert not out.exists()


def test_progress_names_a_control_once(fake_world: str, tmp_path: Path, shown: Any) -> None:
    Session(tmp_path).run_with_controls(EvaluationConfig(fake_world, "stopper", episodes=1), ["random"])
    assert [work.label for work in shown.begun] == [f"stopper on {fake_world}", f"random on {fake_world}"]


def test_a_full_disk_is_one_line(fake_world: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert evaluate(fake_world, tmp_path, "--policy", "stopper", "--episodes", "1") == 0
    size = (tmp_path / "records.jsonl").stat().st_size
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size + 20, limits[1]))  # the nearest to a full disk without one
    try:
        assert evaluate(fake_world, tmp_path, "--policy", "stopper", "--episodes", "2") == 2
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    shown = capsys.readouterr().err
    assert "records.jsonl': File too large. Free some space" in shown
    assert (tmp_path / "records.jsonl").stat().st_size == size
