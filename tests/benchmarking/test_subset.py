"""The questions that --limit chooses."""

from __future__ import annotations

from si_embodied.benchmarking.subset import take_turns


def test_categories_take_turns() -> None:
    assert take_turns(range(6), ["a", "a", "a", "a", "b", "c"], 4) == [0, 1, 4, 5]


def test_rotations_of_a_question_stay_together_and_count_once() -> None:
    assert take_turns([7, 8, 7, 8, 9], ["a", "a", "a", "a", "b"], 2) == [0, 2, 4]


def test_a_limit_above_the_number_takes_all() -> None:
    assert take_turns(range(3), ["a", "b", "a"], 9) == [0, 1, 2]
