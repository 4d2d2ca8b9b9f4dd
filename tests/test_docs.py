"""What the documents point at is there, and the commands that they show are understood."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from si_embodied.cli.main import make_parser

ROOT = Path(__file__).parents[1]
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
FENCE = re.compile(r"^```(?:bash|sh|console)\n(.*?)^```", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")


def slug(heading: str) -> str:
    """A heading's anchor, as code forges make it."""
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


def lines(file: Path) -> list[str]:
    return file.read_text(encoding="utf-8").splitlines() if file.suffix == ".md" and file.exists() else []


def commands(document: Path) -> list[str]:
    text = document.read_text(encoding="utf-8").replace("\\\n", " ")
    return [line.partition("  #")[0].strip() for block in FENCE.findall(text) for line in block.splitlines()]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(document: Path) -> None:
    missing = []
    for target in LINK.findall(document.read_text(encoding="utf-8")):
        if "://" in target:
            continue
        name, _, anchor = target.partition("#")
        file = (document.parent / name).resolve() if name else document
        headings = {slug(line.lstrip("#")) for line in lines(file) if line.startswith("#")}
        if not file.exists() or (anchor and anchor not in headings):
            missing.append(target)
    assert not missing, f"{document.relative_to(ROOT)} links to what is not there: {missing}"


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_commands_are_understood(document: Path) -> None:
    misunderstood = [
        command
        for command in commands(document)
        if command.startswith("si-embodied ") and not understood(shlex.split(command)[1:])
    ]
    assert not misunderstood, f"{document.relative_to(ROOT)} shows what the command does not take: {misunderstood}"


def understood(arguments: list[str]) -> bool:
    try:
        make_parser().parse_args(arguments)
    except SystemExit as stopped:
        return stopped.code == 0
    return True


def test_make_targets_exist() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for document in DOCUMENTS:
        for target in re.findall(r"`make ([a-z-]+)|^make ([a-z-]+)", document.read_text(), re.MULTILINE):
            name = next(filter(None, target))
            assert name in targets, f"{document.relative_to(ROOT)} names `make {name}`, which the Makefile lacks"


def test_every_document_can_be_found_from_the_index() -> None:
    linked = set(LINK.findall((ROOT / "docs" / "index.md").read_text()))
    for document in (ROOT / "docs").rglob("*.md"):
        name = str(document.relative_to(ROOT / "docs"))
        assert name in linked or name == "index.md", f"docs/index.md does not mention {name}"
