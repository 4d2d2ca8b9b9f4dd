"""Scores add up and have confidence intervals, and results survive a round trip through their file."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

pytest.importorskip("torch")
pytest.importorskip("llguidance")

from si_embodied.errors import RecordError
from si_embodied.evaluation.statistics import wilson_interval
from si_embodied.studies.own_questions import KindScore
from si_embodied.studies.results import OverSeeds, Score, total
from si_embodied.studies.scaling import ScalingResults, SizeRow


def test_right_or_wrong_answers_have_wilsons_interval() -> None:
    score = Score.of([True] * 9 + [False])
    assert score.mean == 0.9
    assert score.interval == wilson_interval(9, 10)
    assert str(score) == "90% (60 to 98, n = 10)"  # Wilson (1927) for 9 of 10: 0.596 to 0.982


def test_fractions_have_the_interval_of_their_mean() -> None:
    values = [0.2, 0.4, 0.4, 0.6]
    half = 1.959964 * math.sqrt(0.08 / 3) / math.sqrt(4)  # squared deviations from 0.4 add up to 0.08
    assert Score.of(values).interval == pytest.approx((0.4 - half, 0.4 + half))


def test_scores_add_up_as_if_they_were_one() -> None:
    parts = [Score.of([1, 0, 0.5]), Score.of([]), Score.of([0.25])]
    assert total(parts) == Score.of([1, 0, 0.5, 0.25])


def test_several_trainings_have_students_interval_over_their_means() -> None:
    """0.2, 0.4 and 0.6: standard deviation 0.2, and 4.303 is the 97.5% quantile with two degrees of freedom."""
    found = OverSeeds(tuple(Score.of([1] * won + [0] * (10 - won)) for won in (2, 4, 6)))
    half = 4.302653 * 0.2 / math.sqrt(3)
    assert found.mean == pytest.approx(0.4)
    assert found.interval == (0.0, pytest.approx(0.4 + half))  # 0.4 - half is below zero
    assert str(found) == "40% (0 to 90, 3 trainings)"


def test_one_training_has_the_interval_of_its_score() -> None:
    score = Score.of([True, False])
    assert (OverSeeds((score,)).interval, str(OverSeeds((score,)))) == (score.interval, str(score))


def test_a_score_without_answers_is_nan() -> None:
    assert math.isnan(Score().mean)
    assert str(Score()) == "–"


def test_results_are_read_back(tmp_path: Path) -> None:
    questions = (KindScore(kind="base", group="seen", count=3, total=2.0, squares=2.0),)
    rows = (SizeRow(2, 3, 0.5, questions, {"seen": Score.of([True, False])}),)
    written = ScalingResults({"steps": 3}, rows).write(tmp_path / "scaling.json")
    assert ScalingResults.read(tmp_path / "scaling.json") == written
    assert written.rows == rows


@pytest.mark.parametrize("content", [None, "{", "[]", '{"rows": []}', '{"settings": {}, "rows": [{"images": 2}]}'])
def test_missing_or_broken_results_say_to_run_the_study(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "scaling.json").write_text(content)
    with pytest.raises(RecordError, match="run the study first"):
        ScalingResults.read(tmp_path / "scaling.json")
