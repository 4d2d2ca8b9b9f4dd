from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from si_embodied.errors import ConfigError, RecordError
from si_embodied.evaluation.episode import EpisodeResult, PlanEntry
from si_embodied.evaluation.records import RecordFile, read_records
from si_embodied.types import Code, PlanRecord


def plan(text: str = "{}") -> PlanEntry:
    record = PlanRecord(1.5, "nav/v1", "m", "sdpa", "float32", (text,), 10, 5, {"total": 0.25}, Code.TOO_FAR, "far")
    return PlanEntry(record, executed=False, plan=None)


def episode(seed: int, *plans: PlanEntry) -> EpisodeResult:
    return EpisodeResult(seed, "t", f"find {seed}", True, 3, "terminated", 1.0, 0.1, {"spl": 0.5}, plans)


def test_records_survive_a_round_trip(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "records.jsonl"
    records = RecordFile(path, {"task": "sort"})
    written = [episode(0, plan(), plan("é \ud800 \n")), episode(1)]
    for result in written:
        records.add(result)
    assert list(RecordFile(path, {"task": "sort"}).episodes.values()) == written


def test_records_without_probabilities_stay_readable(tmp_path: Path) -> None:
    path = tmp_path / "records.jsonl"
    records = RecordFile(path, {})
    certain = dataclasses.replace(
        plan().record, decision_probability=0.5, point_probability=0.25, thoughts=("hm",), shortened=1
    )
    records.add(episode(0, PlanEntry(certain, True, None)))
    assert RecordFile(path, {}).episodes[0].plans[0].record == certain
    new = ', "decision_probability": 0.5, "point_probability": 0.25, "thoughts": ["hm"], "shortened": 1'
    path.write_text(path.read_text().replace(new, ""))
    assert RecordFile(path, {}).episodes[0].plans[0].record == plan().record


def test_every_line_is_a_json_object_with_its_type(tmp_path: Path) -> None:
    path = tmp_path / "records.jsonl"
    RecordFile(path, {"task": "sort"}).add(episode(0, plan()))
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    assert [row["type"] for row in rows] == ["run", "plan", "episode"]
    assert (rows[1]["code"], rows[1]["code_name"], rows[1]["verdict"]) == (403, "TOO_FAR", "hold")


def test_a_line_cut_short_by_a_crash_is_dropped_and_the_rest_kept(tmp_path: Path) -> None:
    path = tmp_path / "records.jsonl"
    records = RecordFile(path, {"task": "sort"})
    records.add(episode(0))
    with path.open("a") as stream:
        stream.write('{"type": "episode", "seed": 1, "instr')
    again = RecordFile(path, {"task": "sort"})
    again.add(episode(2))
    assert list(RecordFile(path, {"task": "sort"}).episodes) == [0, 2]


def test_plans_of_an_unfinished_episode_are_not_given_to_the_next(tmp_path: Path) -> None:
    path = tmp_path / "records.jsonl"
    RecordFile(path, {"task": "sort"}).add(episode(0, plan("first")))
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(lines[:2]))  # the episode's own line is lost
    RecordFile(path, {"task": "sort"}).add(episode(1))
    assert RecordFile(path, {"task": "sort"}).episodes == {1: episode(1)}


def test_records_of_another_configuration_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "records.jsonl"
    RecordFile(path, {"task": "sort"}).add(episode(0))
    with pytest.raises(ConfigError, match=r"other settings \(task 'sort', now 'stack'\).*choose another --out"):
        RecordFile(path, {"task": "stack"})


def test_a_run_that_failed_before_its_first_episode_holds_no_folder(tmp_path: Path) -> None:
    path = tmp_path / "records.jsonl"
    RecordFile(path, {"task": "sort", "model": "wrong"})
    RecordFile(path, {"task": "sort", "model": "right"}).add(episode(0))
    assert read_records(path).settings == {"task": "sort", "model": "right"}
    assert len(path.read_text().splitlines()) == 2, "the first run's line is replaced"


@pytest.mark.parametrize("read", [read_records, partial(RecordFile, settings={"task": "sort"})])
@pytest.mark.parametrize(("line", "content"), [(3, "rubbish"), (2, "[1]"), (3, '{"type": "episode"}')])
def test_a_broken_line_is_named_by_its_number(
    read: Callable[[Path], object], line: int, content: str, tmp_path: Path
) -> None:
    path = tmp_path / "records.jsonl"
    records = RecordFile(path, {"task": "sort"})
    for seed in range(3):
        records.add(episode(seed))
    lines = path.read_text().splitlines()
    lines[line - 1] = content
    path.write_text("\n".join(lines) + "\n")
    with pytest.raises(ConfigError, match=f"line {line} of .*records.jsonl.*repair or remove that line") as raised:
        read(path)
    assert ("another --out" in str(raised.value)) == (read is not read_records), "only a writer has an --out"


@pytest.mark.parametrize(
    ("was", "becomes"),
    [('"metrics": {"spl": 0.5}', '"metrics": [1]'), ('"spl": 0.5', '"spl": {}'), ('"plan": null', '"plan": [1]')],
)
def test_a_record_with_a_value_of_another_type_is_refused(tmp_path: Path, was: str, becomes: str) -> None:
    path = tmp_path / "records.jsonl"
    RecordFile(path, {"task": "sort"}).add(episode(0, plan()))
    assert was in path.read_text()
    path.write_text(path.read_text().replace(was, becomes))
    with pytest.raises(ConfigError, match="line [23] .* is broken .no record"):
        RecordFile(path, {"task": "sort"})


@pytest.mark.parametrize(
    "content",
    ["not json\n", '{"type": "plan"}\n', '{"type": "run", "config": {"task": "sort"}}\n{"type": "episode"}\n'],
)
def test_a_foreign_file_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "records.jsonl"
    path.write_text(content)
    with pytest.raises(ConfigError, match="choose another --out"):
        RecordFile(path, {"task": "sort"})


def test_an_episode_that_cannot_be_written_is_not_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "records.jsonl"
    records = RecordFile(path, {"task": "sort"})
    records.add(episode(0))

    def full(descriptor: int, data: bytes) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(RecordError, match="No space left"):
        records.add(episode(1))
    monkeypatch.undo()
    assert list(records.episodes) == list(RecordFile(path, {"task": "sort"}).episodes) == [0]
