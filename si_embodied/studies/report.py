"""What a study found, in one sentence and one table of Markdown, both made of its results file."""

from __future__ import annotations

from typing import TYPE_CHECKING

from si_embodied.errors import ConfigError, RecordError
from si_embodied.studies import generalisation, reasoning, scaling, shortcuts
from si_embodied.studies.asking import SIGHTS
from si_embodied.studies.figures import (
    KINDS,
    PAIRS,
    SIGHT_NAMES,
    Found,
    arm_row,
    arm_score,
    arm_tokens,
    by_looking,
    by_reasoning,
    capability_groups,
    chance,
    own_groups,
    own_rows,
    own_score,
    plan_kinds,
    shown,
    success,
    tasks,
)  # fmt: skip

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

# --- in one sentence ------------------------------------------------------------------------------------------------


def headline(found: Found) -> str:
    """What was learned, with its figures."""
    return _HEADLINES[found["study"]](found)


def _scaling_headline(found: Found) -> str:
    first, last = found["rows"][0], found["rows"][-1]
    few, many = (100 * success(row).mean for row in (first, last))
    times = last["images"] / first["images"]
    return f"With {times:.0f} times the pictures, planner success goes from {few:.0f}% to {many:.0f}%"


def _generalisation_headline(found: Found) -> str:
    last = [row for row in found["rows"] if row["what"] == "pairs"][-1]
    seen, unseen = (100 * own_score(last, ["point pick"], pair).mean for pair in (scaling.SEEN, scaling.UNSEEN))
    return f"Pointing: {seen:.0f}% for colour-shape pairs seen in training, {unseen:.0f}% for pairs never seen"


def _shortcuts_headline(found: Found) -> str:
    rows = [row for row in found["rows"] if row.get("form") == "choice"]
    parts = []
    if rows:
        seeing, blank, guess = shown(rows, "images").mean, shown(rows, "blank").mean, chance(rows) or 0.0
        parts.append(
            f"choices {100 * seeing:.0f}% with images, {100 * blank:.0f}% with blank ones, {100 * guess:.0f}% by chance"
        )
    own = {sight: own_score({"questions": own_rows(found, sight)}).mean for sight in ("images", "blank")}
    if own_rows(found, "images"):
        parts.append(
            f"own plans and points {100 * own['images']:.0f}% with images, {100 * own['blank']:.0f}% with blank ones"
        )
    text = "; ".join(parts)
    return text[:1].upper() + text[1:]


def _reasoning_headline(found: Found) -> str:
    arms = (reasoning.WITHOUT, reasoning.WITH)
    parts = []
    for task in tasks(found):
        without, with_it = (100 * arm_score(found, task, arm).mean for arm in arms)
        parts.append(f"{task} {without:.0f}% to {with_it:.0f}% (p = {by_reasoning(found, task).p_value:.2g})")
    tokens = [arm_tokens(found, tasks(found)[0], arm) for arm in arms]
    return f"Reasoning first: {', '.join(parts)}, for {tokens[1]:.0f} tokens a plan, not {tokens[0]:.0f}"


# --- in a table -----------------------------------------------------------------------------------------------------


def table(found: Found) -> list[str]:
    """The lines of a Markdown table."""
    return _TABLES[found["study"]](found)


