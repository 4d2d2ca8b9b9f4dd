"""One run at a time writes into a folder."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from si_embodied.errors import ConfigError, RecordError
from si_embodied.run_lock import LOCK, locked

HOLD = (
    "import sys\nfrom pathlib import Path\nfrom si_embodied.run_lock import locked\n"
    "with locked(Path(sys.argv[1])):\n    print('held', flush=True)\n    sys.stdin.read()\n"
)


def held(folder: Path) -> subprocess.Popen[str]:
    """Another process that has locked the folder."""
    other = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert other.stdout is not None
    assert other.stdout.readline() == "held\n"
    return other


def test_a_second_run_is_refused_and_told_by_whom_until_the_first_is_killed(tmp_path: Path) -> None:
    with held(tmp_path) as other:
        with (
            pytest.raises(ConfigError, match=rf"another run .*process {other.pid} on .*another --out"),
            locked(tmp_path),
        ):
            pass
        os.kill(other.pid, signal.SIGKILL)
        other.wait()
    with locked(tmp_path):
        assert (tmp_path / LOCK).read_text().startswith(f"process {os.getpid()} on ")


def test_a_lock_ends_with_its_block_and_leaves_nothing(tmp_path: Path) -> None:
    for _ in range(2):
        with pytest.raises(RuntimeError, match="crash"), locked(tmp_path / "new"):
            raise RuntimeError("crash")
    assert list((tmp_path / "new").iterdir()) == []


def test_a_lock_on_a_file_that_was_removed_does_not_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first run ends between a second one's opening of the file and its locking it."""
    import fcntl

    really, removed = fcntl.flock, []

    def remove_first(descriptor: int, operation: int) -> None:
        if not removed:
            removed.append((tmp_path / LOCK).unlink())
        really(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", remove_first)
    with locked(tmp_path), pytest.raises(ConfigError, match="another run"), locked(tmp_path):
        pass


def test_a_child_of_the_run_does_not_inherit_the_lock(tmp_path: Path) -> None:
    with locked(tmp_path):
        child = subprocess.Popen(["sleep", "60"], close_fds=False)
    try:
        with locked(tmp_path):
            pass
    finally:
        child.kill()
        child.wait()


def test_a_path_under_a_file_is_an_error_of_the_record(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(RecordError, match="is a file where a folder is needed"), locked(tmp_path / "file" / "run"):
        pass
