from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from si_embodied.data.audit import NaiveBayes, audit_type, mean_relative_accuracy, overlap, score, words_of
from si_embodied.data.records import Accepts, Labels
from si_embodied.errors import DataError

COLOURS = ("red", "green", "blue", "white", "black", "brown")


def labels(form: str, answer: str, options: tuple[str, ...] = (), **accepts: Any) -> Labels:
    return Labels("x", "c", "c.t", form, answer, options, 0, Accepts(**accepts))


def sides(count: int, *, leaks: float) -> list[tuple[str, Labels]]:
    """Left-or-right questions; a share of them says "sofa" if and only if the answer is A."""
    rng = np.random.default_rng(1)
    entries = []
    for k in range(count):
        answer = "AB"[k % 2]
        thing = ("sofa" if answer == "A" else "plant") if rng.random() < leaks else ("sofa", "plant")[rng.integers(2)]
        entries.append((f"is the {thing} left or right?", labels("choice", answer, ("left", "right"))))
    return entries


def test_uninformative_words_pass() -> None:
    found = audit_type("t", sides(600, leaks=0.0))
    assert found.passes
    assert found.chance == 0.5


def test_words_that_give_the_answer_away_fail() -> None:
    found = audit_type("t", sides(600, leaks=0.5))
    assert not found.passes
    assert found.text == pytest.approx(0.75, abs=0.06)  # half are known, half of the others are guessed


def test_an_unbalanced_answer_fails() -> None:
    rng = np.random.default_rng(2)
    entries = [("which?", labels("choice", "A" if rng.random() < 0.7 else "B", ("left", "right"))) for _ in range(400)]
    found = audit_type("t", entries)
    assert found.constant == pytest.approx(0.7, abs=0.05)
    assert not found.passes


def test_options_that_give_themselves_away_fail_at_any_letter() -> None:
    rng = np.random.default_rng(3)
    entries = []
    for k in range(400):
        options = [COLOURS[i] for i in rng.permutation(5)[:3]]
        options.insert(k % 4, "wardrobe")  # the answer is always the wardrobe
        entries.append(("which is tallest?", labels("choice", "ABCD"[k % 4], tuple(options))))
    found = audit_type("t", entries)
    assert found.constant == pytest.approx(0.25, abs=0.06)
    assert found.text > 0.95


def test_a_number_that_depends_on_a_word_fails() -> None:
    rng = np.random.default_rng(4)
    words = [COLOURS[i] for i in rng.integers(6, size=600)]
    known = [(f"how tall is {w}?", labels("number", str(20 * 2 ** COLOURS.index(w)))) for w in words]
    unknown = [(f"how tall is {w}?", labels("number", str(20 * 2 ** int(rng.integers(6))))) for w in words]
    assert not audit_type("t", known).passes
    assert audit_type("t", unknown).passes


def test_too_few_questions_cannot_be_audited() -> None:
    with pytest.raises(DataError, match="9 questions"):
        audit_type("t", sides(9, leaks=0.0))


def test_mean_relative_accuracy_counts_thresholds() -> None:
    # Off by 12%: below 1 - t for t = 0.50, 0.55, …, 0.85, which are 8 of the 10 thresholds.
    assert mean_relative_accuracy(1.12, 1.0) == pytest.approx(0.8)
    assert mean_relative_accuracy(1.0, 1.0) == 1.0
    assert mean_relative_accuracy(2.0, 1.0) == 0.0


def test_overlap_of_boxes() -> None:
    assert overlap((0, 0, 2, 2), (1, 0, 3, 2)) == pytest.approx(2 / 6)
    assert overlap((0, 0, 1, 1), (2, 2, 3, 3)) == 0.0


@pytest.mark.parametrize(
    ("answer", "truth", "expected"),
    [
        ("b", labels("choice", "B"), 1.0),
        ("", labels("choice", "B"), 0.0),
        ("[500, 500]", labels("point", "[510, 490]", box=(400, 400, 600, 600)), 1.0),
        ("[700, 500]", labels("point", "[510, 490]", box=(400, 400, 600, 600)), 0.0),
        ("no idea", labels("point", "[510, 490]", box=(400, 400, 600, 600)), 0.0),
        ("[[0, 0, 100, 100]]", labels("box", "[[0, 0, 100, 90]]", box=(0, 0, 100, 90)), 1.0),
        ("about 3 metres", labels("number", "3.0"), 1.0),
        ('{"subgoals":[{"skill":"explore"}],"done":false}', labels("plan", "", skills=("explore",)), 1.0),
        (
            '{"subgoals":[{"skill":"goto","point":[5,5]}]}',
            labels("plan", "", skills=("goto",), box=(90, 90, 99, 99)),
            0.0,
        ),
        ("not json", labels("plan", "", skills=("explore",)), 0.0),
    ],
)
def test_scores(answer: str, truth: Labels, expected: float) -> None:
    assert score(answer, truth) == expected


def test_naive_bayes_by_hand() -> None:
    model = NaiveBayes([["a", "b"], ["a"], ["b"], ["b"]], np.array([0, 0, 1, 1]))
    # Class 0: a 2, b 1, other 0, each + 0.5, of 4.5; class 1: a 0, b 2, other 0, each + 0.5, of 3.5. Priors are equal.
    odds = np.exp(np.diff(model.scores(["a"])))[0]
    assert odds == pytest.approx((0.5 / 3.5) / (2.5 / 4.5))


def test_words_come_with_pairs() -> None:
    assert words_of("The red chair") == ["the", "red", "chair", "the red", "red chair"]
