"""A study's raw results: scores that know how sure they are, and the file that plots and tables are made of."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from si_embodied.errors import RecordError
from si_embodied.evaluation.report import versions
from si_embodied.evaluation.statistics import Z_95, wilson_interval
from si_embodied.runs import write_json

if TYPE_CHECKING:
    from pathlib import Path

SETTINGS_FILE = "settings.json"


@dataclass(frozen=True, slots=True)
class Score:
    """How right some answers were, 0 to 1 each, as sums: what is needed for a mean, its interval, and to add up."""

    count: int = 0
    total: float = 0.0
    squares: float = 0.0

    @classmethod
    def of(cls, values: Iterable[float]) -> Score:
        """The score of single answers."""
        found = [float(value) for value in values]
        return cls(len(found), math.fsum(found), math.fsum(value * value for value in found))

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> Score:
        """The inverse of `to_json`."""
        return cls(int(row["count"]), float(row["total"]), float(row["squares"]))

    def to_json(self) -> dict[str, float]:
        """Plain values, rounded: scores have at most two decimals."""
        return {"count": self.count, "total": round(self.total, 4), "squares": round(self.squares, 4)}

    def __add__(self, other: Score) -> Score:
        """Both together."""
        return Score(self.count + other.count, self.total + other.total, self.squares + other.squares)

    @property
    def mean(self) -> float:
        """NaN of nothing."""
        return self.total / self.count if self.count else math.nan

    @property
    def interval(self) -> tuple[float, float]:
        """95%: Wilson's where every answer is right or wrong, otherwise by the normal distribution of means."""
        if self.total == self.squares:
            return wilson_interval(round(self.total), self.count)
        if self.count < 2:
            return 0.0, 1.0
        variance = max(0.0, self.squares / self.count - self.mean**2) * self.count / (self.count - 1)
        half = Z_95 * math.sqrt(variance / self.count)
        return max(0.0, self.mean - half), min(1.0, self.mean + half)

    def __str__(self) -> str:
        """As tables have it: percent, the interval, and of how many."""
        if not self.count:
            return "–"
        low, high = self.interval
        return f"{100 * self.mean:.0f}% ({100 * low:.0f} to {100 * high:.0f}, n = {self.count})"


def total(scores: Iterable[Score]) -> Score:
    """All of them together."""
    return sum(scores, Score())


def write_results(file: Path, study: str, settings: Mapping[str, Any], rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Write a study's results and return them.

    Raises:
        RecordError: they cannot be written.
    """
    found = {"study": study, "settings": dict(settings), "versions": versions(), "rows": rows}
    write_json(file, found)
    return found


def read_results(file: Path) -> dict[str, Any]:
    """A study's results.

    Raises:
        RecordError: there are none, or they are broken.
    """
    try:
        found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        if not {"study", "settings", "rows"} <= found.keys():
            raise ValueError("no study's results")
    except (OSError, ValueError, AttributeError) as error:
        raise RecordError(f"no results in {str(file)!r} ({error}): run the study first, without --report") from error
    return found
