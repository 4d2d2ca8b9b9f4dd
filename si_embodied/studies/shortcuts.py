"""Shortcuts: how much of a model's score survives without looking, and with its options reordered.

For any checkpoint on any data set of `si-embodied data generate`, and for the small planner's own pointing and plans.
An answer with circular options counts only if it is right in every order of them (MMBench, arXiv 2307.06281).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from si_embodied.data.audit import audit_type
from si_embodied.data.questions.base import CAPABILITIES
from si_embodied.evaluation.config import model_fingerprint
from si_embodied.evaluation.statistics import PairedComparison, mcnemar, mcnemar_counts
from si_embodied.studies import own_questions as own
from si_embodied.studies.asking import SIGHTS, Asked, Key, ask_all
from si_embodied.studies.plots import BLACK, COLOURS, GREY, bars
from si_embodied.studies.results import Results, Score, markdown, total
from si_embodied.studies.settings import PlannerRun, QuestionsRun
from si_embodied.training.conversations import fingerprint
from si_embodied.training.forward import CELLS

if TYPE_CHECKING:
    from pathlib import Path

    from si_embodied.studies.results import Say

CIRCULAR = "circular"
_SHOWN = {"images": "images", "blank": "blank images", "none": "no images", CIRCULAR: "circular options"}
"""What a model was shown, as tables name it."""
_LOOKS = {"images": ("o", COLOURS[0]), "blank": ("s", COLOURS[1]), "none": ("x", BLACK), CIRCULAR: ("D", COLOURS[2])}
"""The marker and colour of each in plots."""
_FOR_A_CONSTANT = 10  # questions of a type that `audit_type` needs


@dataclass(frozen=True, slots=True)
class TypeRow:
    """What a checkpoint scores on one type of question."""

    type: str
    capability: str
    form: str
    chance: float | None  # the score of guessing; None if there are too few questions to know
    scores: dict[str, Score]  # by what it was shown
    only_seeing: int | None = None  # questions right with images only; None for numbers, which are partly right
    only_blank: int | None = None  # questions right with blank images only
    circular_chance: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnRow(own.KindScore):
    """What the small planner scores on one kind of its own questions."""

    own: str  # the world
    sight: str


# --- measuring ------------------------------------------------------------------------------------------------------


def study(
    questions: QuestionsRun | None, planner: PlannerRun | None, results: Path, *, report: Say = lambda _: None
) -> ShortcutsResults:
    """Ask what was not asked before, and write `shortcuts.json`.

    Raises:
        DataError: the data set is broken or empty.
        ConfigError: the folder has another model's answers, or there are no shards.
    """
    settings: dict[str, Any] = {}
    rows: list[TypeRow | OwnRow] = []
    if questions is not None:
        settings |= {"model": model_fingerprint(questions.model), "data": fingerprint([questions.data])}
        rows += asked_questions(questions, report=report)
    if planner is not None:
        settings |= {"own_model": model_fingerprint(planner.model), "own_images": planner.images}
        rows += own_questions(planner, report=report)
    return ShortcutsResults(settings, tuple(rows)).write(results / "shortcuts.json")


def asked_questions(run: QuestionsRun, *, report: Say = lambda _: None) -> list[TypeRow]:
    """Ask a checkpoint; returns a row per type of question."""
    questions, scores = ask_all(run, report=report)
    types: dict[str, list[Asked]] = defaultdict(list)
    for one in questions:
        types[one.labels.type].append(one)
    return [_type_row(group, scores) for _, group in sorted(types.items())]


def _type_row(group: Sequence[Asked], found: Mapping[Key, float]) -> TypeRow:
    labels = group[0].labels
    values = {sight: [found[one.labels.id, sight, 0] for one in group] for sight in SIGHTS}
    scores = {str(sight): Score.of(ones) for sight, ones in values.items()}
    paired: PairedComparison | None = None
    circular_chance = None
    if labels.form != "number":  # right or wrong, so that pairs can be compared
        paired = mcnemar([bool(value) for value in values["images"]], [bool(value) for value in values["blank"]])
    if circular := [one for one in group if one.rotations > 1]:
        scores[CIRCULAR] = Score.of(
            min(found[one.labels.id, "images", k] for k in range(one.rotations)) for one in circular
        )
        circular_chance = float(np.mean([one.rotations**-one.rotations for one in circular]))
    return TypeRow(
        labels.type, labels.capability, labels.form, _guessing(group), scores,
        only_seeing=None if paired is None else paired.only_first,
        only_blank=None if paired is None else paired.only_second,
        circular_chance=circular_chance,
    )  # fmt: skip


def _guessing(group: Sequence[Asked]) -> float | None:
    """The score of guessing: one of the options, or elsewhere the best constant, cross-validated."""
    labels = [one.labels for one in group]
    if labels[0].form == "choice":
        return float(np.mean([1 / len(label.options) for label in labels]))
    if len(group) < _FOR_A_CONSTANT:
        return None
    return audit_type(labels[0].type, [(one.conversation.question, one.labels) for one in group]).chance


def own_questions(run: PlannerRun, *, report: Say = lambda _: None) -> list[OwnRow]:
    """Ask the small planner its own questions; returns a row per world, sight and kind."""
    model = run.load()
    rows: list[OwnRow] = []
    for world in own.WORLDS:
        data = own.load_shards(run.shards, f"{world}-*")
        chosen = np.arange(min(run.images, len(data)))
        for sight in SIGHTS:
            shown = own.blanked(data) if sight == "blank" else data
            cells = 0 if sight == "none" else CELLS
            found = own.score_questions(model, [(shown, chosen)], cells=cells, prompts=run.prompts)
            rows += [OwnRow(own=world, sight=sight, **asdict(one)) for one in found]
        report(f"own questions, {world}: {len(chosen)} images")
    return rows


# --- reporting ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Group:
    """Questions that tables and plots show in one line."""

    name: str
    scores: dict[str, Score]  # by what was shown
    chance: float | None = None
    paired: PairedComparison | None = None  # images against blank images, question by question

    @classmethod
    def of(cls, name: str, rows: Sequence[TypeRow]) -> Group:
        """Several types together."""
        scores = {shown: total(row.scores[shown] for row in rows if shown in row.scores) for shown in _SHOWN}
        chance = paired = None
        known = [(row.chance, row.scores["images"].count) for row in rows if row.chance is not None]
        if len(known) == len(rows):
            chance = sum(value * count for value, count in known) / sum(count for _, count in known)
        if all(row.only_seeing is not None for row in rows):
            paired = mcnemar_counts(sum(row.only_seeing or 0 for row in rows), sum(row.only_blank or 0 for row in rows))
        return cls(name, scores, chance, paired)


@dataclass(frozen=True, slots=True)
class ShortcutsResults(Results):
    """Types of questions, then the planner's own questions by world."""

    name: ClassVar[str] = "shortcuts"
    rows: tuple[TypeRow | OwnRow, ...]

    def headline(self) -> str:
        """Choices and the planner's own questions, with and without looking."""
        parts = []
        if choices := [row for row in self._types() if row.form == "choice"]:
            group = Group.of("choices", choices)
            seeing, blank, guess = group.scores["images"].mean, group.scores["blank"].mean, group.chance or 0.0
            parts.append(
                f"choices {100 * seeing:.0f}% with images, {100 * blank:.0f}% with blank ones, {100 * guess:.0f}% by "
                "chance"
            )
        if any(isinstance(row, OwnRow) for row in self.rows):
            seeing, blank = (own.together(self._own(sight)).mean for sight in ("images", "blank"))
            parts.append(f"own plans and points {100 * seeing:.0f}% with images, {100 * blank:.0f}% with blank ones")
        text = "; ".join(parts)
        return text[:1].upper() + text[1:]

    def table(self) -> list[str]:
        """A line per group of questions."""
        body = [
            [
                group.name,
                "–" if group.chance is None else f"{100 * group.chance:.0f}%",
                *(str(group.scores.get(shown, Score())) for shown in _SHOWN),
                "–" if group.paired is None else f"{group.paired.p_value:.2g}",
            ]
            for group in self.groups()
        ]
        return markdown(["", "chance", *_SHOWN.values(), "p, images against blank"], body)

    def groups(self) -> list[Group]:
        """Types by capability (and by form where an answer is not a letter), then pointing and plans by world."""
        types: dict[str, list[TypeRow]] = defaultdict(list)
        for capability, words in CAPABILITIES.items():
            for row in sorted(self._types(), key=lambda row: row.form != "choice"):
                if row.capability == capability:
                    forms = {"choice": "", "plan": "", "box": " (boxes)"}.get(row.form, f" ({row.form}s)")
                    types[f"{words}{forms}"].append(row)
        groups = [Group.of(name, rows) for name, rows in types.items()]
        for world in dict.fromkeys(row.own for row in self.rows if isinstance(row, OwnRow)):
            for what, kinds in (("pointing", own.POINTING), ("plans", own.PLANS)):
                scores = {str(sight): own.together(self._own(sight, world), kinds) for sight in SIGHTS}
                groups.append(Group(f"own {what}, {world}", scores))
        return groups

    def _types(self) -> list[TypeRow]:
        return [row for row in self.rows if isinstance(row, TypeRow)]

    def _own(self, sight: str, world: str | None = None) -> list[OwnRow]:
        return [row for row in self.rows if isinstance(row, OwnRow) and row.sight == sight and world in (None, row.own)]

    def draw(self, figure: Any) -> None:
        """A line per group, a mark for each thing that was shown."""
        groups = self.groups()
        figure.set_size_inches(10, 1.6 + 0.5 * len(groups))
        axes = figure.subplots()
        for number, group in enumerate(groups):
            axes.axhspan(number - 0.5, number + 0.5, color="#f6f6f6" if number % 2 else "white", zorder=-1)
            _draw_group(axes, number, group)
        handles = [axes.plot([], [], label=_SHOWN[key], marker=m, color=c)[0] for key, (m, c) in _LOOKS.items()]
        handles += axes.plot([], [], color=GREY, linewidth=3, label="chance, or the best constant")
        axes.set_yticks(range(len(groups)), [f"{group.name}\nn = {group.scores['images'].count}" for group in groups])
        axes.set_xlim(-2, 102)
        axes.set_xlabel("score, % (95% interval); numbers by mean relative accuracy")
        axes.grid(axis="y", visible=False)
        axes.set_ylim(len(groups) - 0.5, -0.5)
        figure.legend(handles=handles, loc="outside lower center", ncols=5)


def _draw_group(axes: Any, number: int, group: Group) -> None:
    for offset, (shown, (marker, colour)) in enumerate(_LOOKS.items()):
        if group.scores.get(shown, Score()).count:
            means, reach = bars([group.scores[shown]])
            axes.errorbar(
                means, [number + 0.2 * (offset - 1.5)], xerr=reach, marker=marker, markersize=5, color=colour,
                linestyle="", capsize=2, elinewidth=1,
            )  # fmt: skip
    if group.chance is not None:
        axes.plot([100 * group.chance] * 2, [number - 0.42, number + 0.42], color=GREY, linewidth=3, zorder=0)
