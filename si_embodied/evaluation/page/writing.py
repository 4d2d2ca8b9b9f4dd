"""Writes the page, and the results and the card beside it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from si_embodied import __version__
from si_embodied.errors import extra
from si_embodied.evaluation.page.conditions import conditions_of
from si_embodied.evaluation.page.content import PageContent, make_content, score_group
from si_embodied.evaluation.page.groups import grouped
from si_embodied.evaluation.page.reading import find_runs
from si_embodied.evaluation.page.results import results_json
from si_embodied.runs import write_json, write_text

if TYPE_CHECKING:
    import jinja2

    from si_embodied.evaluation.page.groups import Group

PAGE, RESULTS, CARD = "report.html", "results.json", "card.md"


def write_report(runs: Sequence[Path], out: Path | None = None) -> Path:
    """Write one HTML page about evaluation runs, and their results as JSON beside it.

    The page needs no network and no other file but the videos, to which it links. Runs under the same conditions
    (world, task, noise, latency) are compared with each other, wherever they lie.

    Args:
        runs: folders that `si-embodied eval` or `demo` wrote, or that contain such folders.
        out: the page; by default `report.html` in the first folder.

    Returns:
        The page's path.

    Raises:
        ConfigError: there is no folder, one holds no run, or its records cannot be read.
        RecordError: the page cannot be written.
        MissingExtraError: jinja2 or matplotlib is not installed.
    """
    page, groups = _read(runs, out)
    results = _beside(page, RESULTS)
    write_text(page, _encodable(render(make_content(groups, page, results.name))))
    write_json(results, results_json(groups))
    return page


def write_card(runs: Sequence[Path], out: Path | None = None) -> Path:
    """Write a results card beside the page: what a reader needs to trust and repeat the figures, in Markdown.

    Takes and raises what `write_report` does, and returns the card's path.
    """
    page, groups = _read(runs, out)
    card = _beside(page, CARD)
    write_text(card, _encodable(render_card(groups)))
    return card


def _read(runs: Sequence[Path], out: Path | None) -> tuple[Path, tuple[Group, ...]]:
    folders = [Path(run) for run in runs]
    groups = grouped(find_runs(folders))
    return folders[0] / PAGE if out is None else out, groups


def _beside(page: Path, name: str) -> Path:
    """`results.json` beside `report.html`, and `mine.json` beside `mine.html`."""
    return page.with_name(name) if page.name == PAGE else page.with_name(f"{page.stem}{Path(name).suffix}")


def _encodable(text: str) -> str:
    """The text without halves of surrogate pairs, which a model may write and UTF-8 cannot."""
    return text.encode("utf-8", errors="replace").decode("utf-8")


def render(content: PageContent) -> str:
    """The page's HTML. Everything but our own charts and styles is escaped."""
    return _template("report.html.j2").render(page=content)


def render_card(groups: Sequence[Group]) -> str:
    """The card's Markdown."""
    return _template("card.md.j2").render(
        title=", ".join(dict.fromkeys(group.title for group in groups)),
        version=__version__,
        groups=[score_group(group) for group in groups],
        conditions=conditions_of(groups),
    )


def _template(name: str) -> jinja2.Template:
    with extra("sim"):
        import jinja2
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader(__package__),
        autoescape=jinja2.select_autoescape(["html.j2"]),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
    )
    return environment.get_template(name)
