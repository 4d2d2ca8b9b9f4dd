from __future__ import annotations

import json
from pathlib import Path

import pytest

from si_embodied.errors import ConfigError, RecordError
from si_embodied.evaluation.episode import EpisodeResult, PlanEntry
from si_embodied.evaluation.records import RecordFile, write_json
from si_embodied.types import Code, PlanRecord


def plan(text: str = "{}") -> PlanEntry:
    record = PlanRecord(1.5, "nav/v1", "m", "sdpa", "float32", (text,), 10, 5, {"total": 0.25}, Code.TOO_FAR, "far")
    return PlanEntry(record, executed=False, plan=None)


def episode(seed: int, *plans: PlanEntry) -> EpisodeResult:
    return EpisodeResult(seed, "t", f"find {seed}", True, 3, "terminated", 1.0, 0.1, {"spl": 0.5}, plans)


def test_a_run_reads_back_what_it_wrote(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "records.jsonl"
    records = RecordFile(path, "abc", {})
    written = [episode(0, plan(), plan("é \ud800 \n")), episode(1)]
    for result in written:
        records.add(result)
    assert list(RecordFile(path, "abc", {}).episodes.values()) == written


def test_every_line_is_one_json_object_that_says_its_type(tmp_path: Path) -> None:
    path = tmp_path / "records.jsonl"
    RecordFile(path, "abc", {"config": {}}).add(episode(0, plan()))
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    assert [row["type"] for row in rows] == ["run", "plan", "episode"]
    assert (rows[1]["code"], rows[1]["code_name"], rows[1]["verdict"]) == (403, "TOO_FAR", "hold")


def test_a_line_cut_short_by_a_crash_is_dropped_and_the_rest_kept(tmp_path: Path) -> None:
    path = tmp_path / "records.jsonl"
    records = RecordFile(path, "abc", {})
    records.add(episode(0))
    with path.open("a") as stream:
        stream.write('{"type": "episode", "seed": 1, "instr')
    again = RecordFile(path, "abc", {})
    again.add(episode(2))
    assert list(RecordFile(path, "abc", {}).episodes) == [0, 2]


def test_plans_of_an_episode_that_did_not_end_are_not_given_to_the_next(tmp_path: Path) -> None:
    path = tmp_path / "records.jsonl"
    RecordFile(path, "abc", {}).add(episode(0, plan("first")))
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(lines[:2]))  # the episode's own line is lost
    RecordFile(path, "abc", {}).add(episode(1))
    assert RecordFile(path, "abc", {}).episodes == {1: episode(1)}


def test_records_of_another_configuration_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "records.jsonl"
    RecordFile(path, "abc", {"config": {"task": "sort"}})
    with pytest.raises(ConfigError, match=r"other settings.*sort.*choose another --out"):
        RecordFile(path, "def", {})


@pytest.mark.parametrize(
    "content", ["not json\n", '{"type": "plan"}\n', '{"type": "run", "digest": "abc"}\n{"type": "episode"}\n']
)
def test_a_foreign_file_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "records.jsonl"
    path.write_text(content)
    with pytest.raises(ConfigError, match="choose another --out"):
        RecordFile(path, "abc", {})


def test_a_full_disk_names_the_path_and_the_fix_and_loses_nothing(tmp_path: Path) -> None:
    path = tmp_path / "records.jsonl"
    records = RecordFile(path, "abc", {})
    records.add(episode(0))
    kept = path.read_bytes()
    records.path = Path("/dev/full")
    with pytest.raises(RecordError, match=r"/dev/full.*No space left.*another --out; 1 finished"):
        records.add(episode(1))
    assert path.read_bytes() == kept
    assert list(RecordFile(path, "abc", {}).episodes) == [0]


def test_a_device_is_not_read_as_records(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="not a regular file"):
        RecordFile(Path("/dev/zero"), "abc", {})


def test_a_folder_that_is_gone_is_an_error_and_not_a_silent_loss(tmp_path: Path) -> None:
    folder = tmp_path / "disk"
    records = RecordFile(folder / "records.jsonl", "abc", {})
    folder.rename(tmp_path / "elsewhere")
    with pytest.raises(RecordError, match=r"records\.jsonl.*No such file"):
        records.add(episode(0))


def test_a_path_under_a_file_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(RecordError, match="Not a directory|File exists"):
        RecordFile(tmp_path / "file" / "records.jsonl", "abc", {})
    with pytest.raises(RecordError, match="Not a directory|File exists"):
        write_json(tmp_path / "file" / "report.json", {})
