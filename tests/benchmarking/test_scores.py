"""Intervals around lmms-eval's scores."""

from __future__ import annotations

import pytest

from si_embodied.benchmarking.scores import Piece, interval, mean_of
from si_embodied.errors import DataError


def test_right_and_wrong_questions_get_wilsons_interval() -> None:
    found = interval([Piece(1.0)] * 81 + [Piece(0.0)] * 182, 81 / 263)
    assert found.method == "Wilson"
    # R. G. Newcombe, Statistics in Medicine 17 (1998), 857-872, table I: 81 of 263 is 0.2553 to 0.3662.
    assert (found.low, found.high) == pytest.approx((0.2553, 0.3662), abs=1e-4)


def test_a_score_over_groups_is_the_mean_of_their_means() -> None:
    pieces = [Piece(1.0, group="a")] * 3 + [Piece(0.0, group="b"), Piece(0.5, group="c", share=0.5)]
    assert mean_of(pieces) == pytest.approx((1.0 + 0.0 + 0.25) / 2.5)


def test_partly_right_questions_get_a_bootstrap_around_the_score() -> None:
    values = [0.1, 0.4, 0.9, 0.6] * 100
    found = interval([Piece(value) for value in values], 0.5)
    assert found.method == "bootstrap"
    # The normal interval of the mean, by hand: the values' standard deviation is 0.2915, so half of it is 0.0286.
    assert (found.low, found.high) == pytest.approx((0.5 - 0.0286, 0.5 + 0.0286), abs=0.003)


def test_a_chance_adjusted_score_may_be_below_zero() -> None:
    pieces = [Piece(-0.25, possible=0.75)] * 9
    assert interval(pieces, -1 / 3).low == pytest.approx(-1 / 3)


def test_an_interval_of_another_score_is_refused() -> None:
    with pytest.raises(DataError, match=r"0\.700000.*0\.500000"):
        interval([Piece(1.0), Piece(0.0)], 0.7)


def test_a_group_of_one_question_leaves_the_score_open() -> None:
    found = interval([Piece(1.0, group="a")] * 9 + [Piece(1.0, group="b")], 1.0)
    assert (found.low, found.high, found.method) == (0.0, 1.0, "too few questions")
