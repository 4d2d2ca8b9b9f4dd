"""Asks the planning model questions about images, answered in words or with a region. Runs in the caller's thread."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Protocol, cast

from si_embodied.errors import BackendError
from si_embodied.models.points import RELATIVE_MAX
from si_embodied.models.regions import Region, json_question, json_schema, read_json
from si_embodied.types import Prompt

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

    from si_embodied.backends.base import Backend
    from si_embodied.backends.local import LocalBackend
    from si_embodied.backends.server import ServerBackend

PROMPT_VERSION = "ask/v1"
LONGEST_ANSWER = 400
_BOUNDS = (RELATIVE_MAX, RELATIVE_MAX)


class QuestionFormat(Protocol):
    """How to phrase questions to a kind of model, and how to parse its answers."""

    def question(self, images: Sequence[NDArray[np.uint8]], question: str) -> Prompt:
        """A prompt that is answered in words."""

    def words(self, text: str) -> str:
        """Parse an answer in words.

        Raises:
            BackendError: the answer is malformed.
        """

    def where(self, image: NDArray[np.uint8], phrase: str) -> Prompt:
        """A prompt that is answered with the region of the named object."""

    def region(self, text: str, image: NDArray[np.uint8]) -> Region:
        """Parse the box or point in an answer.

        Raises:
            RegionParseError: the answer contains no region.
        """


class JsonFormat:
    """JSON, for any model with schema-constrained answers. Coordinates are 0..1000."""

    def question(self, images: Sequence[NDArray[np.uint8]], question: str) -> Prompt:
        """A prompt that is answered with a JSON object."""
        schema = {
            "type": "object",
            "properties": {"answer": {"type": "string", "maxLength": LONGEST_ANSWER}},
            "required": ["answer"],
            "additionalProperties": False,
        }
        words = f'{question}\nAnswer briefly, as JSON: {{"answer": "..."}}'
        return Prompt(PROMPT_VERSION, "", (*images, words), schema)

    def words(self, text: str) -> str:
        """The object's "answer" field."""
        try:
            return str(json.loads(text)["answer"])
        except (ValueError, LookupError, TypeError) as error:
            raise BackendError(f'expected a JSON object with an "answer", got: {text[:120]!r}') from error

    def where(self, image: NDArray[np.uint8], phrase: str) -> Prompt:
        """A prompt that is answered with a box."""
        words = f"{json_question(phrase, 'box')} Coordinates go from 0 to {RELATIVE_MAX} in width and in height."
        return Prompt(PROMPT_VERSION, "", (image, words), json_schema("box", _BOUNDS))

    def region(self, text: str, image: NDArray[np.uint8]) -> Region:
        """Parse the box or point."""
        return read_json(text, _BOUNDS)


class FamilyFormat:
    """A local checkpoint's own format: plain words, and regions as its family was trained to write them."""

    def __init__(self, family: Any) -> None:
        """Use the format of a model family."""
        self._family = family

    def question(self, images: Sequence[NDArray[np.uint8]], question: str) -> Prompt:
        """A prompt that is answered with one line of text."""
        pattern = rf"[^\n]{{1,{LONGEST_ANSWER}}}"
        schema = {"type": "text", "pattern": pattern, "maxLength": LONGEST_ANSWER}
        return Prompt(PROMPT_VERSION, "", (*images, question), schema)

    def words(self, text: str) -> str:
        """The whole text, stripped."""
        return text.strip()

    def where(self, image: NDArray[np.uint8], phrase: str) -> Prompt:
        """A prompt that is answered with a box."""
        return cast("Prompt", self._family.grounding_prompt(image, phrase))

    def region(self, text: str, image: NDArray[np.uint8]) -> Region:
        """Parse the box, or the point if there is no box."""
        return cast("Region", self._family.read_region(text, image))


class Asker:
    """Asks a backend questions about images."""

    def __init__(self, backend: Backend, question_format: QuestionFormat | None = None) -> None:
        """Ask `backend` in a format, by default JSON."""
        self._backend, self._format = backend, question_format or JsonFormat()

    def ask(self, images: Sequence[NDArray[np.uint8]], question: str, *, deadline_s: float) -> str:
        """Ask a question and return the answer in words.

        Args:
            images: each (H, W, 3).
            question: free text.
            deadline_s: seconds from now.

        Raises:
            BackendError: the model failed, or (`DeadlineExceeded`) the deadline passed.
        """
        prompt = self._format.question(images, question)
        return self._format.words(self._backend.generate(prompt, deadline_s=deadline_s).text)

    def locate(self, image: NDArray[np.uint8], phrase: str, *, deadline_s: float) -> tuple[str, Region]:
        """Locate an object in an image.

        Args:
            image: (H, W, 3).
            phrase: the object in words.
            deadline_s: seconds from now.

        Returns:
            The model's answer, and the region parsed from it.

        Raises:
            BackendError: the model failed, or (`DeadlineExceeded`) the deadline passed.
            RegionParseError: the answer contains no region of the image.
            ConfigError: the phrase is empty.
        """
        prompt = self._format.where(image, phrase)
        text = self._backend.generate(prompt, deadline_s=deadline_s).text
        return text, self._format.region(text, image)


def asker_for(backend: Backend, kind: str) -> Asker:
    """Asks an opened backend in the format of its kind ("local", "server", "scripted").

    A server is asked over a connection of its own: whatever happens to a question, plans go on.
    """
    if kind == "server":
        return Asker(cast("ServerBackend", backend).apart())
    if kind == "local":
        return Asker(backend, FamilyFormat(cast("LocalBackend", backend).family))
    return Asker(backend)
