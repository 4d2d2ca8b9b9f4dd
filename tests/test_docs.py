"""Documents point at things that exist, and show commands and code that work."""

from __future__ import annotations

import ast
import importlib
import itertools
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import reliability
import yaml

from si_embodied import __version__
from si_embodied.cli.main import parse
from si_embodied.errors import SiEmbodiedError

ROOT = Path(__file__).parents[1]
PROJECT = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md")]
DOCUMENTS = [*PROJECT, *sorted((ROOT / "docs").rglob("*.md"))]
each_document = pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))

COMMANDS = re.compile(r"^ *```(?:bash|sh|console)\n(.*?)^ *```", re.MULTILINE | re.DOTALL)
PYTHON = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
FILE = re.compile(
    r"`((?:si_embodied|envs|policies|ros_nodes|launch|config|interfaces|examples|tests|benchmarks|docs)/[a-z0-9_./]*)`"
)

SYMBOLS = re.compile(r"((?:`\w+`(?:,| or| and)? )+)in `([\w/.]+\.py)`")


def slug(heading: str) -> str:
    """A heading's anchor, as code forges make it."""
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


def lines(file: Path) -> list[str]:
    return file.read_text(encoding="utf-8").splitlines() if file.suffix == ".md" and file.exists() else []


def commands(document: Path) -> list[str]:
    text = document.read_text(encoding="utf-8").replace("\\\n", " ")
    return [line.partition("  #")[0].strip() for block in COMMANDS.findall(text) for line in block.splitlines()]


@each_document
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
    assert not missing, f"{document.relative_to(ROOT)} has broken links: {missing}"


@each_document
def test_files_in_a_document_exist(document: Path) -> None:
    if document.name == "CHANGELOG.md":
        pytest.skip("a changelog names files that were renamed")
    missing = [name for name in FILE.findall(document.read_text(encoding="utf-8")) if not (ROOT / name).exists()]
    assert not missing, f"{document.relative_to(ROOT)} names files that do not exist: {missing}"


@pytest.mark.parametrize("document", ["README.md", "CONTRIBUTING.md"])
def test_symbols_are_defined_in_the_file_that_a_document_names(document: str) -> None:
    missing = [
        f"`{name}` in `{file}`"
        for names, file in SYMBOLS.findall((ROOT / document).read_text(encoding="utf-8"))
        for name in re.findall(r"`(\w+)`", names)
        if not defines(ROOT / file, name)
    ]
    assert not missing, f"{document} names symbols that are not defined there: {missing}"


def defines(file: Path, name: str) -> bool:
    source = file.read_text(encoding="utf-8") if file.exists() else ""
    return re.search(rf"^ *(?:(?:class|def) {name}\b|{name} *[:=])", source, re.MULTILINE) is not None


@each_document
def test_commands_are_understood(document: Path) -> None:
    misunderstood = [
        command
        for command in commands(document)
        if (words := words_of(command))[:1] == ["si-embodied"] and not understood(words[1:])
    ]
    assert not misunderstood, f"{document.relative_to(ROOT)} shows commands that si-embodied rejects: {misunderstood}"


def words_of(command: str) -> list[str]:
    """The words of a shell line's first command, without variables before it and up to a pipe or redirection."""
    lexer = shlex.shlex(command, posix=True, punctuation_chars=True)
    lexer.commenters, lexer.whitespace_split = "", True
    try:
        words = list(itertools.takewhile(lambda word: not set(word) <= set(";<>|&()"), lexer))
    except ValueError:  # a quotation that goes on in the next line
        return []
    return list(itertools.dropwhile(lambda word: re.match(r"[A-Z_]+=", word), words))


def understood(arguments: list[str]) -> bool:
    try:
        parse(arguments)
    except SystemExit as stopped:
        return stopped.code == 0
    except SiEmbodiedError:
        return True  # a placeholder, `capability.name` for example
    return True


@each_document
def test_code_imports_what_exists(document: Path) -> None:
    pytest.importorskip("mujoco", reason="the documents import worlds and models")
    pytest.importorskip("torch", reason="the documents import worlds and models")
    missing = []
    for block in PYTHON.findall(document.read_text(encoding="utf-8")):
        for node in ast.walk(ast.parse(block)):
            if isinstance(node, ast.ImportFrom):
                module = importlib.import_module(str(node.module))
                missing += [f"{node.module}.{alias.name}" for alias in node.names if not hasattr(module, alias.name)]
    assert not missing, f"{document.relative_to(ROOT)} imports names that do not exist: {missing}"


def test_the_readme_s_code_runs() -> None:
    pytest.importorskip("mujoco", reason="the README runs the Apartment")
    pytest.importorskip("torch", reason="the README runs si-nano")
    (block,) = PYTHON.findall((ROOT / "README.md").read_text(encoding="utf-8"))
    done = subprocess.run([sys.executable, "-c", block], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert '"subgoals"' in done.stdout


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


def test_the_reliability_page_lists_the_promises_of_the_tests() -> None:
    promises = [(fault.title, promise.words) for fault in reliability.faults() for promise in fault.promises]
    listed = reliability.listed(reliability.DOCUMENT.read_text(encoding="utf-8"))
    assert listed == promises, "docs/reliability.md is out of date: run `make reliability`"


def test_the_changelog_and_the_citation_name_the_version() -> None:
    assert f"\n## [{__version__}] - " in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == __version__


def test_the_citation_has_what_cff_requires() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["cff-version"] == "1.2.0"
    assert {"message", "title", "authors"} <= set(citation)
    assert all({"type", "title", "authors"} <= set(reference) for reference in citation["references"])


@pytest.mark.parametrize("file", sorted((ROOT / ".github").rglob("*.yml")), ids=lambda path: path.name)
def test_the_forge_s_files_are_yaml(file: Path) -> None:
    assert isinstance(yaml.safe_load(file.read_text(encoding="utf-8")), dict)


def test_ci_tests_every_python_that_the_package_supports() -> None:
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text(encoding="utf-8"))
    classifiers = re.findall(r"Python :: (3\.\d+)", (ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert workflow["jobs"]["check"]["strategy"]["matrix"]["python"] == classifiers
