"""A model that does not look scores at chance, and no question is asked twice."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("torch")
pytest.importorskip("llguidance")

from si_embodied.data.records import LABELS_FILE, MANIFEST_FILE, QUESTIONS_FILE, Conversation, Labels, json_line
from si_embodied.studies import asking, shortcuts
from si_embodied.studies.asking import QuestionsRun
from si_embodied.studies.settings import PlannerRun
from si_embodied.types import Completion, Prompt

OPTIONS = ("left", "right")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Twelve questions whose answer depends on the image's brightness, and twelve whose answer is always 2 m."""
    folder, entries, labels = tmp_path / "data", [], []
    folder.mkdir()
    for number in range(24):
        bright, metric = number % 2, number >= 12
        Image.fromarray(np.full((8, 8, 3), 200 if bright else 90, np.uint8)).save(folder / f"{number}.png")
        name = "metric.depth" if metric else "relation.left_right"
        text, answer = "<image>\nWhich side?\nA. left\nB. right\nAnswer with the option's letter.", "AB"[bright]
        if metric:
            text, answer = "<image>\nHow long?\nAnswer with a number.", "2"
        turns = (("human", text), ("gpt", answer))
        entries.append(Conversation(f"{name}-{number}", turns, (f"{number}.png",)).as_json())
        form, options = ("number", ()) if metric else ("choice", OPTIONS)
        labels.append(
            Labels(f"{name}-{number}", name.split(".", maxsplit=1)[0], name, form, answer, options, 0).as_json()
        )
    (folder / QUESTIONS_FILE).write_text("".join(json_line(one) for one in entries))
    (folder / LABELS_FILE).write_text("".join(json_line(one) for one in labels))
    (folder / MANIFEST_FILE).write_text("{}")
    return folder


class Answers:
    """A fake local backend, whose answer is a function of the prompt."""

    def __init__(self, answer: Callable[[Prompt], str]) -> None:
        self.answer, self.asked, self.family = answer, 0, self

    def image_text(self, number: int, count: int) -> tuple[str, str]:
        return "", ""

    def generate(self, prompt: Prompt, *, deadline_s: float) -> Completion:
        self.asked += 1
        return Completion(self.answer(prompt))


def looks(prompt: Prompt) -> str:
    """Decide by the image's brightness which option is right, and answer with its letter."""
    if "How long" in prompt.text:
        return "2"
    side = "right" if prompt.images and prompt.images[0].max() > 150 else "left"
    return "A" if f"A. {side}" in prompt.text else "B"


def run(
    monkeypatch: pytest.MonkeyPatch, model: Path, data: Path, out: Path, answers: Answers
) -> dict[str, shortcuts.TypeRow]:
    """The rows by type."""
    monkeypatch.setattr(asking, "LocalBackend", lambda *_, **__: answers)
    found = shortcuts.study(QuestionsRun(model, data, out), None, out)
    assert shortcuts.ShortcutsResults.read(out / "shortcuts.json") == found
    return {row.type: row for row in found.rows if isinstance(row, shortcuts.TypeRow)}


def means(row: shortcuts.TypeRow) -> dict[str, float]:
    return {shown: score.mean for shown, score in row.scores.items()}


def test_a_model_that_looks_falls_to_chance_on_black_images(
    monkeypatch: pytest.MonkeyPatch, planner: Path, data: Path, tmp_path: Path
) -> None:
    found = run(monkeypatch, planner, data, tmp_path / "out", Answers(looks))
    assert means(found["relation.left_right"]) == {"images": 1, "blank": 0.5, "none": 0.5, "circular": 1}
    row = found["relation.left_right"]
    assert (row.chance, row.circular_chance) == (0.5, 0.25)
    assert (row.only_seeing, row.only_blank) == (6, 0)


def test_a_model_that_always_says_a_is_never_right_in_every_order(
    monkeypatch: pytest.MonkeyPatch, planner: Path, data: Path, tmp_path: Path
) -> None:
    found = run(monkeypatch, planner, data, tmp_path / "out", Answers(lambda _: "A"))
    assert means(found["relation.left_right"]) == {"images": 0.5, "blank": 0.5, "none": 0.5, "circular": 0}


def test_numbers_are_compared_with_the_best_constant(
    monkeypatch: pytest.MonkeyPatch, planner: Path, data: Path, tmp_path: Path
) -> None:
    found = run(monkeypatch, planner, data, tmp_path / "out", Answers(looks))
    row = found["metric.depth"]
    assert means(found["metric.depth"]) == {"images": 1, "blank": 1, "none": 1}
    assert row.chance == 1  # it is always 2 m
    assert row.only_seeing is None


def test_a_run_resumes_where_it_was_interrupted(
    monkeypatch: pytest.MonkeyPatch, planner: Path, data: Path, tmp_path: Path
) -> None:
    whole = run(monkeypatch, planner, data, tmp_path / "whole", Answers(looks))
    lines = (tmp_path / "whole" / "answers.jsonl").read_text().splitlines(keepends=True)
    assert len(lines) == 12 * (3 + 1) + 12 * 3  # three sights each, and the other order of two options
    (tmp_path / "part").mkdir()
    (tmp_path / "part" / "answers.jsonl").write_text("".join(lines[:50]) + lines[50][:20])
    answers = Answers(looks)
    assert run(monkeypatch, planner, data, tmp_path / "part", answers) == whole
    assert answers.asked == len(lines) - 50
    keys = [json.loads(line)["id"] for line in (tmp_path / "part" / "answers.jsonl").read_text().splitlines()]
    assert len(keys) == len(lines)


def test_without_controls_each_question_is_asked_once(
    monkeypatch: pytest.MonkeyPatch, planner: Path, data: Path, tmp_path: Path
) -> None:
    answers = Answers(looks)
    monkeypatch.setattr(asking, "LocalBackend", lambda *_, **__: answers)
    run_of_all = QuestionsRun(planner, data, tmp_path / "out")
    questions, scores = asking.ask_all(run_of_all, controls=False, report=lambda _: None)
    assert answers.asked == len(questions) == 24
    assert set(scores) == {asking.as_posed(one) for one in questions}


def test_the_planners_own_questions_are_asked_in_every_sight(planner: Path, shards: Path, micro: Any) -> None:
    rows = shortcuts.own_questions(PlannerRun(planner, shards / "held_out", images=1, recipe=micro))
    kinds = {(row.own, row.sight): {one.kind for one in rows if one.own == row.own} for row in rows}
    assert set(kinds) == {
        (world, sight) for world in ("tabletop", "apartment") for sight in ("images", "blank", "none")
    }
    assert {"point pick", "point place", "base"} <= kinds["tabletop", "images"]
    assert "point goto" in kinds["apartment", "none"]


def test_a_real_backend_answers_with_a_letter(planner: Path, data: Path, tmp_path: Path) -> None:
    run_of_two = QuestionsRun(planner, data, tmp_path / "out", count=2)
    shortcuts.study(run_of_two, None, tmp_path / "out")
    answers = [json.loads(line)["answer"] for line in (tmp_path / "out" / "answers.jsonl").read_text().splitlines()]
    assert len(answers) == 8
    assert set(answers) <= {"A", "B"}
