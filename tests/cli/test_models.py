"""`si-embodied models`."""

from __future__ import annotations

import argparse
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


@pytest.mark.parametrize("arguments", [[], ["tiny"], ["tiny", "x", "--seed", "one"]])
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
