"""A newcomer can type what the README and the tutorials show."""

from __future__ import annotations

import re
import shlex
import sys
from pathlib import Path

import pytest
from blocks import ROOT, SHOWN, TYPED, Block, blocks, run, script

from si_embodied.cli.main import main

ALL = [block for document in TYPED for block in blocks(document)]
_NUMBER = re.compile(r"\d+(?:\.\d+)?")
LEFT_OUT = [block for block in ALL if block.reason is not None]
each_document = pytest.mark.parametrize("document", TYPED, ids=lambda path: str(path.relative_to(ROOT)))


@each_document
def test_every_block_is_run_or_says_why_not(document: Path) -> None:
    found = blocks(document)
    assert document.read_text(encoding="utf-8").count("```") == 2 * len(found), "a fence is not closed, or not seen"
    unknown = [f"{block}: {block.language!r}" for block in found if block.language not in ("bash", "python", *SHOWN)]
    assert not unknown, f"blocks are bash or python, which are run, or {SHOWN}, which are not: {unknown}"
    vague = [str(block) for block in found if block.reason is not None and len(block.reason.split()) < 3]
    assert not vague, f"say what a block needs in `<!-- not run: … -->`: {vague}"


@pytest.mark.slow
def test_the_plan_that_the_readme_shows_is_the_one_that_its_command_prints(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Line by line; another processor may point a pixel beside it."""
    pytest.importorskip("mujoco", reason="it runs a world")
    pytest.importorskip("torch", reason="it runs si-nano")
    readme = blocks(ROOT / "README.md")
    at = next(i for i, block in enumerate(readme) if "si-embodied plan " in block.text)
    typed = next(line for line in readme[at].text.splitlines() if line.startswith("si-embodied plan "))
    monkeypatch.setenv("COLUMNS", "200")
    assert main(shlex.split(typed)[1:]) == 0
    printed = [line.replace("│", " ").split() for line in capsys.readouterr().out.splitlines()]
    for line in readme[at + 1].text.splitlines():
        name, *_ = words = line.split()
        like = [each for each in printed if each[:1] == [name] and _without_numbers(each) == _without_numbers(words)]
        assert like, f"no line of the output is like {line!r}"
        assert _numbers(like[0]) == pytest.approx(_numbers(words), rel=0.02, abs=0.02)


def _without_numbers(words: list[str]) -> str:
    return _NUMBER.sub("#", " ".join(words))


def _numbers(words: list[str]) -> list[float]:
    return [float(each) for each in _NUMBER.findall(" ".join(words))]


@pytest.mark.slow
@pytest.mark.parametrize("block", LEFT_OUT, ids=str)
def test_a_block_that_is_not_run(block: Block) -> None:
    pytest.skip(str(block.reason))


@pytest.mark.slow
@pytest.mark.timeout(3700)
@pytest.mark.parametrize("document", [each for each in TYPED if script(each, "bash")], ids=lambda path: path.stem)
def test_the_shell_blocks_of_a_document_run(document: Path, tmp_path: Path) -> None:
    for extra in (
        "mujoco",
        "torch",
        "fastapi",
        *(["rclpy", "si_embodied_msgs"] if "ros up" in script(document, "bash") else []),
    ):
        pytest.importorskip(extra, reason=f"{document.name} needs {extra}")
    done = run(["bash", "-euo", "pipefail", "-c", script(document, "bash")], tmp_path)
    assert done.returncode == 0, f"{done.stdout[-3000:]}\n{done.stderr[-3000:]}"


@pytest.mark.slow
@pytest.mark.parametrize("document", [each for each in TYPED if script(each, "python")], ids=lambda path: path.stem)
def test_the_python_blocks_of_a_document_run(document: Path, tmp_path: Path) -> None:
    pytest.importorskip("mujoco", reason="it runs a world")
    pytest.importorskip("torch", reason="it runs si-nano")
    done = run([sys.executable, "-c", script(document, "python")], tmp_path)
    assert done.returncode == 0, done.stderr[-3000:]
    assert '"subgoals"' in done.stdout
