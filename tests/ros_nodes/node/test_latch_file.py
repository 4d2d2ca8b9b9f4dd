"""The watchdog's file keeps an emergency stop over a restart; what cannot be read counts as a stop."""

from __future__ import annotations

from pathlib import Path

import pytest

from si_embodied.ros_nodes.node.latch_file import LatchFile, latch_path


@pytest.fixture
def file(tmp_path: Path) -> LatchFile:
    return LatchFile(tmp_path / "si_embodied" / "emergency_stop.domain_0")


def test_a_stop_is_kept_for_the_next_watchdog_until_it_is_released(file: LatchFile) -> None:
    assert not file.reason()
    file.write(latched=True)
    assert "never released" in LatchFile(file.path).reason()
    assert list(file.path.parent.iterdir()) == [file.path], "no temporary file stays"
    file.write(latched=False)
    file.write(latched=False)
    assert not file.reason()
    assert not list(file.path.parent.iterdir())


@pytest.mark.parametrize("content", [b"", b"latch", b"released\n", b"\xff\xfe\x00", b"latched\n" * 1000])
def test_a_damaged_file_is_a_stop(file: LatchFile, content: bytes) -> None:
    file.prepare()
    file.path.write_bytes(content)
    assert "it may have been set before" in file.reason()
    file.write(latched=False)
    assert not file.reason()


def test_a_file_that_cannot_be_read_is_a_stop(file: LatchFile) -> None:
    file.path.mkdir(parents=True)
    assert "cannot be read" in file.reason()


def test_where_nothing_can_be_written_there_is_no_stop_and_an_error(tmp_path: Path) -> None:
    (tmp_path / "home").write_text("a file")
    file = LatchFile(tmp_path / "home" / "si_embodied" / "emergency_stop.domain_0")
    assert not file.reason()
    with pytest.raises(OSError, match="home"):
        file.prepare()
    with pytest.raises(OSError, match="home"):
        file.write(latched=True)


def test_every_domain_and_namespace_has_its_own_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ROS_HOME", str(tmp_path))
    names = set()
    for domain in ("0", "7"):
        monkeypatch.setenv("ROS_DOMAIN_ID", domain)
        names |= {latch_path(namespace) for namespace in ("/", "/robot1", "/robot2", "/a/b", "/a_b")}
    assert len(names) == 10
    assert tmp_path / "si_embodied" / "emergency_stop.domain_7.a.b" in names
