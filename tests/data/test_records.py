from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from si_embodied.data.questions.base import Question, full_text
from si_embodied.data.records import (
    LABELS_FILE,
    MANIFEST_FILE,
    QUESTIONS_FILE,
    read_conversations,
    read_dataset,
    read_labels,
)
from si_embodied.errors import DataError

# As in SenseNova-SI-800K: some lines have one image's path, some a list.
ONE = {
    "id": 0,
    "conversations": [
        {"from": "human", "value": "<image>\nWhich chair is nearer?"},
        {"from": "gpt", "value": "The left one."},
    ],
    "image": "scannet/0001.jpg",
}
TWO = {
    "id": "mv_17",
    "conversations": [
        {"from": "human", "value": "Image-1: <image>\nImage-2: <image>\nHow did the camera move?"},
        {"from": "gpt", "value": "A"},
    ],
    "image": ["a/0.jpg", "a/1.jpg"],
    "source": "something we do not know",
}


def write(path: Path, *lines: object) -> Path:
    path.write_text("".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in lines))
    return path


def test_reads_the_original_form(tmp_path: Path) -> None:
    one, two = read_conversations(write(tmp_path / "q.jsonl", ONE, "", TWO))
    assert (one.id, one.images, one.answer) == ("0", ("scannet/0001.jpg",), "The left one.")
    assert two.images == ("a/0.jpg", "a/1.jpg")
    assert two.question.endswith("How did the camera move?")


def test_written_lines_have_only_the_original_keys(tmp_path: Path) -> None:
    (one,) = read_conversations(write(tmp_path / "q.jsonl", ONE))
    assert one.as_json() == {**ONE, "id": "0", "image": ["scannet/0001.jpg"]}


def without(key: str) -> dict[str, object]:
    return {k: v for k, v in ONE.items() if k != key}


@pytest.mark.parametrize(
    ("line", "offence"),
    [
        (without("id"), "no 'id'"),
        (without("conversations"), "no 'conversations'"),
        ("{", "not JSON"),
        ('{"id": ' + "9" * 5000 + "}", "not JSON"),
        ("[" * 5000, "not JSON"),
        ([1], "expected an object"),
        ({**ONE, "image": 7}, "'image'"),
        ({**ONE, "image": ["a", "b"]}, "1 <image> placeholders for 2 images"),
        ({**ONE, "conversations": []}, "list of turns"),
        ({**ONE, "conversations": ONE["conversations"][:1]}, "'gpt' turn"),  # type: ignore[index]
        ({**ONE, "video": "a.mp4"}, "videos are not read"),
        (
            {**ONE, "conversations": [{"from": "human", "value": "<image>?"}, {"from": "gpt", "value": " "}]},
            "empty answer",
        ),
        ({**ONE, "conversations": [{"from": "human", "value": "\ud800"}]}, "surrogate"),
        ({**ONE, "conversations": [{"from": "robot", "value": "x"}]}, "'from'"),
    ],
)
def test_a_bad_line_is_named_with_its_number(tmp_path: Path, line: object, offence: str) -> None:
    path = write(tmp_path / "q.jsonl", TWO, line)
    with pytest.raises(DataError, match=r"q\.jsonl, line 2: ") as refused:
        list(read_conversations(path))
    assert offence in str(refused.value)


def test_a_byte_order_mark_is_no_part_of_the_first_line(tmp_path: Path) -> None:
    path = write(tmp_path / "q.jsonl", TWO)
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert len(list(read_conversations(path))) == 1


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="nothing.jsonl"):
        list(read_conversations(tmp_path / "nothing.jsonl"))


def test_an_unfinished_data_set_says_how_to_resume(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="data generate"):
        list(read_dataset(tmp_path))


LABELS: dict[str, Any] = {
    "id": "1", "capability": "", "type": "", "form": "", "answer": "", "options": [], "seed": 0, "accepts": {},
}  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "offence"),
    [
        ({"options": 5}, "'options'"), ({"options": [5]}, "'options'"), ({"answer": 5}, "a string"),
        ({"seed": "0"}, "'seed'"), ({"accepts": 5}, "'accepts'"), ({"accepts": {"boxes": []}}, "'accepts'"),
        ({"accepts": {"box": [1, 2, 3]}}, "'box'"), ({"accepts": {"box": [1, 2, 3, "4"]}}, "'box'"),
        ({"accepts": {"skills": "goto"}}, "'skills'"), ({"accepts": {"unit": 5}}, "'unit'"),
        ({"accepts": {"skills": 0}}, "'skills'"), ({"accepts": {"unit": 0}}, "'unit'"),
    ],
)  # fmt: skip
def test_labels_of_another_type_are_named_with_their_line(
    changes: dict[str, Any], offence: str, tmp_path: Path
) -> None:  # fmt: skip
    path = write(tmp_path / LABELS_FILE, LABELS, {**LABELS, **changes})
    with pytest.raises(DataError, match=r"labels\.jsonl, line 2: ") as refused:
        list(read_labels(path))
    assert offence in str(refused.value)


def test_labels_of_another_question_are_rejected(tmp_path: Path) -> None:
    write(tmp_path / QUESTIONS_FILE, ONE)
    write(tmp_path / LABELS_FILE, LABELS)
    (tmp_path / MANIFEST_FILE).write_text("{}")
    with pytest.raises(DataError, match="line 1"):
        list(read_dataset(tmp_path))


def test_the_text_names_every_image_and_every_option() -> None:
    picture = np.zeros((4, 4, 3), np.uint8)
    one = Question("choice", "Which?", (picture,), "B", ("left", "right"))
    two = Question("number", "How far?", (picture, picture), "3")
    assert full_text(one) == "<image>\nWhich?\nA. left\nB. right\nAnswer with the option's letter."
    assert full_text(two) == "Image-1: <image>\nImage-2: <image>\nHow far?\nAnswer with a number."
