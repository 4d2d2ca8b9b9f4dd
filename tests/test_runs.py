"""A run can be interrupted at any instant: nothing that was written is lost, and runs are never mixed."""

from __future__ import annotations

import errno
import json
import logging
import os
from pathlib import Path

import pytest

from si_embodied.errors import ConfigError, RecordError
from si_embodied.remedies import to_write
from si_embodied.runs import JsonLines, claim, replacing, write_json, write_text

# --- atomic files ---------------------------------------------------------------------------------------------------


def test_a_file_is_written_into_a_folder_that_did_not_exist(tmp_path: Path) -> None:
    write_json(tmp_path / "new" / "report.json", {"label": "é", "success": 0.5})
    assert json.loads((tmp_path / "new" / "report.json").read_text("utf-8")) == {"label": "é", "success": 0.5}


def test_the_old_file_stays_whole_when_writing_fails(tmp_path: Path) -> None:
    write_text(tmp_path / "state", "old")

    def crash() -> None:
        with replacing(tmp_path / "state") as part:
            part.write_text("half")
            raise RuntimeError("crash")

    with pytest.raises(RuntimeError, match="crash"):
        crash()
    assert (tmp_path / "state").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["state"], "the partial file is removed"


def test_a_full_disk_names_the_file_and_the_fix(tmp_path: Path) -> None:
    with (
        pytest.raises(RecordError, match=r"state'.*No space left on device. Free some space"),
        replacing(tmp_path / "state"),
        Path("/dev/full").open("w") as device,
    ):
        device.write("x")


@pytest.mark.parametrize(
    ("number", "remedy"),
    [
        (errno.ENOSPC, "free some space or choose another --out"),
        (errno.EDQUOT, "free some space or choose another --out"),
        (errno.EEXIST, "a file where a folder is needed"),
        (errno.ENOTDIR, "a file where a folder is needed"),
        (errno.EISDIR, "a folder of that name: remove it"),
        (errno.EACCES, "change the permissions"),
        (errno.EPERM, "change the permissions"),
        (errno.EROFS, "nobody may write to that disk"),
    ],
)
def test_the_remedy_fits_the_reason(number: int, remedy: str) -> None:
    said = to_write(OSError(number, os.strerror(number)))
    assert remedy in said
    assert said.endswith("choose another --out")
    assert ("free some space" in said) == ("free some space" in remedy)


def test_a_path_under_a_file_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(RecordError, match="Not a directory|File exists"):
        write_json(tmp_path / "file" / "report.json", {})
    with pytest.raises(RecordError, match="Not a directory|File exists"):
        JsonLines(tmp_path / "file" / "records.jsonl")


# --- settings -------------------------------------------------------------------------------------------------------


def test_a_run_resumes_with_the_same_settings(tmp_path: Path) -> None:
    for images in ((1, 2), [1, 2]):  # JSON has no tuples
        claim(tmp_path / "new" / "settings.json", {"steps": 3, "images": images})


def test_other_settings_are_refused_and_the_difference_is_named(tmp_path: Path) -> None:
    file = tmp_path / "settings.json"
    claim(file, {"steps": 3, "planner": {"views": 2, "seed": 0}, "old": True})
    with pytest.raises(ConfigError, match=r"\(planner\.views 2, now 4; old True, now None\).*another --out"):
        claim(file, {"steps": 3, "planner": {"views": 4, "seed": 0}})


def test_a_setting_that_may_change_is_not_compared(tmp_path: Path) -> None:
    claim(tmp_path / "run.json", {"steps": 3, "config": {"workers": 1}})
    claim(tmp_path / "run.json", {"steps": 3, "config": {"workers": 8}}, may_change=("config.workers",))
    claim(tmp_path / "run.json", {"steps": 3, "config": {"workers": 8}}, may_change=("config",))
    assert json.loads((tmp_path / "run.json").read_text())["config"] == {"workers": 1}


@pytest.mark.parametrize("content", ["{", "[]", "3"])
def test_a_file_without_settings_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "settings.json").write_text(content)
    with pytest.raises(ConfigError, match="choose another --out"):
        claim(tmp_path / "settings.json", {"steps": 3})


# --- JSON lines -----------------------------------------------------------------------------------------------------


def test_a_torn_last_line_is_dropped_and_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "records.jsonl"
    path.write_text('{"seed": 0}\n{"seed": 1, "instr')
    with caplog.at_level(logging.WARNING):
        lines = JsonLines(path)
    assert lines.rows == [{"seed": 0}]
    assert "records.jsonl: dropped its last line" in caplog.text
    lines.append({"seed": 2}, {"text": "é \ud800 \n"})
    assert JsonLines(path).rows == [{"seed": 0}, {"seed": 2}, {"text": "é \ud800 \n"}]


def test_a_full_disk_loses_no_earlier_line(tmp_path: Path) -> None:
    lines = JsonLines(tmp_path / "records.jsonl")
    lines.append({"seed": 0})
    lines.path = Path("/dev/full")
    with pytest.raises(RecordError, match=r"/dev/full.*No space left.*another --out; earlier lines are kept"):
        lines.append({"seed": 1})
    assert JsonLines(tmp_path / "records.jsonl").rows == [{"seed": 0}]


def test_a_folder_that_is_gone_is_an_error_and_not_a_silent_loss(tmp_path: Path) -> None:
    lines = JsonLines(tmp_path / "disk" / "records.jsonl")
    (tmp_path / "disk").rename(tmp_path / "elsewhere")
    with pytest.raises(RecordError, match=r"records\.jsonl.*No such file"):
        lines.append({"seed": 0})


def test_a_device_is_not_read_as_records() -> None:
    with pytest.raises(ConfigError, match="not a regular file"):
        JsonLines(Path("/dev/zero"))


@pytest.mark.parametrize("content", ["not json\n", '"text"\n', "no line break", '{"seed": 0}\nnotes'])
def test_a_file_of_another_kind_is_refused_and_left_whole(tmp_path: Path, content: str) -> None:
    (tmp_path / "notes.txt").write_text(content)
    with pytest.raises(ConfigError, match="choose another --out"):
        JsonLines(tmp_path / "notes.txt")
    assert (tmp_path / "notes.txt").read_text() == content
