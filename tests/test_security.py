"""docs/security.md promises only what a test shows."""

from __future__ import annotations

import ast
import re
import sqlite3
from pathlib import Path

import pytest

from si_embodied.errors import DataError

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "security.md").read_text(encoding="utf-8")
SHOWN = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")


def promises() -> list[str]:
    """The rows of the page's tables of promises."""
    tables = re.findall(r"^\| promise \| shown by \|\n\|.*\n((?:\|.*\n)+)", PAGE, re.MULTILINE)
    return [row for table in tables for row in table.splitlines()]


@pytest.mark.parametrize("promise", promises(), ids=lambda row: row.split("|")[1].strip()[:50])
def test_each_promise_names_tests_that_exist(promise: str) -> None:
    shown = SHOWN.findall(promise)
    assert shown, "a promise needs the test that shows it"
    for file, name in shown:
        tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
        assert name in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}, f"{file}::{name}"


def test_every_surface_has_promises() -> None:
    assert len(promises()) > 30
    for surface in ("Model files", "Network", "ROS graph", "Instructions and scene text", "Recordings and settings"):
        section = PAGE.partition(f"\n## {surface}\n")[2].partition("\n## ")[0]
        assert SHOWN.search(section), surface
        assert "**Not promised:**" in section, surface


def test_the_server_listens_on_this_machine_by_default() -> None:
    pytest.importorskip("fastapi", reason="the server needs the extra serve")
    from si_embodied.serving.access import is_loopback
    from si_embodied.serving.options import ServeOptions

    assert is_loopback(ServeOptions().host)


def test_a_recording_s_metadata_opens_no_file_outside_its_folder(tmp_path: Path) -> None:
    pytest.importorskip("mcap", reason="recordings need the extra bags")
    from si_embodied.ros_nodes.recording.bag_files import BagFiles

    (tmp_path / "outside.mcap").write_bytes(b"\x89MCAP0\r\n")
    folder = tmp_path / "recording"
    folder.mkdir()
    (folder / "metadata.yaml").write_text(
        "rosbag2_bagfile_information:\n  relative_file_paths: [../outside.mcap]\n  storage_identifier: mcap\n"
    )
    with pytest.raises(DataError, match=r"expected a folder with \.mcap or \.db3 files"):
        BagFiles(folder)


ENDLESS = "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT x AS id, 1 AS topic_id"
TOPICS = "CREATE TABLE topics(id INTEGER PRIMARY KEY, name TEXT, type TEXT, serialization_format TEXT)"
MESSAGES = "CREATE TABLE messages(id INTEGER PRIMARY KEY, topic_id INTEGER, timestamp INTEGER, data BLOB)"


def database(file: Path, *commands: str) -> Path:
    """A SQLite recording with one topic, made by these commands."""
    with sqlite3.connect(file) as base:
        for command in (*commands, "INSERT INTO topics VALUES (1, '/a', 'b', 'cdr')"):
            base.execute(command)
    base.close()
    return file


def test_a_recording_s_database_cannot_make_the_reader_compute(tmp_path: Path) -> None:
    """A view that gives a megabyte a row for ever, and a column that is a gigabyte."""
    pytest.importorskip("mcap", reason="recordings need the extra bags")
    from si_embodied.ros_nodes.recording.bag_files import BagFiles

    view = f"CREATE VIEW messages AS {ENDLESS}, 1 AS timestamp, zeroblob(1000000) AS data FROM c"
    with pytest.raises(DataError, match="not authorized"):
        list(BagFiles(database(tmp_path / "view.db3", TOPICS, view)).messages(lambda *_: True))
    column = MESSAGES.replace("BLOB", "BLOB AS (zeroblob(900000000))")
    row = "INSERT INTO messages(id, topic_id, timestamp) VALUES (1, 1, 1)"
    assert list(BagFiles(database(tmp_path / "column.db3", TOPICS, column, row)).messages(lambda *_: True)) == []
    row = "INSERT INTO messages VALUES (1, 1, 5, x'00')"
    found = list(BagFiles(database(tmp_path / "plain.db3", TOPICS, MESSAGES, row)).messages(lambda *_: True))
    assert found == [("/a", "b", 5, b"\0")]
