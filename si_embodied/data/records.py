"""Questions on disk: SenseNova-SI's JSONL, and beside it, in a file of their own, the labels that scoring needs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from si_embodied.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from si_embodied.data.questions.base import Question

QUESTIONS_FILE, LABELS_FILE, MANIFEST_FILE = "questions.jsonl", "labels.jsonl", "manifest.json"
PLACEHOLDER = "<image>"
_SPEAKERS = ("human", "gpt", "system")


@dataclass(frozen=True, slots=True)
class Conversation:
    """One line of SenseNova-SI's JSONL."""

    id: str
    turns: tuple[tuple[str, str], ...]  # ("human", text with a placeholder an image) and ("gpt", text) in turns
    images: tuple[str, ...]  # paths relative to the data set's folder

    @property
    def question(self) -> str:
        """The first human turn."""
        return next(text for speaker, text in self.turns if speaker == "human")

    @property
    def answer(self) -> str:
        """The first answer."""
        return next(text for speaker, text in self.turns if speaker == "gpt")

    def as_json(self) -> dict[str, Any]:
        """The line's object, its keys in the original's order."""
        turns = [{"from": speaker, "value": text} for speaker, text in self.turns]
        return {"id": self.id, "conversations": turns, "image": list(self.images)}


@dataclass(frozen=True, slots=True)
class Labels:
    """What we know of a question beyond the original form; a line of the labels' file, by the same id."""

    id: str
    capability: str
    type: str
    form: str
    answer: str
    options: tuple[str, ...]
    seed: int  # of the scene
    accepts: Mapping[str, Any] = field(default_factory=dict)  # see `Question.accepts`


def full_text(question: Question) -> str:
    """The human turn: a placeholder for each image, the question, its options, and how to answer."""
    count = len(question.images)
    heads = [PLACEHOLDER] if count == 1 else [f"Image-{k}: {PLACEHOLDER}" for k in range(1, count + 1)]
    lines = [*heads, question.text]
    if question.form == "choice":
        lines += [f"{chr(65 + k)}. {option}" for k, option in enumerate(question.options) if option]
        lines.append("Answer with the option's letter.")
    elif question.form == "number":
        lines.append("Answer with a number.")
    return "\n".join(lines)


# --- writing --------------------------------------------------------------------------------------------------------


def json_line(value: object) -> str:
    """One line of JSON, the same for the same value."""
    return json.dumps(value, ensure_ascii=False) + "\n"


# --- reading --------------------------------------------------------------------------------------------------------


def _lines(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    try:
        with path.open(encoding="utf-8") as file:
            for number, line in enumerate(file, start=1):
                if not line.strip():
                    continue
                try:
                    value = json.loads(line)
                except json.JSONDecodeError as error:
                    raise DataError(f"{path}, line {number}: not JSON ({error.msg} at column {error.colno})") from None
                if not isinstance(value, dict):
                    raise DataError(f"{path}, line {number}: expected an object, got: {type(value).__name__}")
                yield number, value
    except OSError as error:
        raise DataError(f"cannot read {str(path)!r}: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not UTF-8 text ({error.reason} at byte {error.start})") from None


def read_conversations(path: Path) -> Iterator[Conversation]:
    """Read SenseNova-SI's JSONL (SenseNova-SI-800K's, or ours): `image` is a path, a list of paths, or absent.

    Raises:
        DataError: what a line lacks or has too much, with the file and the line's number.
    """
    for number, value in _lines(path):
        yield _conversation(value, f"{path}, line {number}")


def _conversation(value: dict[str, Any], where: str) -> Conversation:
    missing = [key for key in ("id", "conversations") if key not in value]
    if missing:
        raise DataError(f"{where}: no {' and no '.join(map(repr, missing))}; it has: {', '.join(value) or 'nothing'}")
    image = value.get("image") or []
    images = [image] if isinstance(image, str) else image
    if not isinstance(images, list) or not all(isinstance(entry, str) for entry in images):
        raise DataError(f"{where}: expected 'image' to be a path or a list of paths, got: {image!r}")
    turns = value["conversations"]
    if not isinstance(turns, list) or not turns:
        raise DataError(f"{where}: expected 'conversations' to be a list of turns, got: {turns!r}")
    spoken: list[tuple[str, str]] = []
    for turn in turns:
        if not (isinstance(turn, dict) and turn.get("from") in _SPEAKERS and isinstance(turn.get("value"), str)):
            raise DataError(f"{where}: expected a turn with 'from' (one of {_SPEAKERS}) and 'value', got: {turn!r}")
        spoken.append((turn["from"], turn["value"]))
    if not {"human", "gpt"} <= {speaker for speaker, _ in spoken}:
        raise DataError(f"{where}: expected a 'human' and a 'gpt' turn, got: {[s for s, _ in spoken]}")
    named = sum(text.count(PLACEHOLDER) for _, text in spoken)
    # Without any placeholder the images come first, as LLaVA's readers have it.
    if named and named != len(images):
        raise DataError(f"{where}: {named} placeholders {PLACEHOLDER} for {len(images)} images")
    return Conversation(str(value["id"]), tuple(spoken), tuple(images))


def read_labels(path: Path) -> Iterator[Labels]:
    """Read the labels' file.

    Raises:
        DataError: a line without the keys that labels have.
    """
    keys = ("id", "capability", "type", "form", "answer", "options", "seed", "accepts")
    for number, value in _lines(path):
        missing = [key for key in keys if key not in value]
        if missing:
            raise DataError(f"{path}, line {number}: no {', '.join(map(repr, missing))}")
        known = {key: value[key] for key in keys}
        yield Labels(**{**known, "options": tuple(value["options"])})


def read_dataset(folder: Path) -> Iterator[tuple[Conversation, Labels]]:
    """Every question of a generated data set with its labels.

    Raises:
        DataError: there is no finished data set, or its two files are not about the same questions.
    """
    if not (folder / MANIFEST_FILE).is_file():
        raise DataError(
            f"no finished data set in {str(folder)!r}: it has no {MANIFEST_FILE}; "
            "run `si-embodied data generate` with the same settings again and it goes on from where it was"
        )
    questions, labels = read_conversations(folder / QUESTIONS_FILE), read_labels(folder / LABELS_FILE)
    for number, entry in enumerate(questions, start=1):
        label = next(labels, None)
        if label is None or label.id != entry.id:
            raise DataError(f"{folder / LABELS_FILE}, line {number}: not about {entry.id!r}; generate it again")
        yield entry, label
