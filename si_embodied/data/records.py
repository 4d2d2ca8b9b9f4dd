"""Questions on disk: SenseNova-SI's JSONL, and a second file with the labels that scoring needs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeAlias

from si_embodied.errors import DataError, shown

Box: TypeAlias = tuple[int, int, int, int]

QUESTIONS_FILE, LABELS_FILE, MANIFEST_FILE = "questions.jsonl", "labels.jsonl", "manifest.json"
PLACEHOLDER = "<image>"
_SPEAKERS = ("human", "gpt", "system")


@dataclass(frozen=True, slots=True)
class Conversation:
    """One line of SenseNova-SI's JSONL."""

    id: str
    turns: tuple[tuple[str, str], ...]  # alternating ("human", text with a placeholder per image) and ("gpt", text)
    images: tuple[str, ...]  # paths relative to the data set's folder

    @property
    def question(self) -> str:
        """The text of the first human turn."""
        return next(text for speaker, text in self.turns if speaker == "human")

    @property
    def answer(self) -> str:
        """The text of the first answer."""
        return next(text for speaker, text in self.turns if speaker == "gpt")

    def as_json(self) -> dict[str, Any]:
        """The line's JSON object, with its keys in the original order."""
        turns = [{"from": speaker, "value": text} for speaker, text in self.turns]
        return {"id": self.id, "conversations": turns, "image": list(self.images)}


@dataclass(frozen=True, slots=True)
class Accepts:
    """What scoring accepts besides the answer itself; each field is None where it does not apply."""

    skills: tuple[str, ...] | None = None  # of a plan, in order
    unit: str | None = None  # of a number
    box: Box | None = None  # x0, y0, x1, y1 in 0..1000: a box, or where a point or a plan's first point must lie


@dataclass(frozen=True, slots=True)
class Labels:
    """What scoring needs about a question; one line of the labels file, with the id of the question's line."""

    id: str
    capability: str
    type: str
    form: str
    answer: str
    options: tuple[str, ...]
    seed: int  # of the scene
    accepts: Accepts = Accepts()

    @property
    def box(self) -> Box:
        """The accepted box of a point or a box.

        Raises:
            DataError: the labels have none.
        """
        if self.accepts.box is None:
            raise DataError(f"the labels of {self.id!r} have no accepted box, which a {self.form} needs")
        return self.accepts.box

    def as_json(self) -> dict[str, Any]:
        """The line's JSON object; `accepts` has only the keys that apply."""
        value = asdict(self)
        return {**value, "accepts": {key: item for key, item in value["accepts"].items() if item is not None}}


# --- writing --------------------------------------------------------------------------------------------------------


def json_line(value: object) -> str:
    """One line of JSON; equal values give equal lines."""
    return json.dumps(value, ensure_ascii=False) + "\n"


# --- reading --------------------------------------------------------------------------------------------------------


