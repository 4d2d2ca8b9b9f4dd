"""Asks a multiple-choice question once per rotation of its options, and counts it as right if every rotation is.

This is CircularEval (MMBench, Liu et al., arXiv 2307.06281): who always says "A" scores nothing. lmms-eval asks and
scores each rotation as a question of its own; here rotations are made, and their scores joined.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from string import ascii_uppercase
from typing import Any, TypeAlias

from si_embodied.benchmarking.scores import Piece
from si_embodied.errors import DataError, RecordError
from si_embodied.runs import write_json

LETTERS = ascii_uppercase

Document: TypeAlias = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Choices:
    """The options of a question, without their letters."""

    options: tuple[str, ...]
    right: int

    def rotated(self, turns: int) -> Choices:
        """The options moved up by so many places, those at the top to the end."""
        count = len(self.options)
        turns %= count
        return Choices((*self.options[turns:], *self.options[:turns]), (self.right - turns) % count)

    @property
    def letter(self) -> str:
        """The letter of the right option."""
        return LETTERS[self.right]

    def lettered(self, mark: str) -> list[str]:
        """The options behind their letters."""
        return [f"{letter}{mark} {option}" for letter, option in zip(LETTERS, self.options, strict=False)]


@dataclass(frozen=True, slots=True)
class Form:
    """Where a data set has the options of a question."""

    read: Callable[[Document], Choices | None]  # None: the question has no options that can be moved
    write: Callable[[Document, Choices], dict[str, Any]]  # the columns that change


def _checked(options: Sequence[str], letter: object) -> Choices | None:
    right = LETTERS.find(str(letter).strip()[:1] or "-")
    return Choices(tuple(options), right) if 2 <= len(options) <= len(LETTERS) and 0 <= right < len(options) else None


def _bare(lettered: Sequence[str]) -> list[str]:
    """Options without their letters; empty if one has another letter than its place says."""
    found = [
        re.match(rf"{letter}[.:]\s*(.*)", each, re.DOTALL) for letter, each in zip(LETTERS, lettered, strict=False)
    ]
    return [match[1] for match in found if match] if all(found) else []


def _at_the_end(text: str, mark: str) -> tuple[str, list[str], list[str]]:
    """The text before its options, what stands before the letters from B on, and the options, which end the text."""
    starts = list(re.finditer(rf"(?<!\S)A{re.escape(mark)}\s+", text))
    if not starts:
        return text, [], []
    rest, gaps, options = text[starts[-1].end() :], [], []
    for letter in LETTERS[1:]:
        option, *after = re.split(rf"([,;]?\s+){letter}{re.escape(mark)}\s+", rest, maxsplit=1)
        options.append(option)
        if not after:
            break
        gaps.append(after[0])
        rest = after[1]
    return text[: starts[-1].start()], gaps, options


def _in_text(column: str, answer: str, mark: str) -> Form:
    """Options in one line at the end of a text: `A: left, B: right`."""

    def read(document: Document) -> Choices | None:
        _, _, options = _at_the_end(document[column].rstrip(), mark)
        # More lines are more than the last option, and must stay at the end.
        return None if any("\n" in option for option in options) else _checked(options, document[answer])

    def write(document: Document, choices: Choices) -> dict[str, Any]:
        before, gaps, _ = _at_the_end(document[column].rstrip(), mark)
        lettered = choices.lettered(mark)
        text = lettered[0] + "".join(gap + option for gap, option in zip(gaps, lettered[1:], strict=True))
        return {column: before + text, answer: choices.letter}

    return Form(read, write)


_VSI = Form(
    lambda document: _checked(_bare(document["options"] or ()), document["ground_truth"]),
    lambda _, choices: {"options": choices.lettered("."), "ground_truth": choices.letter},
)
_VIEWSPATIAL = Form(
    lambda document: _checked(_bare(document["choices"].strip().split("\n")), document["answer"]),
    lambda _, choices: {
        "choices": "\n".join(choices.lettered(".")), "answer": choices.lettered(".")[choices.right],
    },
)  # fmt: skip
_SITE = Form(  # options that are images stand in the order of the pictures, and stay where they are
    lambda document: (
        None
        if any("<image>" in option for option in document["options"])
        else _checked(document["options"], document["answer"])
    ),
    lambda _, choices: {"options": list(choices.options), "answer": choices.letter},
)

FORMS: Mapping[str, Form] = {
    "vsibench_multiimage": _VSI,
    "mmsi_bench": _in_text("question", "answer", ":"),
    "mindcube_tiny": _in_text("input_prompt", "gt_answer", "."),
    "viewspatial": _VIEWSPATIAL,
    "site_bench_image": _SITE,
    "site_bench_video_multiimage": _SITE,
}
"""By task of lmms-eval. MMBench has none: its data set has the rotations already."""


def circular(documents: Any, task: str, counts: Path) -> Any:
    """The multiple-choice questions of a `datasets.Dataset`, once per rotation; a generated task file calls this.

    Images are not decoded, and copied only from a part of a data set (`subset`).

    Args:
        documents: the data set.
        task: the name of lmms-eval's task.
        counts: file for the number of options of each question, which lmms-eval's record lacks; see `counts_in`.

    Raises:
        DataError: no question has options that can be moved.
    """
    from datasets import concatenate_datasets

    form = FORMS[task]
    names = [name for name in documents.column_names if name not in ("images", "image")]
    rows = list(documents.select_columns(names))
    asked = [form.read(row) for row in rows]
    most = max((len(each.options) for each in asked if each is not None), default=0)
    if not most:
        raise DataError(f"no question of {task} has options in the expected form: run without --circular")
    write_json(counts, {"options": [len(each.options) for each in asked if each is not None]})
    turned = [_turned(documents, rows, asked, form, turns) for turns in range(most)]
    order = [
        turns * len(rows) + place
        for place, each in enumerate(asked) if each is not None for turns in range(len(each.options))
    ]  # fmt: skip
    return concatenate_datasets(turned).select(order)


def _turned(
    documents: Any, rows: Sequence[Document], asked: Sequence[Choices | None], form: Form, turns: int
) -> Any:  # fmt: skip
    """The data set with each question's options moved up by so many places."""
    changes = [
        {} if each is None else form.write(row, each.rotated(turns)) for row, each in zip(rows, asked, strict=True)
    ]
    for name in dict.fromkeys(name for change in changes for name in change):
        values = [change.get(name, row[name]) for change, row in zip(changes, rows, strict=True)]
        feature = documents.features[name]
        documents = documents.remove_columns(name).add_column(name, values, feature=feature)
    return documents


