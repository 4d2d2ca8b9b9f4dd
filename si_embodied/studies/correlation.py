"""Rank correlation over a few checkpoints: does the one with the better score also succeed more often?

Kendall's tau-b, because there are few checkpoints and their success rates tie: it is the share of pairs of checkpoints
that both quantities put in the same order, less the share that they put in opposite orders, with a correction for ties
(M. G. Kendall, "The treatment of ties in ranking problems", Biometrika 33 (1945), 239-251). It is less sensitive to a
single outlier than Spearman's rho (C. Croux and C. Dehon, "Influence functions of the Spearman and Kendall correlation
measures", Statistical Methods & Applications 19 (2010), 497-515).
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

_RESAMPLES, _ORDERS = 2000, 20_000
_ALL_ORDERS = 8  # checkpoints: 40,320 orders
_DIGITS = 9  # scores that differ by less are rounding errors of the same score


class Measured(Protocol):
    """One quantity of several checkpoints."""

    @property
    def means(self) -> NDArray[np.float64]:
        """The checkpoints' values (N,)."""
        ...

    def redrawn(self, rng: np.random.Generator, count: int) -> NDArray[np.float64]:
        """Values (count, N) as they might have been with other questions or episodes."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class Outcomes:
    """Answers of all checkpoints to the same questions, or their success on the same seeds."""

    values: NDArray[np.float64]  # (N, questions), 0 to 1

    @property
    def means(self) -> NDArray[np.float64]:
        """The share of right answers or of successful episodes (N,)."""
        return np.asarray(self.values.mean(axis=1))

    def redrawn(self, rng: np.random.Generator, count: int) -> NDArray[np.float64]:
        """Means (count, N) over questions drawn with replacement, the same ones for all checkpoints."""
        questions = self.values.shape[1]
        drawn = rng.multinomial(questions, np.full(questions, 1 / questions), size=count)
        return np.asarray(drawn @ self.values.T / questions)


@dataclass(frozen=True, slots=True, eq=False)
class Reported:
    """Scores that were measured elsewhere; their answers are unknown."""

    means: NDArray[np.float64]  # (N,)
    errors: NDArray[np.float64]  # (N,) standard errors

    def redrawn(self, rng: np.random.Generator, count: int) -> NDArray[np.float64]:
        """Scores (count, N) drawn from normal distributions, independently for each checkpoint."""
        return rng.normal(self.means, self.errors, size=(count, len(self.means)))


@dataclass(frozen=True, slots=True)
class RankCorrelation:
    """Kendall's tau-b with its 95% interval."""

    tau: float  # -1 to 1
    low: float
    high: float
    p_value: float  # two-sided; the null hypothesis is that every order of the checkpoints is equally likely


def tau_b(first: NDArray[np.float64], second: NDArray[np.float64]) -> NDArray[np.float64]:
    """Kendall's tau-b along the last axis; NaN where all values of one of them tie.

    Equal to `scipy.stats.kendalltau`, which takes one pair of samples at a time and would need minutes for all orders.

    Args:
        first: (..., N).
        second: (..., N).
    """
    one, other = np.triu_indices(first.shape[-1], 1)
    above, beyond = (np.sign(np.round(x[..., one] - x[..., other], _DIGITS)) for x in (first, second))
    with np.errstate(invalid="ignore"):
        together = (above * beyond).sum(-1) / np.sqrt((above**2).sum(-1) * (beyond**2).sum(-1))
    return np.asarray(together)


def rank_correlation(first: Measured, second: Measured) -> RankCorrelation | None:
    """Kendall's tau-b of two quantities; None if all checkpoints tie in one of them.

    The interval is a percentile bootstrap over checkpoints and over questions and episodes, 2,000 times: Boot-Both of
    D. Deutsch, R. Dror and D. Roth, "A statistical analysis of summarization evaluation metrics using resampling
    methods", TACL 9 (2021), 1132-1146, who ask the same: how certain is a metric's correlation with what it stands for,
    if the systems and the inputs were others? Drawing rows and columns separately is conservative (A. B. Owen, "The
    pigeonhole bootstrap", Annals of Applied Statistics 1 (2007), 386-411). Draws in which all checkpoints tie are left
    out. The interval is too narrow if all checkpoints are in the same order, because so is every draw of them; the p
    value is exact all the same.
    """
    tau = float(tau_b(first.means, second.means))
    if math.isnan(tau):
        return None
    rng = np.random.default_rng(0)
    checkpoints = rng.integers(len(first.means), size=(_RESAMPLES, len(first.means)))
    drawn = [np.take_along_axis(each.redrawn(rng, _RESAMPLES), checkpoints, axis=1) for each in (first, second)]
    low, high = np.nanpercentile(tau_b(*drawn), [2.5, 97.5])
    return RankCorrelation(tau, float(low), float(high), permutation_p(first.means, second.means))


def permutation_p(first: NDArray[np.float64], second: NDArray[np.float64]) -> float:
    """How often a random pairing of two quantities (N,) has a tau-b as far from 0: over all pairings, or 20,000 drawn.

    All pairings up to 8 checkpoints. The observed one counts as one of those drawn: B. Phipson and G. K. Smyth,
    "Permutation P-values should never be zero", SAGMB 9 (2010), article 39.
    """
    count = len(first)
    exact = count <= _ALL_ORDERS
    if exact:
        orders = np.array(list(itertools.permutations(range(count))))
    else:
        orders = np.random.default_rng(0).permuted(np.tile(np.arange(count), (_ORDERS, 1)), axis=1)
    observed = abs(float(tau_b(first, second)))
    extreme = int(np.sum(np.abs(tau_b(first[orders], second)) >= observed - 10**-_DIGITS))
    return extreme / len(orders) if exact else (1 + extreme) / (1 + len(orders))
