"""The shell and Python blocks of the documents that a newcomer types: README.md and docs/tutorials."""

from __future__ import annotations

import contextlib
import os
import random
import re
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
TYPED = [ROOT / "README.md", *sorted((ROOT / "docs" / "tutorials").glob("*.md"))]
SHOWN = ("text", "yaml", "toml", "json")
"""Languages of blocks that nobody runs."""

_BLOCK = re.compile(
    r"(?:^<!-- not run: (?P<reason>.*?) -->\n)?^(?P<indent> *)```(?P<language>\S*)\n(?P<text>.*?)^(?P=indent)```$",
    re.MULTILINE | re.DOTALL,
)
_OWN = (".git", ".venv", "runs", "build")
"""What the folder in which blocks run does not share with the clone."""


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block."""

    document: Path
    line: int
    language: str
    text: str
    reason: str | None  # why it is not run; None: it is

    def __str__(self) -> str:
        return f"{self.document.relative_to(ROOT)}:{self.line}"


def blocks(document: Path) -> list[Block]:
    """All fenced blocks of a document."""
    text = document.read_text(encoding="utf-8")
    return [
        Block(document, text.count("\n", 0, found.start("language")) + 1, *found.group("language", "text", "reason"))
        for found in _BLOCK.finditer(text)
    ]


def script(document: Path, language: str) -> str:
    """The blocks of a language that are run, one after the other, as a reader types them."""
    return "\n".join(block.text for block in blocks(document) if block.language == language and block.reason is None)


def run(command: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a command in a folder that looks like the clone but has `runs/` of its own, with our command on the path."""
    for entry in ROOT.iterdir():
        if entry.name not in _OWN:
            (folder / entry.name).symlink_to(entry)
    environment = {
        **os.environ,
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
        # ROS of this test alone, and the watchdog's memory of an emergency stop.
        "ROS_DOMAIN_ID": str(random.randint(1, 100)),
        "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST",
        "ROS_HOME": str(folder / ".ros"),
    }
    process = subprocess.Popen(
        command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        start_new_session=True,
    )  # fmt: skip
    try:
        out, errors = process.communicate(timeout=3600)
    finally:  # a server that the blocks started, if they did not come to its end
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
    return subprocess.CompletedProcess(command, process.returncode, out, errors)
