"""The episodes as the page shows them: failures first, with pictures as far as the page's budget goes."""

from __future__ import annotations

import base64
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from si_embodied.evaluation.episode import EpisodeResult, PlanEntry
from si_embodied.evaluation.failures import Failure, failure
from si_embodied.evaluation.page.groups import Group, Row
from si_embodied.evaluation.page.maps import MapDrawing, draw_map
from si_embodied.evaluation.report import measure_words
from si_embodied.reasons import MEANINGS

MOST_EPISODES = 1000
"""Episodes on one page; the others are in the records alone."""
PICTURE_CHARACTERS = 18_000_000
"""Of the page, for pictures. With it, a page stays below 30 MB."""
_LONGEST_TEXT = 2000  # characters of a model's answer


@dataclass(frozen=True, slots=True)
class Frame:
    """A view of the film strip."""

    step: int
    caption: str
    jpeg: str  # base64


@dataclass(frozen=True, slots=True)
class PlanLine:
    """A decision."""

    number: int
    answers: tuple[str, ...]
    thoughts: tuple[str, ...]
    verdict: str  # "executed", or the code's name
    message: str
    meaning: str
    held: bool
    pointed_at: str
    tokens: int
    latency_ms: float
    goals: tuple[tuple[str, str], ...]  # words, and how it ended


@dataclass(frozen=True, slots=True)
class EpisodeView:
    """An episode."""

    seed: int
    instruction: str
    outcome: str  # "success", "failure", "lost"
    failure: Failure | None
    steps: int
    ended: str
    metrics: tuple[str, ...]  # with their values and units
    plans: tuple[PlanLine, ...]
    frames: tuple[Frame, ...]
    map: MapDrawing | None
    video: str | None  # relative to the page


@dataclass(frozen=True, slots=True)
class EpisodeList:
    """The episodes of a run."""

    title: str
    anchor: str
    episodes: tuple[EpisodeView, ...]
    left_out: int


@dataclass(slots=True)
class Budget:
    """What is left for pictures and episodes."""

    characters: int = PICTURE_CHARACTERS
    episodes: int = MOST_EPISODES

    def take(self, characters: int) -> bool:
        """Whether there is room for so much more, which is then taken."""
        if characters > self.characters:
            return False
        self.characters -= characters
        return True


def episode_lists(groups: Sequence[Group], page: Path, budget: Budget) -> list[EpisodeList]:
    """The episodes of all runs, as far as the budget goes: main runs first, and of each the failures first.

    Args:
        groups: the runs.
        page: the file that is written, for links to videos.
        budget: what the page may hold; it is used up.
    """
    rows = [(group, row) for group in groups for row in group.rows]
    mains_first = sorted(range(len(rows)), key=lambda i: rows[i][1].comparison is not None)
    lists: dict[int, EpisodeList] = {}
    for index in mains_first:
        group, row = rows[index]
        ordered = sorted(row.run.episodes, key=lambda e: (e.success, e.seed))
        shown = ordered[: max(0, budget.episodes)]
        budget.episodes -= len(shown)
        views = tuple(_view(row, episode, page, budget) for episode in shown)
        title = f"{group.title}: {row.report.title}"
        lists[index] = EpisodeList(title, f"episodes-{index}", views, len(ordered) - len(shown))
    return [lists[index] for index in range(len(rows))]


def _view(row: Row, episode: EpisodeResult, page: Path, budget: Budget) -> EpisodeView:
    trace = row.run.traces.get(episode.seed)
    drawing = None if trace is None else draw_map(trace)
    if drawing is not None and not budget.take(drawing.characters):
        drawing = None
    frames = (
        [] if trace is None else [Frame(s.step, s.caption, base64.b64encode(s.jpeg).decode()) for s in trace.stills]
    )
    if not budget.take(sum(len(frame.jpeg) for frame in frames)):
        frames = []
    video = row.run.video(episode.seed)
    lost = episode.ended == "lost"
    return EpisodeView(
        seed=episode.seed,
        instruction=episode.instruction,
        outcome="lost" if lost else "success" if episode.success else "failure",
        failure=failure(episode),
        steps=episode.steps,
        ended=episode.ended,
        metrics=tuple(measure_words(*each) for each in episode.metrics.items()),
        plans=tuple(_lines(episode)),
        frames=tuple(frames),
        map=drawing,
        video=None if video is None else _link(video, page),
    )


def _link(file: Path, page: Path) -> str:
    return quote(Path(os.path.relpath(file.resolve(), page.resolve().parent)).as_posix())


def _lines(episode: EpisodeResult) -> Iterator[PlanLine]:
    for index, plan in enumerate(episode.plans):
        record = plan.record
        goals = tuple((g.words, f"{g.code.name} {g.message}".rstrip()) for g in episode.goals if g.plan == index)
        yield PlanLine(
            number=index + 1,
            answers=tuple(_cut(text) for text in record.raw_text),
            thoughts=tuple(_cut(text) for text in record.thoughts),
            verdict="executed" if plan.executed else record.code.name,
            message=record.message,
            meaning="" if plan.executed else MEANINGS[record.code],
            held=not plan.executed,
            pointed_at=_pointed_words(plan),
            tokens=record.completion_tokens,
            latency_ms=1000 * record.latency_s.get("total", 0.0),
            goals=goals,
        )


def _pointed_words(plan: PlanEntry) -> str:
    match plan.pointed_at:
        case "target":
            return "points at the target"
        case "other":
            return "points at another object"
        case "nothing":
            return "points at no object"
        case None:
            return ""


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST_TEXT else f"{text[:_LONGEST_TEXT]}… ({len(text)} characters)"
