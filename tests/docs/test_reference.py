"""The reference lists what the code has: a renamed flag, parameter, message or code fails here."""

from __future__ import annotations

import contextlib
import importlib
import io
import re

import pytest
from command_page import entries
from write_reference import FOLDER, PAGES

from si_embodied.cli.main import GROUPS, VERBS, main

NAMES = re.compile(r"^::: ([\w.]+)$", re.MULTILINE)
README = (FOLDER.parents[1] / "README.md").read_text(encoding="utf-8")
PYTHON = (FOLDER / "python.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", PAGES)
def test_a_generated_page_is_what_the_code_says(name: str) -> None:
    written, now = (FOLDER / name).read_text(encoding="utf-8").splitlines(), PAGES[name]().splitlines()
    changed = [f"- {line}" for line in written if line not in now] + [
        f"+ {line}" for line in now if line not in written
    ]
    assert written == now, "\n".join([f"docs/reference/{name} is out of date; run `make reference`:", *changed[:20]])


@pytest.mark.parametrize("verb", VERBS)
def test_the_command_s_page_has_the_flags_of_its_help(verb: str) -> None:
    """`--help` is tyro's, made from the same dataclasses in another way."""
    for entry in entries(verb):
        shown = io.StringIO()
        with contextlib.redirect_stdout(shown), contextlib.suppress(SystemExit):
            main([*entry.words.split(), "--help"])
        flags = set(re.findall(r"^\W (--[a-z][a-z0-9-]+)", shown.getvalue(), re.MULTILINE))
        assert flags == {flag.name for flag in entry.flags if flag.name.startswith("--")}, entry.words


@pytest.mark.parametrize("name", NAMES.findall(PYTHON))
def test_a_name_of_the_python_page_exists_and_has_a_docstring(name: str) -> None:
    pytest.importorskip("gymnasium", reason="policies name its environments")
    module, _, attribute = name.rpartition(".")
    owner = importlib.import_module(module)
    found = getattr(owner, attribute, None) or importlib.import_module(name)
    assert (found.__doc__ or "").strip(), f"docs/reference/python.md shows {name}, which has no docstring"


def test_the_readme_has_every_verb_in_its_group() -> None:
    rows = re.findall(r"^\| (?:\*\*(.+?)\*\*)? ?\| `si-embodied (\w+)` \|", README, re.MULTILINE)
    groups: dict[str, list[str]] = {}
    for title, verb in rows:
        groups.setdefault(title or list(groups)[-1], []).append(verb)
    assert groups == {title: list(verbs) for title, verbs in GROUPS.items()}


def test_every_page_of_the_site_is_in_its_navigation() -> None:
    navigation = (FOLDER.parents[1] / "mkdocs.yml").read_text(encoding="utf-8").partition("\nnav:")[2]
    pages = {str(page.relative_to(FOLDER.parent)) for page in FOLDER.parent.rglob("*.md")}
    assert pages <= set(re.findall(r"[\w/-]+\.md", navigation))
