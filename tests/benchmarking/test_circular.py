"""Rotations of multiple-choice questions: in each data set's form, and joined to one score."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from si_embodied.benchmarking.benchmarks import BENCHMARKS
from si_embodied.benchmarking.circular import FORMS, joined
from si_embodied.benchmarking.harness import Scored
from si_embodied.benchmarking.report import measure_circular
from si_embodied.benchmarking.scores import Piece
from si_embodied.benchmarking.settings import SpatialRun
from si_embodied.benchmarking.task_files import write_task_files
from si_embodied.errors import ConfigError, DataError

INSTRUCTION = "For example, answer 'A. above' if the options are 'A. above B. under'.\n[Question]\n"
ROTATED: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "vsibench_multiimage": (
        {"options": ["A. back", "B. left", "C. right"], "ground_truth": "A"},
        {"options": ["A. left", "B. right", "C. back"], "ground_truth": "C"},
    ),
    "mmsi_bench": (
        {"question": "Where is it?\nOptions: A: west, B: north, up, C: east", "answer": "C"},
        {"question": "Where is it?\nOptions: A: north, up, B: east, C: west", "answer": "B"},
    ),
    "mindcube_tiny": (
        {"input_prompt": f"{INSTRUCTION}Which way? A. Above B. Under C. Left", "gt_answer": "B"},
        {"input_prompt": f"{INSTRUCTION}Which way? A. Under B. Left C. Above", "gt_answer": "A"},
    ),
    "viewspatial": (
        {"choices": "A. front\nB. back\nC. left", "answer": "C. left"},
        {"choices": "A. back\nB. left\nC. front", "answer": "B. left"},
    ),
    "site_bench_image": (
        {"options": ["one", "two", "three"], "answer": "A"},
        {"options": ["two", "three", "one"], "answer": "C"},
    ),
}  # by hand: the options move up by one place


@pytest.mark.parametrize("task", ROTATED)
def test_options_move_and_the_answer_with_them(task: str) -> None:
    document, expected = ROTATED[task]
    form = FORMS[task]
    choices = form.read(document)
    assert choices is not None
    assert form.write(document, choices.rotated(1)) == expected
    assert form.write(document, choices.rotated(3)) == document


@pytest.mark.parametrize(
    ("task", "document"),
    [
        ("vsibench_multiimage", {"options": None, "ground_truth": "3.2"}),
        ("vsibench_multiimage", {"options": ["A. one", "C. two"], "ground_truth": "A"}),
        ("mmsi_bench", {"question": "Where is it?", "answer": "A"}),
        ("mindcube_tiny", {"input_prompt": "Which? A. Left B. Right\nAnswer with a letter.", "gt_answer": "A"}),
        ("viewspatial", {"choices": "A. front\nB. back", "answer": "C. left"}),
        ("site_bench_image", {"options": ["<image>", "<image>"], "answer": "A"}),
    ],
)
def test_a_question_without_options_that_can_be_moved_is_left_out(task: str, document: dict[str, Any]) -> None:
    assert FORMS[task].read(document) is None


def samples(right: list[list[int]]) -> list[dict[str, Any]]:
    """MMSI's samples of questions, whose rotations are right or wrong."""
    return [
        {"doc_id": number, "average": {"score": score}}
        for number, score in enumerate(score for each in right for score in each)
    ]


def test_a_question_is_right_if_every_rotation_is() -> None:
    """Once 3 of 4 are right, in all rotations 1; by chance 1/2, 1/2, 1/4, 1/4 and 1/4, 1/4, 1/256, 1/256."""
    (task,) = BENCHMARKS["mmsi"].tasks
    scored = Scored({}, samples([[1, 1], [1, 0], [1, 1, 1, 0], [0, 1, 1, 1]]))
    once, rotated = (measured.row for measured in measure_circular("mmsi", task, "images", scored, [2, 2, 4, 4], []))
    assert (once.task, once.score, once.interval, once.scored) == ("mmsi_bench, once", 75.0, "Wilson", 4)
    assert (rotated.task, rotated.score, rotated.interval, rotated.scored) == (
        "mmsi_bench, circular",
        25.0,
        "Wilson",
        4,
    )
    assert once.chance == pytest.approx(100 * (2 / 2 + 2 / 4) / 4)
    assert rotated.chance == pytest.approx(100 * (2 / 4 + 2 / 256) / 4)
    # Wilson's interval of 1 of 4, by its formula: (0.25 + z²/8 ± z sqrt(0.1875/4 + z²/64)) / (1 + z²/4), z = 1.96.
    assert (rotated.low, rotated.high) == pytest.approx((4.56, 69.94), abs=0.01)


def test_a_missing_rotation_is_an_error() -> None:
    with pytest.raises(DataError, match="expected 4 rotations of 1 questions .*, got 3"):
        joined([Piece(1.0)] * 3, [4])


def test_each_rotated_task_has_a_file_beside_its_own(tmp_path: Path) -> None:
    (task,) = BENCHMARKS["mmsi"].tasks
    write_task_files(tmp_path, [task], Path("/lmms_eval"), None, 3, [task])
    assert "process_docs: !function subsets.mmsi_bench" in (tmp_path / "mmsi_bench.yaml").read_text()
    words = (tmp_path / "circular_mmsi_bench.yaml").read_text()
    assert "task: si_circular_mmsi_bench" in words
    assert "process_docs: !function subsets.si_circular_mmsi_bench" in words
    functions = (tmp_path / "subsets.py").read_text()
    assert (
        "circular(subset(documents, 'question_type', 3), 'mmsi_bench', FOLDER / 'si_circular_mmsi_bench.json')"
        in functions
    )


def test_mmbench_alone_has_nothing_to_rotate() -> None:
    with pytest.raises(ConfigError, match="its score is circular"):
        SpatialRun(tasks=("mmbench",), circular=True)
    assert not SpatialRun(tasks=("mmbench",)).circular_tasks
    assert len(SpatialRun(circular=True).circular_tasks) == 6