def _lines(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    try:
        with path.open(encoding="utf-8-sig") as file:
            for number, line in enumerate(file, start=1):
                if not line.strip():
                    continue
                try:
                    value = json.loads(line)
                except json.JSONDecodeError as error:
                    raise DataError(f"{path}, line {number}: not JSON ({error.msg} at column {error.colno})") from None
                except (ValueError, RecursionError) as error:  # a number of 5000 digits, a thousand brackets
                    raise DataError(f"{path}, line {number}: not JSON that can be read ({error})") from None
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
        DataError: a line does not have this form; the message names the file and the line number.
    """
    for number, value in _lines(path):
        yield _conversation(value, f"{path}, line {number}")


def _conversation(value: dict[str, Any], where: str) -> Conversation:
    missing = [key for key in ("id", "conversations") if key not in value]
    if missing:
        raise DataError(f"{where}: no {' and no '.join(map(repr, missing))}; found: {', '.join(value) or 'nothing'}")
    image = value.get("image") or []
    images = [image] if isinstance(image, str) else image
    if not isinstance(images, list) or not all(isinstance(entry, str) for entry in images):
        raise DataError(f"{where}: expected 'image' to be a path or a list of paths, got: {shown(image)}")
    turns = value["conversations"]
    if not isinstance(turns, list) or not turns:
        raise DataError(f"{where}: expected 'conversations' to be a list of turns, got: {shown(turns)}")
    spoken: list[tuple[str, str]] = []
    for turn in turns:
        spoken.append(_turn(turn, where))
    if not {"human", "gpt"} <= {speaker for speaker, _ in spoken}:
        raise DataError(f"{where}: expected a 'human' and a 'gpt' turn, got: {[s for s, _ in spoken]}")
    if "video" in value or any("<video>" in text for _, text in spoken):
        raise DataError(f"{where}: videos are not read; give the frames that matter as images")
    named = sum(text.count(PLACEHOLDER) for _, text in spoken)
    # Without any placeholder the images come first, as in LLaVA's readers.
    if named and named != len(images):
        raise DataError(f"{where}: {named} {PLACEHOLDER} placeholders for {len(images)} images")
    return Conversation(str(value["id"]), tuple(spoken), tuple(images))


def _turn(turn: Any, where: str) -> tuple[str, str]:
    """Who speaks, and the text."""
    if not (isinstance(turn, dict) and turn.get("from") in _SPEAKERS and isinstance(turn.get("value"), str)):
        raise DataError(f"{where}: expected a turn with 'from' (one of {_SPEAKERS}) and 'value', got: {shown(turn)}")
    speaker, text = str(turn["from"]), str(turn["value"])
    if speaker == "gpt" and not text.strip():
        raise DataError(f"{where}: an empty answer; there is nothing to learn from it")
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        raise DataError(f"{where}: half a surrogate pair, which is no character, in: {shown(text)}") from None
    return speaker, text


def read_labels(path: Path) -> Iterator[Labels]:
    """Read the labels file.

    Raises:
        DataError: a line lacks a key of `Labels`, or has a value of another type.
    """
    for number, value in _lines(path):
        yield _labels(value, f"{path}, line {number}")


_TEXTS = ("id", "capability", "type", "form", "answer")


def _labels(value: dict[str, Any], where: str) -> Labels:
    missing = [key for key in (*_TEXTS, "options", "seed", "accepts") if key not in value]
    if missing:
        raise DataError(f"{where}: no {', '.join(map(repr, missing))}")
    texts, options, seed = {key: value[key] for key in _TEXTS}, value["options"], value["seed"]
    accepts = value["accepts"]
    known = accepts if isinstance(accepts, dict) else {"accepts": accepts}
    skills, unit, box = (known.get(key) for key in ("skills", "unit", "box"))
    valid = {
        "a string": all(isinstance(text, str) for text in texts.values()),
        "'unit' to be a string": unit is None or isinstance(unit, str),
        "'options' to be a list of strings": _are_strings(options),
        "'skills' to be a list of strings": skills is None or _are_strings(skills),
        "'seed' to be an integer": type(seed) is int,
        "'box' to be four integers": box is None
        or (isinstance(box, list) and len(box) == 4 and all(type(side) is int for side in box)),
        "'accepts' to have 'skills', 'unit' and 'box' only": known.keys() <= {"skills", "unit", "box"},
    }
    if wrong := [expected for expected, fulfilled in valid.items() if not fulfilled]:
        raise DataError(f"{where}: expected {wrong[0]}, got: {shown(value)}; generate the labels again")
    given = Accepts(None if skills is None else tuple(skills), unit, None if box is None else tuple(box))
    return Labels(**texts, options=tuple(options), seed=seed, accepts=given)


def _are_strings(values: Any) -> bool:
    return isinstance(values, list) and all(isinstance(value, str) for value in values)


def read_dataset(folder: Path) -> Iterator[tuple[Conversation, Labels]]:
    """Every question of a generated data set, with its labels.

    Raises:
        DataError: the data set is missing or unfinished, or its two files list different questions.
    """
    if not (folder / MANIFEST_FILE).is_file():
        raise DataError(
            f"no finished data set in {str(folder)!r}: it has no {MANIFEST_FILE}; "
            "run `si-embodied data generate` with the same settings again to resume it"
        )
    questions, labels = read_conversations(folder / QUESTIONS_FILE), read_labels(folder / LABELS_FILE)
    for number, entry in enumerate(questions, start=1):
        label = next(labels, None)
        if label is None or label.id != entry.id:
            raise DataError(f"{folder / LABELS_FILE}, line {number}: not about {entry.id!r}; generate it again")
        yield entry, label
