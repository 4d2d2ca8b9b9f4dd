"""`si-embodied models`."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from si_embodied.cli.models import add_parser

if TYPE_CHECKING:
    from pathlib import Path


def _parse(*arguments: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_parser(parser.add_subparsers())
    return parser.parse_args(["models", *arguments])


def test_tiny_writes_a_checkpoint(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """And says where."""
    pytest.importorskip("transformers")
    from si_embodied.models import inspect_checkpoint

    args = _parse("tiny", str(tmp_path / "model"), "--seed", "3")
    assert args.run(args) == 0
    assert inspect_checkpoint(tmp_path / "model").model_type == "qwen3_vl"
    assert str(tmp_path / "model") in capsys.readouterr().out


def test_list_names_every_release_and_what_it_needs(capsys: pytest.CaptureFixture[str]) -> None:
    """For people, in 80 columns: no name is cut."""
    from si_embodied.models.registry import RELEASES

    args = _parse("list")
    assert args.run(args) == 0
    lines = capsys.readouterr().out.splitlines()
    for release in RELEASES:
        assert sum(f" {release.short_name} " in line for line in lines) == 1
    assert any("1.1-BAGEL-7B-MoT" in line and "server only" in line for line in lines)


def test_list_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    """For programs: one line."""
    args = _parse("list", "--json")
    assert args.run(args) == 0
    rows = {row["name"]: row for row in json.loads(capsys.readouterr().out)}
    best = rows["1.4-InternVL3-8B"]
    assert best["hub_id"] == "sensenova/SenseNova-SI-1.4-InternVL3-8B"
    assert (best["family"], best["format"], best["easi8"]) == ("internvl", "original InternVL", 63.7)
    assert best["memory_gb"]["full"] > best["memory_gb"]["8bit"] > best["memory_gb"]["4bit"] > 0
    assert rows["1.1-BAGEL-7B-MoT"]["memory_gb"] is None


def test_weights_can_be_given_as_they_can_be_loaded() -> None:
    """The command's choices are the loader's."""
    from si_embodied.cli.arguments import add_model
    from si_embodied.models.footprint import WEIGHTS

    parser = argparse.ArgumentParser()
    add_model(parser)
    for weights in WEIGHTS:
        assert parser.parse_args(["--weights", weights]).weights == weights


def test_convert_writes_a_checkpoint(
    original_internvl: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """And says where."""
    from si_embodied.models import inspect_checkpoint

    args = _parse("convert", "--model", str(original_internvl), "--out", str(tmp_path / "out"))
    assert args.run(args) == 0
    assert not inspect_checkpoint(tmp_path / "out").original
    assert str(tmp_path / "out") in capsys.readouterr().out


@pytest.mark.parametrize("arguments", [[], ["tiny"], ["convert", "--model", "x"], ["tiny", "x", "--seed", "one"]])
def test_bad_arguments_end_in_usage(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """argparse's own message and exit code."""
    with pytest.raises(SystemExit) as caught:
        _parse(*arguments)
    assert caught.value.code == 2
    assert "usage" in capsys.readouterr().err


def test_registering_the_verb_is_light() -> None:
    """torch is imported when the verb runs."""
    code = "import sys, si_embodied.cli.models\nassert not {'torch', 'transformers', 'rich'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
