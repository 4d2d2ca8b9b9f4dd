"""The site builds without a warning, has no dead link, fetches nothing, and shows in a browser."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urldefrag

import pytest
from blocks import ROOT

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

PAGES = ("index.html", "concepts.html", "planner.html", "reference/command.html", "reference/python.html")


class Page(HTMLParser):
    """What a page links to and loads, and the anchors that it has."""

    def __init__(self, file: Path) -> None:
        super().__init__()
        self.links: set[str] = set()
        self.loads: set[str] = set()
        self.anchors: set[str] = set()
        self.feed(file.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self.anchors |= {given.get("id", ""), given.get("name", "")}
        if tag == "a":
            self.links.add(given.get("href", ""))
        elif tag in ("link", "script", "img", "source", "iframe"):
            self.loads |= {given.get("src", ""), given.get("href", "")}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built site."""
    pytest.importorskip("material", reason="the site needs the extra docs")
    pytest.importorskip("mkdocstrings", reason="the site needs the extra docs")
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--quiet", "--strict", "--site-dir", str(folder)],
        cwd=ROOT, env={**os.environ, "NO_MKDOCS_2_WARNING": "1"}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return folder


@pytest.fixture(scope="module")
def pages(site: Path) -> dict[Path, Page]:
    """Every page, by its file."""
    return {file: Page(file) for file in site.rglob("*.html")}


def test_no_link_is_dead(site: Path, pages: dict[Path, Page]) -> None:
    dead = []
    for file, page in pages.items():
        if file.name == "404.html":
            continue  # its links are those of a site at the root of a server
        for link in page.links | page.loads:
            path, anchor = urldefrag(unquote(link))
            if ":" in path or not link:
                continue
            target = (file.parent / path).resolve() if path else file
            target = target / "index.html" if target.is_dir() else target
            if not target.is_file() or (anchor and target in pages and anchor not in pages[target].anchors):
                dead.append(f"{file.relative_to(site)}: {link}")
    assert not dead, "\n".join(sorted(dead))


def test_nothing_is_loaded_from_the_network(pages: dict[Path, Page]) -> None:
    outside = {link for page in pages.values() for link in page.loads if link.startswith(("http:", "https:", "//"))}
    assert not outside


def test_docstrings_and_field_comments_are_in_the_python_page(site: Path) -> None:
    text = (site / "reference" / "python.html").read_text(encoding="utf-8")
    assert "ROS or simulation time of the exposure" in text, "the comment beside CameraFrame.stamp_s"
    assert "most subgoals" in text or "guard" in text


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Debian's Chromium."""
    playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright")
    with playwright.sync_playwright() as started:
        try:
            opened = started.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
        except playwright.Error as error:
            pytest.skip(f"needs Chromium: {error}")
        yield opened
        opened.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", PAGES)
def test_a_page_shows_without_an_error_and_fits_a_phone(site: Path, browser: Any, name: str, scheme: str) -> None:
    page = browser.new_page(viewport={"width": 400, "height": 800}, color_scheme=scheme)
    wrong, fetched = [], []
    page.on("console", lambda message: wrong.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("request", lambda request: fetched.append(request.url))
    page.goto((site / name).as_uri(), wait_until="networkidle")
    colours = {"light": "default", "dark": "slate"}[scheme]
    page.wait_for_function(f"document.body.getAttribute('data-md-color-scheme') == '{colours}'")  # a script sets them
    width = page.evaluate("document.documentElement.scrollWidth")
    page.close()
    assert not wrong
    assert [url for url in fetched if not url.startswith(("file:", "blob:", "data:"))] == []
    assert width <= 400, f"the page is {width} px wide on a phone of 400"
