"""The study of latency plays the same seeds with each latency, and shows measured latency at its median."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("gymnasium")

from si_embodied.cli.main import parse
from si_embodied.cli.study import LatencyStudy
from si_embodied.studies import latency
from si_embodied.studies.latency import LatencyRow
from si_embodied.studies.playing import Played
from si_embodied.studies.settings import LatencyRun

ONE = Played((1,), (1,), (), (3,), (1,), 0.125)


@pytest.fixture
def run(tmp_path: Path, fake_world: str) -> LatencyRun:
    """Two episodes in the smallest world, of a policy that needs no model."""
    model = tmp_path / "model"
    model.mkdir()
    return LatencyRun(
        model=model, out=tmp_path / "out", tasks=(f"{fake_world}:objectnav",), policy="thinker", episodes=2, seed=6,
        latencies=(0.0, "measured", 1.5),
    )  # fmt: skip


def test_every_latency_has_records_of_its_own_that_are_resumed(run: LatencyRun, tmp_path: Path) -> None:
    found = latency.study(run, tmp_path)
    assert [(row.latency, row.played.seeds) for row in found.rows] == [
        (0.0, (6, 7)), ("measured", (6, 7)), (1.5, (6, 7)),
    ]  # fmt: skip
    records = {file.name: file.read_bytes() for file in run.out.iterdir()}
    settings = {name: json.loads(text.splitlines()[0])["config"]["latency"] for name, text in records.items()}
    assert settings == {f"world-objectnav-thinker-{took}.jsonl": value for took, value in
                        (("0s", 0.0), ("measured", "measured"), ("1.5s", 1.5))}  # fmt: skip
    assert latency.study(run, tmp_path) == found
    assert {file.name: file.read_bytes() for file in run.out.iterdir()} == records
    assert latency.LatencyResults.read(tmp_path / "latency.json") == found


def test_measured_latency_is_played_alone(run: LatencyRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    workers: dict[Any, int] = {}

    def play(config: Any, _: Path, **more: Any) -> tuple[()]:
        workers[config.latency] = more["workers"]
        return ()

    monkeypatch.setattr(latency, "play", play)
    latency.study(replace(run, workers=4), tmp_path)
    assert workers == {0.0: 4, "measured": 1, 1.5: 4}


def test_latencies_are_given_in_seconds_or_as_measured(capsys: pytest.CaptureFixture[str]) -> None:
    command, _ = parse(["study", "latency", "--latencies", "measured", "0.5"])
    assert isinstance(command, LatencyStudy)
    assert command.latencies == ("measured", 0.5)
    with pytest.raises(SystemExit):
        parse(["study", "latency", "--latencies", "soon"])
    assert "soon" in capsys.readouterr().err


def test_measured_latency_is_its_median() -> None:
    assert (LatencyRow("", "measured", ONE).seconds, LatencyRow("", 0.5, ONE).seconds) == (0.125, 0.5)
    assert (LatencyRow("", "measured", ONE).words, LatencyRow("", 4.0, ONE).words) == ("measured (0.12 s)", "4 s")
