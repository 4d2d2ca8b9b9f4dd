"""The figures that tables and plots share, read off a study's results."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any

from si_embodied.data.questions.base import CAPABILITIES
from si_embodied.evaluation.statistics import PairedComparison, mcnemar
from si_embodied.studies import reasoning, scaling
from si_embodied.studies.asking import SIGHTS
from si_embodied.studies.results import Score, total

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

Found = dict[str, Any]

KINDS = {
    "point pick": "point at a thing",
    "point place": "point at a container",
    "base": "plan: into a container",
    "beside": "plan: beside a thing",
    "container": "plan: one of two containers",
    "extreme": "plan: the leftmost, nearest",
    "stack": "plan: stack",
    "point goto": "point at furniture",
    "goto": "plan: drive to it",
    "explore": "plan: look on",
}
"""The planner's own questions in plain words; a plan is right if nothing in it is wrong."""
PAIRS = (scaling.SEEN, scaling.UNSEEN)
SIGHT_NAMES = {"images": "images", "blank": "blank images", "none": "no images", "circular": "circular options"}


def own_score(row: Found, kinds: Iterable[str] | None = None, group: str | None = None) -> Score:
    """The planner's own questions of a row together: of some kinds (all by default), of one group (all by default)."""
    chosen = None if kinds is None else set(kinds)
    return total(
        Score.from_json(one)
        for one in row["questions"]
        if (chosen is None or one["kind"] in chosen) and group in (None, one["group"])
    )


def plan_kinds(row: Found) -> list[str]:
    """The kinds of plans that a row's questions ask for."""
    return sorted({one["kind"] for one in row["questions"] if not one["kind"].startswith("point")})


def success(row: Found, pair: str | None = None) -> Score:
    """Episodes of a training, or those that name things of seen or of unseen pairs."""
    return total(Score.from_json(one) for name, one in row["episodes"].items() if pair in (None, name))


def capability_groups(found: Found) -> dict[str, list[Found]]:
    """The rows of types by capability, and by form where an answer is no letter."""
    groups: dict[str, list[Found]] = defaultdict(list)
    for name, capability in CAPABILITIES.items():
        for row in sorted(found["rows"], key=lambda row: row.get("form") != "choice"):
            if row.get("capability") == name:
                form = row["form"]
                groups[capability if form in ("choice", "plan") else f"{capability} ({form}s)"].append(row)
    return {name.replace("boxs", "boxes"): rows for name, rows in groups.items()}


def shown(rows: Sequence[Found], sight: str) -> Score:
    """What types together scored when they were shown so."""
    return total(Score.from_json(row["scores"][sight]) for row in rows if sight in row["scores"])


def chance(rows: Sequence[Found]) -> float | None:
    """The score of guessing, over the types' questions; None where it is not known of every type."""
    known = [(row["chance"], row["scores"]["images"]["count"]) for row in rows]
    if any(value is None for value, _ in known):
        return None
    return float(sum(value * count for value, count in known) / sum(count for _, count in known))


def by_looking(rows: Sequence[Found]) -> PairedComparison | None:
    """Images against blank images, question by question; None of numbers, which are not right or wrong."""
    if any("only_seeing" not in row for row in rows):
        return None
    return _paired(sum(row["only_seeing"] for row in rows), sum(row["only_blank"] for row in rows))


def own_groups(found: Found) -> dict[str, dict[str, Score]]:
    """The planner's own pointing and plans, by world and by what was seen."""
    groups: dict[str, dict[str, Score]] = {}
    for world in dict.fromkeys(row["own"] for row in found["rows"] if "own" in row):
        seen = {sight: {"questions": own_rows(found, sight, world)} for sight in SIGHTS}
        plans = plan_kinds(seen["images"])
        for label, kinds in (("pointing", [kind for kind in KINDS if kind not in plans]), ("plans", plans)):
            groups[f"own {label}, {world}"] = {sight: own_score(seen[sight], kinds) for sight in SIGHTS}
    return groups


def by_reasoning(found: Found, task: str) -> PairedComparison:
    """Without against with reasoning, on the same seeds."""
    without, with_it = (arm_row(found, task, arm) for arm in (reasoning.WITHOUT, reasoning.WITH))
    theirs = dict(zip(with_it["seeds"], with_it["success"], strict=True))
    pairs = [
        (bool(one), bool(theirs[seed]))
        for seed, one in zip(without["seeds"], without["success"], strict=True)
        if seed in theirs
    ]
    return mcnemar([one for one, _ in pairs], [other for _, other in pairs])


def tasks(found: Found) -> list[str]:
    """The tasks that were played with and without reasoning."""
    both = [{row["task"] for row in found["rows"] if row["arm"] == arm} for arm in (reasoning.WITHOUT, reasoning.WITH)]
    return [row["task"] for row in found["rows"] if row["arm"] == reasoning.WITHOUT and row["task"] in both[1]]


def arm_row(found: Found, task: str, arm: str) -> Found:
    """A task with or without reasoning."""
    return next(dict(row) for row in found["rows"] if (row["task"], row["arm"]) == (task, arm))


def arm_score(found: Found, task: str, arm: str) -> Score:
    """Success on a task with or without reasoning."""
    return Score.of(arm_row(found, task, arm)["success"])


def arm_tokens(found: Found, task: str, arm: str) -> float:
    """Tokens of a plan with or without reasoning."""
    return float(arm_row(found, task, arm)["completion_tokens"])


def _paired(only_first: int, only_second: int) -> PairedComparison:
    ones = [True] * only_first + [False] * only_second
    return mcnemar(ones, [not one for one in ones])


def own_rows(found: Found, sight: str, world: str | None = None) -> list[Found]:
    """The planner's own questions when it was shown so, of one world or all."""
    return [row for row in found["rows"] if row.get("sight") == sight and world in (None, row["own"])]
