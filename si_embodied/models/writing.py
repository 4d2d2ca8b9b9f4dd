"""Writes the answer to a conversation piece by piece, and leaves the model to more urgent prompts in between."""

from __future__ import annotations

import codecs
from typing import TYPE_CHECKING

from si_embodied.errors import BackendError, ConfigError
from si_embodied.models.decoding import Answer, Decoding
from si_embodied.models.regions import SpecialToken
from si_embodied.types import Prompt

if TYPE_CHECKING:
    import threading
    from collections.abc import Generator, Iterator, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from si_embodied.conversation import Conversation, Ending, Turn
    from si_embodied.models.constraint import Constraint, Grammars
    from si_embodied.models.families import Family, ModelInputs
    from si_embodied.models.runner import ModelRunner

_ANY_TEXT = {"type": "text", "pattern": "(?s:.*)"}
_UNLIMITED = 1 << 62
_LONG_TOKEN = 8
"""More characters than the tokens of any sensible text have on average; English has 4 to 5."""


class ModelWriting:
    """An answer of one model (a `Writing`).

    An interrupted answer keeps its tokens and the states of grammar and sampling. The next call of `pieces` reads them
    back together with the prompt, so interruptions change no token.
    """

    def __init__(
        self,
        family: Family,
        runner: ModelRunner,
        grammars: Grammars,
        lock: threading.Lock,
        conversation: Conversation,
        interrupted: threading.Event,
    ) -> None:
        """Answer a conversation; `lock` is held while the model works, `interrupted` makes it stop."""
        self._family, self._runner, self._grammars, self._lock = family, runner, grammars, lock
        self._conversation, self._interrupted = conversation, interrupted
        self._begun: tuple[ModelInputs, Constraint, Answer] | None = None
        self._text = codecs.getincrementaldecoder("utf-8")("ignore")  # a token may end within a character
        self._most = 0
        self.prompt_tokens = self.completion_tokens = 0
        self.ended: Ending | None = None

    def pieces(self) -> Generator[str, None, None]:
        """Write on; raises as in `Writing`."""
        with self._lock:
            try:
                yield from self._pieces()
            except BackendError:
                if not self._interrupted.is_set():
                    raise

    def _pieces(self) -> Iterator[str]:
        self._begun = inputs, constraint, answer = self._begun or self._begin()
        features = self._runner.encode_images(inputs, check=answer.check)
        self._runner.prefill(inputs, features, answer.tokens, check=answer.check)
        while self.ended is None:
            new = answer.extend()
            if len(answer.tokens) >= self._most:
                self.ended = "length"
            if constraint.finished and len(answer.tokens) <= self._most:
                self.ended = "stop"
            yield self._piece(new)
            if self.ended is None:
                answer.check()
                self._runner.step(new)

    def _begin(self) -> tuple[ModelInputs, Constraint, Answer]:
        """Tokenize the conversation and compile the schema."""
        asked = self._conversation
        constraint, context = self._constraint(asked), self._family.context_tokens
        prompt = _prompt(asked.turns, self._family.turn_tokens)
        length, longest = len(prompt.system) + len(prompt.text), context * _LONG_TOKEN
        if length > longest:  # a megabyte takes seconds to tokenize
            raise ConfigError(f"expected a conversation of at most {longest} characters, got: {length}; send less text")
        inputs = self._family.encode(prompt)
        self.prompt_tokens = len(inputs.input_ids)
        if self.prompt_tokens >= context:
            raise ConfigError(
                f"the conversation has {self.prompt_tokens} tokens, and the model's context {context}; "
                "send less text, or fewer or smaller images"
            )
        self._most = min(asked.max_tokens, context - self.prompt_tokens)
        options = Decoding(
            temperature=asked.temperature, seed=asked.seed, max_new_tokens=_UNLIMITED, canceled=self._interrupted
        )
        return inputs, constraint, Answer(self._runner, constraint, options)

    def _constraint(self, asked: Conversation) -> Constraint:
        if asked.schema is None:
            return self._grammars.start(_ANY_TEXT)
        try:
            return self._grammars.start({**asked.schema, "x-guidance": {"lenient": asked.lenient}})
        except (ValueError, BackendError) as error:  # llguidance raises plain ValueErrors too
            fix = "" if asked.lenient else "; if it is valid JSON schema, leave it out, or ask without strict"
            raise ConfigError(f"{error}{fix}") from error

    def _piece(self, new: Sequence[int]) -> str:
        """The text of new tokens, of which those beyond the limit are cut off."""
        new = new[: self._most - self.completion_tokens]
        self.completion_tokens += len(new)
        end = self._family.end_token
        return self._text.decode(b"".join(self._grammars.token_bytes(token) for token in new if token != end))


def _prompt(turns: Sequence[Turn], turn_tokens: tuple[str, str]) -> Prompt:
    """The turns as one prompt. The family's format begins the first turn of the user and ends the last turn."""
    start, end = map(SpecialToken, turn_tokens)
    system = ""
    if turns[0].role == "system":
        system, turns = "".join(part for part in turns[0].content if isinstance(part, str)), turns[1:]
    content: list[str | NDArray[np.uint8]] = list(turns[0].content)
    for turn in turns[1:]:
        content += [end, "\n", start, f"{turn.role}\n", *turn.content]
    return Prompt("chat", system, tuple(content), _ANY_TEXT)
