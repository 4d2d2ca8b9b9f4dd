from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from si_embodied.errors import ConfigError
from si_embodied.evaluation.statistics import mcnemar, mean, percentiles, wilson_interval


@pytest.mark.parametrize(("successes", "trials"), [(0, 1), (0, 100), (1, 1), (3, 10), (50, 100), (97, 100), (100, 100)])
def test_wilson_interval_agrees_with_scipy(successes: int, trials: int) -> None:
    expected = stats.binomtest(successes, trials).proportion_ci(method="wilson")
    assert wilson_interval(successes, trials) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_wilson_interval_without_trials_is_0_to_1() -> None:
    assert wilson_interval(0, 0) == (0.0, 1.0)


def test_more_successes_than_trials_are_refused() -> None:
    with pytest.raises(ConfigError, match="3 of 2"):
        wilson_interval(3, 2)


@pytest.mark.parametrize("seed", range(5))
def test_mcnemar_is_the_exact_binomial_test_of_the_differing_pairs(seed: int) -> None:
    rng = np.random.default_rng(seed)
    first, second = rng.random(40) < 0.7, rng.random(40) < 0.4
    only_first, only_second = int((first & ~second).sum()), int((second & ~first).sum())
    expected = stats.binomtest(only_first, only_first + only_second, 0.5).pvalue
    result = mcnemar(first.tolist(), second.tolist())
    assert (result.only_first, result.only_second) == (only_first, only_second)
    assert result.p_value == pytest.approx(expected)


def test_equal_outcomes_do_not_differ() -> None:
    assert mcnemar([True, False], [True, False]).p_value == 1.0


def test_unpaired_outcomes_are_refused() -> None:
    with pytest.raises(ConfigError, match="same episodes"):
        mcnemar([True], [True, False])


def test_percentiles_interpolate_and_are_nan_without_values() -> None:
    result = percentiles(list(range(101)))
    assert (result.p50, result.p99) == (50, 99)
    assert math.isnan(percentiles([]).p50)


def test_mean_without_values_is_nan() -> None:
    assert mean([1.0, 2.0]) == 1.5
    assert math.isnan(mean([]))
