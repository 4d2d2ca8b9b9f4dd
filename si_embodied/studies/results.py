"""What a study found: scores with confidence intervals, and the JSON file that its table and plot are made of."""

from __future__ import annotations

import json
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, ClassVar, TypeAlias

from pydantic import TypeAdapter
from typing_extensions import Self

from si_embodied.errors import ConfigError, RecordError
from si_embodied.evaluation.report import versions
from si_embodied.evaluation.statistics import Z_95, mean, t_interval, wilson_interval
from si_embodied.runs import write_json, write_text

Say: TypeAlias = Callable[[str], None]
"""Takes one line of progress."""


@dataclass(frozen=True, slots=True)
class Score:
    """How right some answers were, each from 0 to 1, as the sums that a mean and its interval need; scores add up."""

    count: int = 0
    total: float = 0.0
    squares: float = 0.0

    @classmethod
    def of(cls, values: Iterable[float]) -> Score:
        """The score of single answers, which have at most two decimals."""
        found = [float(value) for value in values]
        return cls(len(found), round(math.fsum(found), 4), round(math.fsum(value * value for value in found), 4))

    def __add__(self, other: Score) -> Score:
        """Both together."""
        return Score(self.count + other.count, self.total + other.total, self.squares + other.squares)

    @property
    def mean(self) -> float:
        """From 0 to 1; NaN if there are no answers."""
        return self.total / self.count if self.count else math.nan

    @property
    def interval(self) -> tuple[float, float]:
        """The 95% interval: Wilson's if every answer is right or wrong, otherwise the normal interval of the mean."""
        if self.total == self.squares:
            return wilson_interval(round(self.total), self.count)
        if self.count < 2:
            return 0.0, 1.0
        variance = max(0.0, self.squares / self.count - self.mean**2) * self.count / (self.count - 1)
        half = Z_95 * math.sqrt(variance / self.count)
        return max(0.0, self.mean - half), min(1.0, self.mean + half)

    def __str__(self) -> str:
        """As tables show it: percent, interval, and number of answers."""
        if not self.count:
            return "–"
        low, high = self.interval
        return f"{100 * self.mean:.0f}% ({100 * low:.0f} to {100 * high:.0f}, n = {self.count})"


@dataclass(frozen=True, slots=True)
class Rate:
    """A score or a success rate from 0 to 1 that keeps its 95% interval, whatever method made it."""

    count: int  # questions or episodes
    mean: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Rate:
        """Of single answers or episodes, with Wilson's interval if each is right or wrong."""
        score = Score.of(values)
        return cls(score.count, score.mean, *score.interval)

    @property
    def interval(self) -> tuple[float, float]:
        """Its ends."""
        return self.low, self.high

    def __str__(self) -> str:
        """As tables show it: percent, interval, and number of questions or episodes."""
        return f"{100 * self.mean:.0f}% ({100 * self.low:.0f} to {100 * self.high:.0f}, n = {self.count})"


@dataclass(frozen=True, slots=True)
class OverSeeds:
    """The scores of trainings that differ only in their seed."""

    scores: tuple[Score, ...]  # one per training

    @property
    def mean(self) -> float:
        """The mean of the trainings' scores; NaN if there are none."""
        return mean([score.mean for score in self.scores])

    @property
    def interval(self) -> tuple[float, float]:
        """Student's 95% interval over the trainings, between 0 and 1; for a single training, that of its score."""
        if len(self.scores) == 1:
            return self.scores[0].interval
        low, high = t_interval([score.mean for score in self.scores])
        return max(0.0, low), min(1.0, high)

    def __str__(self) -> str:
        """As tables show it: percent, interval, and number of trainings."""
        if len(self.scores) == 1:
            return str(self.scores[0])
        if not total(self.scores).count:
            return "–"
        low, high = self.interval
        return f"{100 * self.mean:.0f}% ({100 * low:.0f} to {100 * high:.0f}, {len(self.scores)} trainings)"


def total(scores: Iterable[Score]) -> Score:
    """All scores together."""
    return sum(scores, Score())


@dataclass(frozen=True, slots=True)
class Results(ABC):
    """One study's results, as its JSON file holds them. Each study is a subclass that gives `rows` their type."""

    name: ClassVar[str]
    settings: dict[str, Any]  # what the rows are a function of
    rows: tuple[Any, ...]
    versions: dict[str, str] = field(default_factory=versions)

    @abstractmethod
    def headline(self) -> str:
        """What was learned, in one sentence with its figures."""

    @abstractmethod
    def table(self) -> list[str]:
        """The lines of a Markdown table."""

    @abstractmethod
    def draw(self, figure: Any) -> None:
        """Draw into an empty matplotlib figure."""

    def write(self, file: Path) -> Self:
        """Write the JSON file and return the results.

        Raises:
            RecordError: the file cannot be written.
        """
        write_json(file, {"study": self.name, **asdict(self)})
        return self

    @classmethod
    def read(cls, file: Path) -> Self:
        """Read a study's JSON file.

        Raises:
            RecordError: there is none, or it does not hold this study's results.
        """
        try:
            found: Self = TypeAdapter(cls).validate_python(json.loads(file.read_text(encoding="utf-8")))
        except (OSError, ValueError) as error:
            raise RecordError(
                f"no results of {cls.name!r} in {str(file)!r} ({error}): run the study first, without --report"
            ) from error
        return found

    def block(self) -> str:
        """The study as a page shows it: sentence, plot and table."""
        return "\n".join([f"**{self.headline()}.**", "", f"![{self.name}]({self.name}.png)", "", *self.table()])

    def fill(self, page: Path) -> None:
        """Put the block between its two marks in a page, `<!-- NAME -->` and `<!-- end of NAME -->`.

        Raises:
            ConfigError: the page lacks the marks.
            RecordError: the page cannot be written.
        """
        begin, end = f"<!-- {self.name} -->", f"<!-- end of {self.name} -->"
        before, opened, rest = page.read_text(encoding="utf-8").partition(begin)
        _, closed, after = rest.partition(end)
        if not opened or not closed:
            raise ConfigError(f"{str(page)!r} lacks the marks {begin} and {end}; put them where the table belongs")
        write_text(page, f"{before}{begin}\n{self.block()}\n{end}{after}")


def markdown(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """The lines of a Markdown table."""
    return [f"| {' | '.join(cells)} |" for cells in (head, ["---"] * len(head), *rows)]
