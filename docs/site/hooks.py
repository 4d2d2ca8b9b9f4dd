"""What mkdocs does besides building `docs/`: the project's pages, files that documents link to, and the drawing.

The documents are written for a code forge, where a link may lead out of `docs/`. In the site such a link leads to a
page of its own with the file's text.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import TYPE_CHECKING

from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files, InclusionLevel

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[2]
PROJECT = {
    "README.md": "project/readme.md", "CONTRIBUTING.md": "project/contributing.md",
    "CHANGELOG.md": "project/changelog.md", "SECURITY.md": "project/security.md",
}  # fmt: skip
LINK = re.compile(r"(\]\()([^)\s#]+)((?:#[^)\s]*)?\))")
DRAWING = re.compile(r'<img alt="([^"]*)" src="[^"]*?(images/[a-z-]+\.svg)"\s*/?>')
LANGUAGES = {"": "text", ".py": "python", ".yaml": "yaml", ".yml": "yaml", ".xml": "xml", ".json": "json",
             ".toml": "toml", ".md": "markdown", ".txt": "text", ".cff": "yaml"}  # fmt: skip


def anchor(heading: str, separator: str) -> str:
    """A heading's anchor, as code forges make it."""
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", separator)


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Give headings the anchors that a code forge gives them."""
    config.mdx_configs["toc"]["slugify"] = anchor
    return config


def on_files(files: Files, *, config: MkDocsConfig) -> Files:
    """Add the project's pages, and a page for each file outside `docs/` that a document links to."""
    for source, page in PROJECT.items():
        files.append(File.generated(config, page, content=(ROOT / source).read_text(encoding="utf-8")))
    linked = {
        _in_repository(file.src_uri, target)
        for file in files.documentation_pages()
        for _, target, _ in LINK.findall(file.content_string)
    }
    for name in sorted(linked - {"", *PROJECT}):
        if not name.startswith("docs/"):
            files.append(_not_listed(config, name))
    return files


def on_page_markdown(markdown: str, *, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Lead links out of `docs/` to the pages made for them."""
    here = page.file.src_uri

    def lead(match: re.Match[str]) -> str:
        target = _in_repository(here, match[2])
        if not target or (here not in PROJECT.values() and target.startswith("docs/")):
            return match[0]
        page_there = target.removeprefix("docs/") if target.startswith("docs/") else _page_of(target)
        return f"{match[1]}{posixpath.relpath(page_there, posixpath.dirname(here))}{match[3]}"

    return LINK.sub(lead, markdown)


def on_page_content(html: str, *, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Put our drawings into the page, where they follow its light or dark colours; a forge shows them as images."""

    def drawing(match: re.Match[str]) -> str:
        svg = (ROOT / "docs" / match[2]).read_text(encoding="utf-8")
        return svg[svg.index("<svg") :]

    return DRAWING.sub(drawing, html)


def _in_repository(page: str, target: str) -> str:
    """The path from the root of a file that a page links to; empty for other links.

    Raises:
        PluginError: there is no such file.
    """
    if "://" in target or target.startswith(("mailto:", "#")):
        return ""
    sources = {name: source for source, name in PROJECT.items()}
    if page.startswith("source/"):
        return ""
    path = posixpath.normpath(posixpath.join(posixpath.dirname(sources.get(page, f"docs/{page}")), target))
    if not (ROOT / path).is_file():
        raise PluginError(f"{page} links to {target}, which does not exist")
    return path


def _not_listed(config: MkDocsConfig, name: str) -> File:
    """The page of a file, which is not in the navigation."""
    return File.generated(config, _page_of(name), content=_source_page(name), inclusion=InclusionLevel.NOT_IN_NAV)


def _page_of(source: str) -> str:
    return PROJECT.get(source, f"source/{source}.md")


def _source_page(name: str) -> str:
    text = (ROOT / name).read_text(encoding="utf-8")
    return f"---\nsearch: {{exclude: true}}\n---\n# {name}\n\n````{LANGUAGES[Path(name).suffix]}\n{text}\n````\n"
