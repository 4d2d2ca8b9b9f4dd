"""The environment of lmms-eval counts as made only if lmms-eval can be imported there."""

from __future__ import annotations

from pathlib import Path

import pytest

from si_embodied.benchmarking.environment import ensure_environment
from si_embodied.errors import ConfigError


def make(directory: Path, imports: str) -> None:
    """An environment whose pip succeeds, and whose Python imports lmms-eval like this."""
    python = directory / "bin" / "python"
    python.parent.mkdir(parents=True, exist_ok=True)
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
