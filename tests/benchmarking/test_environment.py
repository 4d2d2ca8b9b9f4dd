"""The environment of lmms-eval counts as made only if lmms-eval can be imported there."""

from __future__ import annotations

from pathlib import Path

import pytest

from si_embodied.benchmarking.environment import ensure_environment
from si_embodied.benchmarking.harness import Harness
from si_embodied.errors import ConfigError
from si_embodied.run_lock import locked


def package_in(directory: Path) -> Path:
    return directory / "lib" / "python3.11" / "site-packages" / "lmms_eval"


def make(directory: Path, imports: str) -> None:
    """An environment whose pip succeeds, and whose Python imports lmms-eval like this."""
    python = directory / "bin" / "python"
    python.parent.mkdir(parents=True, exist_ok=True)
    package_in(directory).mkdir(parents=True, exist_ok=True)
    python.write_text(f'#!/bin/sh\necho "$1" >> {directory}/calls\n[ "$1" = -m ] || {{ {imports}; }}\n')
    python.chmod(0o755)


def test_an_environment_that_cannot_import_lmms_eval_is_made_again(tmp_path: Path) -> None:
    make(tmp_path, "echo RuntimeError: operator torchvision::nms does not exist >&2; exit 1")
    with pytest.raises(ConfigError, match="torchvision::nms does not exist; if it names torchvision.* from one index"):
        ensure_environment(tmp_path, lambda _: None)
    make(tmp_path, "exit 0")
    said: list[str] = []
    for _ in range(2):
        assert ensure_environment(tmp_path, said.append) == tmp_path / "bin" / "python"
    assert len(said) == 1
    assert (tmp_path / "calls").read_text().split() == ["-m", "-c", "-m", "-c"]


def test_an_environment_whose_package_is_gone_is_made_again(tmp_path: Path) -> None:
    make(tmp_path, "exit 0")
    said: list[str] = []
    ensure_environment(tmp_path, said.append)
    package_in(tmp_path).rmdir()
    ensure_environment(tmp_path, said.append)
    assert len(said) == 2
    with pytest.raises(ConfigError, match="lmms-eval is not installed in"):
        Harness(tmp_path / "bin" / "python", tmp_path, None, 1).package()


def test_two_runs_do_not_install_into_one_environment(tmp_path: Path) -> None:
    make(tmp_path, "exit 0")
    with locked(tmp_path), pytest.raises(ConfigError, match="another run is writing.*or choose another --environment"):
        ensure_environment(tmp_path, lambda _: None)