def _markdown(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    return [_line(head), _line(["---"] * len(head)), *map(_line, rows)]


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _scaling_table(found: Found) -> list[str]:
    rows = found["rows"]
    kinds = [kind for kind in KINDS if any(own_score(row, [kind]).count for row in rows)]
    body = [[KINDS[kind], *(str(own_score(row, [kind], scaling.SEEN)) for row in rows)] for kind in kinds]
    body.append(["**planner success**", *(f"**{success(row)}**" for row in rows)])
    return _markdown(["", *(f"{row['images']:,} pictures" for row in rows)], body)


def _generalisation_table(found: Found) -> list[str]:
    pairs = [row for row in found["rows"] if row["what"] == "pairs"]
    body = []
    for row in pairs:
        scores = {
            "point at a thing": [own_score(row, ["point pick"], pair) for pair in PAIRS],
            "plans": [own_score(row, plan_kinds(row), pair) for pair in PAIRS],
            "planner success": [success(row, pair) for pair in PAIRS],
        }
        body += [[f"pairs, {row['images']:,} pictures: {what}", *map(str, both)] for what, both in scores.items()]
    places = {(row["world"], row["place"]): row for row in found["rows"] if row["what"] == "places"}
    for world in dict.fromkeys(world for world, _ in places):
        both = [places[world, place] for place in generalisation.PLACES]
        for kind in (kind for kind in KINDS if any(own_score(row, [kind]).count for row in both)):
            body.append([f"places, {world}: {KINDS[kind]}", *(str(own_score(row, [kind])) for row in both)])
    return _markdown(["", "seen in training", "not seen"], body)


def _shortcuts_table(found: Found) -> list[str]:
    body = []
    for name, rows in capability_groups(found).items():
        guess, paired = chance(rows), by_looking(rows)
        body.append(
            [name, "–" if guess is None else f"{100 * guess:.0f}%"]
            + [str(shown(rows, sight)) for sight in (*SIGHTS, shortcuts.CIRCULAR)]
            + ["–" if paired is None else f"{paired.p_value:.2g}"]
        )
    for name, scores in own_groups(found).items():
        body.append([name, "–", *(str(scores[sight]) for sight in SIGHTS), "–", "–"])
    return _markdown(["", "chance", *SIGHT_NAMES.values(), "p, images against blank"], body)


def _reasoning_table(found: Found) -> list[str]:
    body = []
    for task in tasks(found):
        paired = by_reasoning(found, task)
        for arm in (reasoning.WITHOUT, reasoning.WITH):
            row = arm_row(found, task, arm)
            won_alone = paired.only_first if arm == reasoning.WITHOUT else paired.only_second
            body.append(
                [task, arm, str(arm_score(found, task, arm)), str(won_alone), f"{paired.p_value:.2g}",
                 f"{row['completion_tokens']:.0f}", f"{row['plan_ms_p50']:.0f}", f"{row['steps']:,}"]
            )  # fmt: skip
    head = [
        "task",
        "reasoning",
        "success",
        "seeds won alone",
        "p (McNemar)",
        "tokens a plan",
        "ms a plan",
        "steps trained",
    ]
    return _markdown(head, body)


_HEADLINES = {
    scaling.NAME: _scaling_headline, generalisation.NAME: _generalisation_headline,
    shortcuts.NAME: _shortcuts_headline, reasoning.NAME: _reasoning_headline,
}  # fmt: skip
_TABLES = {
    scaling.NAME: _scaling_table, generalisation.NAME: _generalisation_table, shortcuts.NAME: _shortcuts_table,
    reasoning.NAME: _reasoning_table,
}  # fmt: skip
STUDIES = tuple(_TABLES)


# --- on the page ----------------------------------------------------------------------------------------------------


def block(found: Found) -> str:
    """What a page shows of a study: the sentence, the plot, the table."""
    name = found["study"]
    return "\n".join([f"**{headline(found)}.**", "", f"![{name}]({name}.png)", "", *table(found)])


def fill(page: Path, found: Found) -> None:
    """Put a study's block between its two marks in a page, `<!-- NAME -->` and `<!-- end of NAME -->`.

    Raises:
        ConfigError: the page lacks the marks.
        RecordError: it cannot be written.
    """
    name, text = found["study"], page.read_text(encoding="utf-8")
    begin, end = (f"<!-- {mark} -->" for mark in (name, f"end of {name}"))
    before, opened, rest = text.partition(begin)
    _, closed, after = rest.partition(end)
    if not opened or not closed:
        raise ConfigError(f"{str(page)!r} lacks the marks {begin} and {end}, between which the table is put")
    try:
        page.write_text(f"{before}{begin}\n{block(found)}\n{end}{after}", encoding="utf-8")
    except OSError as error:
        raise RecordError(f"cannot write {str(page)!r}: {error.strerror or error}") from error
