"""Answering a benchmark's questions with our engine, and recording each answer so that a run can be resumed."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from queue import SimpleQueue
from threading import Lock
from typing import TYPE_CHECKING, Any

from pydantic import TypeAdapter

from si_embodied.backends.config import BackendConfig
from si_embodied.benchmarking.messages import Sight, cut, prompt_from
from si_embodied.benchmarking.results import typed_rows
from si_embodied.errors import DataError, RecordError, SiEmbodiedError
from si_embodied.planning_record import printable
from si_embodied.runs import JsonLines, write_json

if TYPE_CHECKING:
    from si_embodied.backends.base import Backend
    from si_embodied.types import Prompt

_DEADLINE_S = 3600.0


@dataclass(frozen=True, slots=True)
class Engine:
    """What the process of lmms-eval is told: the model, what it sees, and where its answers are recorded."""

    backend: BackendConfig
    sight: Sight
    answers: str  # the JSON lines file

    def write(self, file: Path) -> Path:
        """Write the settings file, and return its path."""
        write_json(file, asdict(self))
        return file

    @classmethod
    def read(cls, file: str | Path) -> Engine:
        """Read the settings file.

        Raises:
            RecordError: it is missing or malformed.
        """
        try:
            return TypeAdapter(cls).validate_python(json.loads(Path(file).read_text(encoding="utf-8")))
        except (OSError, ValueError) as error:
            raise RecordError(f"{str(file)!r} does not hold an engine's settings ({error})") from error


@dataclass(frozen=True, slots=True)
class Question:
    """One question of a task."""

    task: str
    document: int  # its number in the data set
    messages: Callable[[], Sequence[Mapping[str, Any]]]  # reads the images
    generation: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Answer:
    """A recorded answer."""

    task: str
    document: int
    prompt: str  # SHA-256 of the text and the images
    text: str  # as it is scored
    prompt_tokens: int
    completion_tokens: int
    seconds: float
    thought: str = ""  # before the answer; not scored


class Answering:
    """Answers questions, each once: those that were answered in an earlier run are read from its file."""

    def __init__(self, backends: Sequence[Backend], sight: Sight, file: Path) -> None:
        """Answer with `backends`, each of which answers one question at a time.

        Raises:
            ConfigError: the file holds something else than answers.
        """
        self._free: SimpleQueue[Backend] = SimpleQueue()
        for backend in backends:
            self._free.put(backend)
        self._at_once, self._sight = len(backends), sight
        self._lines, self._lock = JsonLines(file), Lock()
        self._known = {(each.task, each.document, each.prompt): each for each in answers_of(self._lines)}

    def answer(self, questions: Sequence[Question]) -> list[str]:
        """The answers, in the questions' order.

        Raises:
            BackendError: the model failed. Earlier answers are kept.
            DataError: a question cannot be read; the message names it.
        """
        with ThreadPoolExecutor(self._at_once) as pool:
            return list(pool.map(self._answer, questions))

    def _prompt(self, question: Question) -> Prompt:
        where = f"question {question.document} of {question.task}"
        try:
            return prompt_from(question.messages(), self._sight, question.generation)
        except SiEmbodiedError as error:
            raise DataError(f"{where}: {error}") from error
        except Exception as error:
            # lmms-eval and its libraries raise whatever they meet; each means that the row is not what they expect.
            raise DataError(
                f"{where} cannot be read from the data set ({type(error).__name__}: {error}): download its table and "
                "its images again"
            ) from error

    def _answer(self, question: Question) -> str:
        prompt = self._prompt(question)
        key = question.task, question.document, prompt_digest(prompt)
        if (known := self._known.get(key)) is not None:
            return known.text
        backend = self._free.get()
        try:
            started = time.monotonic()
            said = backend.generate(prompt, deadline_s=_DEADLINE_S)
            seconds = time.monotonic() - started
        finally:
            self._free.put(backend)
        # MMBench's scorer writes a spreadsheet, which may hold no control characters.
        text = printable(cut(said.text, question.generation))
        answer = Answer(*key, text, said.prompt_tokens, said.completion_tokens, round(seconds, 4), said.thought)
        with self._lock:
            self._lines.append(asdict(answer))
        return text


def answers_of(lines: JsonLines) -> list[Answer]:
    """The answers in a file.

    Raises:
        ConfigError: a line is not an answer; the message names it.
    """
    return typed_rows(Answer, lines.path, lines.rows)


def prompt_digest(prompt: Prompt) -> str:
    """SHA-256 of everything the model is shown: the texts, and each image's shape and pixels."""
    digest = hashlib.sha256(prompt.system.encode())
    for part in prompt.content:
        if isinstance(part, str):
            digest.update(b"\0text" + part.encode())
        else:
            digest.update(f"\0image{part.shape}".encode() + part.tobytes())
    return digest.hexdigest()