@dataclass(frozen=True, slots=True)
class Rotated:
    """A multiple-choice question, and which of its rotations were right."""

    first: int  # the number of its first rotation, which is the question as the data set has it
    right: tuple[bool, ...]

    @property
    def chance(self) -> float:
        """The probability that a uniformly random letter is right."""
        return 1 / len(self.right)

    @property
    def chance_of_all(self) -> float:
        """The probability that random letters are right in every rotation."""
        return self.chance ** len(self.right)


def counts_in(file: Path) -> list[int]:
    """The number of options of each question that `circular` rotated.

    Raises:
        RecordError: the file is missing or malformed.
    """
    try:
        return [int(count) for count in json.loads(file.read_text(encoding="utf-8"))["options"]]
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise RecordError(f"{str(file)!r} does not say what was rotated ({error}): repeat the command") from error


def joined(pieces: Sequence[Piece], counts: Sequence[int]) -> list[Rotated]:
    """The questions that rotations belong to.

    Args:
        pieces: what each rotation gained, in the data set's order.
        counts: the number of rotations of each question.

    Raises:
        DataError: there are not as many rotations.
    """
    if len(pieces) != sum(counts):
        raise DataError(
            f"expected {sum(counts)} rotations of {len(counts)} questions in lmms-eval's record, got {len(pieces)}: "
            "run the benchmark again into another --out"
        )
    right, ends = [piece.gained > 0 for piece in pieces], list(accumulate(counts))
    starts = [end - count for end, count in zip(ends, counts, strict=True)]
    return [Rotated(start, tuple(right[start:end])) for start, end in zip(starts, ends, strict=True)]
