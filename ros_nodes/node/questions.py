"""Questions about images to the model that plans: in words, or where a thing is. Pure, in the caller's thread."""

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

PROMPT_VERSION = "ask/v1"
LONGEST_ANSWER = 400
_BOUNDS = (RELATIVE_MAX, RELATIVE_MAX)


class Form(Protocol):
    """How a kind of model is asked, and how its answers read."""

    def question(self, images: Sequence[NDArray[np.uint8]], question: str) -> Prompt:
        """For words."""

    def words(self, text: str) -> str:
        """The words of an answer.

        Raises:
            BackendError: it has none.
        """

    def where(self, image: NDArray[np.uint8], phrase: str) -> Prompt:
        """For where a thing is."""

    def region(self, text: str, image: NDArray[np.uint8]) -> Region:
        """The box or point of an answer.

        Raises:
            RegionParseError: it has none.
        """


class JsonForm:
    """JSON, for whatever answers in a schema; places in 0..1000."""

    def question(self, images: Sequence[NDArray[np.uint8]], question: str) -> Prompt:
        """For an object with an answer."""
        schema = {
            "type": "object",
            "properties": {"answer": {"type": "string", "maxLength": LONGEST_ANSWER}},
            "required": ["answer"],
            "additionalProperties": False,
        }
        words = f'{question}\nAnswer briefly, as JSON: {{"answer": "..."}}'
        return Prompt(PROMPT_VERSION, "", (*images, words), schema)

    def words(self, text: str) -> str:
        """The object's answer."""
        try:
            return str(json.loads(text)["answer"])
        except (ValueError, LookupError, TypeError) as error:
            raise BackendError(f"expected an object with an answer, got: {text[:120]!r}") from error

    def where(self, image: NDArray[np.uint8], phrase: str) -> Prompt:
        """For a box."""
        words = f"{json_question(phrase, 'box')} Coordinates go from 0 to {RELATIVE_MAX} in width and in height."
        return Prompt(PROMPT_VERSION, "", (image, words), json_schema("box", _BOUNDS))

    def region(self, text: str, image: NDArray[np.uint8]) -> Region:
        """The box or point."""
        return read_json(text, _BOUNDS)


class FamilyForm:
    """A checkpoint's own: bare words, and regions as its family was trained to write them."""

    def __init__(self, family: Any) -> None:
        """Ask as `family` is asked."""
        self._family = family

    def question(self, images: Sequence[NDArray[np.uint8]], question: str) -> Prompt:
        """For one line of words."""
        pattern = rf"[^\n]{{1,{LONGEST_ANSWER}}}"
        schema = {"type": "text", "pattern": pattern, "maxLength": LONGEST_ANSWER}
        return Prompt(PROMPT_VERSION, "", (*images, question), schema)

    def words(self, text: str) -> str:
        """All of it."""
        return text.strip()

    def where(self, image: NDArray[np.uint8], phrase: str) -> Prompt:
        """For a box."""
        return cast("Prompt", self._family.grounding_prompt(image, phrase))

    def region(self, text: str, image: NDArray[np.uint8]) -> Region:
        """The box, or the point where there is only that."""
        return cast("Region", self._family.read_region(text, image))


class Asker:
    """Asks a backend."""

    def __init__(self, backend: Backend, form: Form | None = None) -> None:
        """Ask in a form; in JSON by default."""
        self._backend, self._form = backend, form or JsonForm()

    def ask(self, images: Sequence[NDArray[np.uint8]], question: str, *, deadline_s: float) -> str:
        """The answer in words.

        Args:
            images: each (H, W, 3).
            question: free text.
            deadline_s: seconds from now.

        Raises:
            BackendError: the model failed, or `DeadlineExceeded`.
        """
        prompt = self._form.question(images, question)
        return self._form.words(self._backend.generate(prompt, deadline_s=deadline_s).text)

    def locate(self, image: NDArray[np.uint8], phrase: str, *, deadline_s: float) -> tuple[str, Region]:
        """The answer, and where the thing is in the image.

        Raises:
            BackendError: the model failed, or `DeadlineExceeded`.
            RegionParseError: the answer is no place in the image.
            ConfigError: the phrase is empty.
        """
        prompt = self._form.where(image, phrase)
        text = self._backend.generate(prompt, deadline_s=deadline_s).text
        return text, self._form.region(text, image)
