"""`si-embodied models`."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from si_embodied.cli.main import main

if TYPE_CHECKING:
    from pathlib import Path


def models(*arguments: str) -> int:
    return main(["models", *arguments])


def test_tiny_writes_a_checkpoint(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """And says where."""
    pytest.importorskip("transformers")
    from si_embodied.models import inspect_checkpoint

    assert models("tiny", str(tmp_path / "model"), "--seed", "3") == 0
    assert inspect_checkpoint(tmp_path / "model").model_type == "qwen3_vl"
    assert str(tmp_path / "model") in capsys.readouterr().out
    modes = {file.stat().st_mode for file in (tmp_path / "model").iterdir()}
    assert len(modes) == 1, "a server, which is often a user of its own, may read the weights if it may read the rest"


def test_list_names_every_release_and_what_it_needs(capsys: pytest.CaptureFixture[str]) -> None:
    """For people, in 80 columns: no name is cut."""
    from si_embodied.models.registry import RELEASES

    assert models("list") == 0
    lines = capsys.readouterr().out.splitlines()
    for release in RELEASES:
        assert sum(f" {release.short_name} " in line for line in lines) == 1


def test_list_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    """For programs: one line."""
    assert models("list", "--json") == 0
    rows = {row["name"]: row for row in json.loads(capsys.readouterr().out)}
    best = rows["1.4-InternVL3-8B"]
    assert best["hub_id"] == "sensenova/SenseNova-SI-1.4-InternVL3-8B"
    assert (best["family"], best["format"], best["easi8"]) == ("internvl", "original InternVL", 63.7)
    assert best["memory_gb"]["full"] > best["memory_gb"]["8bit"] > best["memory_gb"]["4bit"] > 0
    assert rows["1.1-BAGEL-7B-MoT"]["memory_gb"] == {"full": 19.3, "8bit": 12.4, "4bit": 9.0}


def test_convert_writes_a_checkpoint(
    original_internvl: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """And says where."""
    from si_embodied.models import inspect_checkpoint

    assert models("convert", "--model", str(original_internvl), "--out", str(tmp_path / "out")) == 0
    assert not inspect_checkpoint(tmp_path / "out").original
    assert str(tmp_path / "out") in capsys.readouterr().out


def test_a_missing_verb_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert models() == 2
    assert "expected a verb after `si-embodied models`: list, convert" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["tiny"], ["convert", "--model", "x"], ["tiny", "x", "--seed", "one"]])
def test_bad_arguments_point_to_the_help(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """The parser's message and exit code."""
    with pytest.raises(SystemExit) as caught:
        models(*arguments)
    assert caught.value.code == 2
    assert "si-embodied models" in capsys.readouterr().err


def test_registering_the_verb_is_light() -> None:
    """torch is imported when the verb runs."""
    code = "import sys, si_embodied.cli.models\nassert not {'torch', 'transformers', 'rich'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
