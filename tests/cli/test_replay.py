"""`si-embodied replay` on decisions that need no recording."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from si_embodied.cli.main import main
from si_embodied.ros_nodes.recording import reader, replay
from si_embodied.ros_nodes.recording.decision_records import DecisionRecord
from si_embodied.ros_nodes.recording.replay import Replayed

RECORDS = Path(__file__).parents[1] / "ros_nodes" / "recording" / "records_0_1_0.jsonl"


def replaying(monkeypatch: pytest.MonkeyPatch, verdict: Any) -> None:
    """Let every recorded decision be made again with this verdict."""
    records = [DecisionRecord.from_json(line) for line in RECORDS.read_text(encoding="utf-8").splitlines()]
    again = [Replayed(each.decision, each.decision, verdict, 0.25) for each in records]
    monkeypatch.setattr(reader, "Recording", lambda path: SimpleNamespace(records=records))
    monkeypatch.setattr(replay, "Replayer", lambda *_, **__: SimpleNamespace(replay=lambda _: again))


@pytest.mark.parametrize(("verdict", "code"), [("identical", 0), ("same skills", 1), ("different", 1)])
def test_the_exit_code_says_whether_recorded_answers_lead_to_the_same_decisions(
    verdict: str, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    replaying(monkeypatch, verdict)
    assert main(["replay", "monday", "--json"]) == code
    shown = capsys.readouterr().out
    row = json.loads(shown.splitlines()[-1])
    assert row[verdict] == row["decisions"] == len(row["plans"]) > 0
    assert f"{row['decisions']} {verdict}" in shown
    assert "goals at most 0.25 m apart" in shown


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--backend", "recorded", "--model", "m"), "--backend recorded does not go with --model"),
        (("--backend", "local", "--server", "http://127.0.0.1:9"), "--backend local does not go with"),
        (("--backend", "server"), "--server URL"),
    ],
)
def test_arguments_that_contradict_each_other_are_named(
    arguments: tuple[str, ...], words: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    replaying(monkeypatch, "identical")
    assert main(["replay", "monday", *arguments]) == 2
    assert words in capsys.readouterr().err


def test_a_path_without_a_recording_is_named_before_a_missing_library(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "rosbags", None)  # as if it were not installed
    assert main(["replay", str(tmp_path / "nope")]) == 2
    shown = capsys.readouterr().err
    assert "nope" in shown
    assert "rosbags" not in shown
