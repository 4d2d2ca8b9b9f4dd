"""A newcomer can type what the README and the tutorials show."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from blocks import ROOT, SHOWN, TYPED, Block, blocks, run, script

ALL = [block for document in TYPED for block in blocks(document)]
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
