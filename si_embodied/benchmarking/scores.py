"""Confidence intervals around lmms-eval's scores, from its record of each question."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from si_embodied.errors import DataError
from si_embodied.evaluation.statistics import wilson_interval

_RESAMPLES, _BLOCK = 2000, 100
_FEWEST = 5  # questions of a group: a bootstrap of fewer draws the same ones again, and looks certain
_TOLERANCE = 1e-4  # lmms-eval rounds to six decimals, or to five of percent


@dataclass(frozen=True, slots=True)
class Piece:
    """What one question adds to a score: the score is the mean over groups of sum(gained) / sum(possible)."""

    gained: float
    possible: float = 1.0
    group: str = ""
    share: float = 1.0  # of its group in that mean


@dataclass(frozen=True, slots=True)
class Interval:
    """A 95% interval."""

    low: float
    high: float
    method: str  # "Wilson", "bootstrap" or "too few questions"


def mean_of(pieces: Sequence[Piece]) -> float:
    """The score that the pieces make; NaN without pieces."""
    groups = _groups(pieces)
    if not groups:
        return math.nan
    scores = [float(gained.sum() / possible.sum()) for gained, possible, _ in groups]
    return float(np.average(scores, weights=[share for _, _, share in groups]))


def interval(pieces: Sequence[Piece], score: float) -> Interval:
    """The interval of a score: Wilson's if each question is right or wrong and all count alike, else a bootstrap's.

    The bootstrap draws questions with replacement within each group, 2,000 times, and takes the percentiles 2.5 and
    97.5 (B. Efron, "Bootstrap methods: another look at the jackknife", Annals of Statistics 7 (1979), 1-26). If a
    group has fewer than five questions, the interval is the whole range.

    Args:
        pieces: one or more, of the questions.
        score: lmms-eval's own, from 0 to 1, or below 0 for a chance-adjusted one.

    Raises:
        DataError: the pieces do not make that score, so that an interval from them would be of something else.
    """
    if not abs(mean_of(pieces) - score) < _TOLERANCE:
        raise DataError(
            f"lmms-eval's score is {score:.6f}, but its record of each question makes {mean_of(pieces):.6f}: "
            "run the benchmark again into another --out"
        )
    alike = len({(piece.group, piece.possible) for piece in pieces}) == 1
    if alike and all(piece.gained in (0.0, 1.0) and piece.possible == 1.0 for piece in pieces):
        low, high = wilson_interval(round(sum(piece.gained for piece in pieces)), len(pieces))
        return Interval(low, high, "Wilson")
    if min(len(gained) for gained, _, _ in _groups(pieces)) < _FEWEST:
        return Interval(min(0.0, *(piece.gained / piece.possible for piece in pieces)), 1.0, "too few questions")
    low, high = np.percentile(_resampled(pieces), [2.5, 97.5])
    return Interval(float(low), float(high), "bootstrap")


def _resampled(pieces: Sequence[Piece]) -> NDArray[np.float64]:
    """The score of each resample."""
    rng = np.random.default_rng(0)
    groups = _groups(pieces)
    total = np.zeros(_RESAMPLES)
    for gained, possible, share in groups:
        for start in range(0, _RESAMPLES, _BLOCK):
            drawn = rng.integers(len(gained), size=(_BLOCK, len(gained)))
            total[start : start + _BLOCK] += share * gained[drawn].sum(axis=1) / possible[drawn].sum(axis=1)
    return total / sum(share for _, _, share in groups)


def _groups(pieces: Sequence[Piece]) -> list[tuple[NDArray[np.float64], NDArray[np.float64], float]]:
    """What was gained and what was possible in each group, and the group's share."""
    groups: dict[tuple[str, float], list[Piece]] = defaultdict(list)
    for piece in pieces:
        groups[piece.group, piece.share].append(piece)
    return [
        (np.array([each.gained for each in group]), np.array([each.possible for each in group]), share)
        for (_, share), group in groups.items()
    ]
