"""Recordings of runs in the simulated worlds, replayed without ROS."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("mujoco", reason="the simulated worlds need the extra sim")
pytest.importorskip("mcap", reason="recording needs the extra bags")
pytest.importorskip("rosbags", reason="replaying needs the extra bags")

from std_msgs.msg import String

from si_embodied.cli.main import main
from si_embodied.errors import DataError
from si_embodied.ros_nodes.recording.reader import Recording

Ros = Any  # of conftest.py
SIM, PLANNER, RECORDER = (["-m", f"si_embodied.ros_nodes.{name}_node"] for name in ("sim", "planner", "recorder"))
STARTS_S, TASK_S = 90.0, 240.0


def goto(u: int, v: int) -> dict[str, Any]:
    return {"skill": "goto", "object": "thing", "view": 1, "point": [u, v]}


SCRIPT = [
    [{"skill": "turn", "degrees": 60}],
    [goto(500, 640)],
    [goto(300, 620)],  # depends on the map built on the way
    [{"skill": "explore"}],
    [goto(650, 600), {"skill": "turn", "degrees": -90}],
    [goto(500, 5000)],  # an invalid plan, twice
    [goto(500, 660)],
]
DECISIONS = len(SCRIPT) - 1  # an invalid plan is asked for again


def accepted(ros: Ros) -> Any:
    """The handle of a task, once one is accepted."""
    handle = ros.task("do it", timeout_s=600.0)
    return handle if handle.accepted else None


def recorded(
    ros: Ros, folder: Path, cameras: list[str], sim: dict[str, Any], planner: dict[str, Any], decisions: int
) -> Path:
    """Record a task's first decisions."""
    records = ros.listen(String, "planner/record", 50)
    recorder = ros.start(RECORDER, {"output": str(folder), "use_sim_time": True, "cameras": cameras})
    ros.start(SIM, sim)
    ros.start(PLANNER, {"use_sim_time": True, "autostart": True, "cameras": cameras, "recorder": "recorder", **planner})
    handle = ros.wait(lambda: accepted(ros), STARTS_S, "the recorder, for which the planner waits")
    ros.wait(lambda: len(records) >= decisions, TASK_S, f"{decisions} decisions")
    ros.result(handle.cancel_goal_async(), TASK_S, "the cancellation")
    ros.wait(lambda: ros.end(handle), TASK_S, "the end")
    output = ros.stop(recorder, signal.SIGINT)
    assert recorder.returncode == 0, output
    return folder


@pytest.fixture(scope="module")
def recording(shared_ros: Ros, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recording of the apartment with some decisions, whatever their outcomes."""
    return recorded(
        shared_ros,
        tmp_path_factory.mktemp("recordings") / "apartment",
        ["head"],
        {"image_size": 96, "camera_rate_hz": 5.0, "seed": 3, "real_time_factor": 3.0},
        {
            "backend": "scripted", "navigation.navigator": "topic",
            "planner.memory.keyframes": 0,  # every point is one of the present view
            "script": "\n".join(json.dumps({"subgoals": each, "done": False}) for each in SCRIPT),
        },
        DECISIONS,
    )  # fmt: skip


def replayed(path: Path, capsys: pytest.CaptureFixture[str], *more: str) -> tuple[int, dict[str, Any]]:
    """The exit code and the summary of a replay."""
    code = main(["replay", str(path), "--json", *more])
    printed = capsys.readouterr()
    assert code != 2, printed.err
    return code, json.loads(printed.out.splitlines()[-1])


def test_recorded_answers_lead_to_the_recorded_decisions(recording: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, summary = replayed(recording, capsys)
    assert (code, summary["decisions"]) == (0, len(Recording(recording).records))
    assert summary["identical"] == summary["decisions"] >= DECISIONS, summary["plans"]
    assert summary["greatest_distance_m"] < 1e-6, "and there were goals"


def test_the_mcap_file_alone_is_enough(recording: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert replayed(recording / "apartment_0.mcap", capsys)[0] == 0


def test_other_settings_show(recording: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """With settings that allow no goal at any useful distance."""
    (tmp_path / "strict.yaml").write_text("guard: {max_goal_distance_m: 0.01}\n")
    code, summary = replayed(recording, capsys, "--config", str(tmp_path / "strict.yaml"))
    drives = [each for each in summary["plans"] if each["recorded"]["plan"] and each["distance_m"] is None]
    assert code == 1
    assert 0 < summary["different"] <= len(drives)


def test_a_run_with_a_memory_is_replayed(ros: Ros, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Image-1 is the oldest of the remembered views, which may be out of sight by then."""
    script = [
        [{"skill": "look_around"}],
        [goto(500, 640)],
        [{"skill": "turn", "degrees": 120}],
        [goto(400, 640)],
        [{"skill": "navigate", "object": "thing"}],
    ]
    folder = recorded(
        ros,
        tmp_path / "remembering",
        ["head"],
        {"image_size": 96, "camera_rate_hz": 5.0, "seed": 3, "real_time_factor": 3.0},
        {
            "backend": "scripted", "navigation.navigator": "topic",
            "script": "\n".join(json.dumps({"subgoals": each, "done": False}) for each in script),
        },
        len(script),
    )  # fmt: skip
    records = Recording(folder).records
    assert max(len(record.remembered) for record in records) >= 3
    assert records[-1].memory.objects
    code, summary = replayed(folder, capsys)
    assert (code, summary["identical"]) == (0, summary["decisions"]), summary["plans"]
    assert summary["greatest_distance_m"] < 1e-6, "and there were goals"


def test_a_pick_at_the_table_is_replayed(
    ros: Ros, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:  # fmt: skip
    folder = recorded(
        ros,
        tmp_path / "table",
        ["head", "side", "wrist"],
        {"world": "tabletop", "camera_rate_hz": 2.0, "publish_ground_truth": True},
        {"kind": "manipulation", "backend": "perfect_pixels"},
        2,
    )
    code, summary = replayed(folder, capsys)
    assert (code, summary["identical"]) == (0, summary["decisions"]), summary["plans"]
    assert '"pick"' in summary["plans"][0]["replayed"]["plan"]
    assert summary["greatest_distance_m"] < 1e-6


def test_a_file_that_is_no_recording_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "notes.mcap").write_text("not a recording")
    with pytest.raises(DataError, match="cannot be read as a recording"):
        Recording(tmp_path / "notes.mcap")
