"""Writes the answer to a conversation piece by piece, and leaves the model to more urgent prompts in between.

A model that thinks writes its thoughts first, as before a plan (`models.thinking`).
"""

from __future__ import annotations

import codecs
from typing import TYPE_CHECKING

from si_embodied.conversation import Thought
from si_embodied.errors import BackendError, ConfigError, GrammarError, SchemaError
from si_embodied.models.decoding import Answer, Decoding
from si_embodied.models.regions import SpecialToken
from si_embodied.models.thinking import ANSWER_TOKENS, TAG_TOKENS, ThinkBlock, Thinking
from si_embodied.stops import Stops
from si_embodied.thinking import ANSWER_END, ThoughtsInPieces, asked_to_think
from si_embodied.types import Prompt

if TYPE_CHECKING:
    import threading
    from collections.abc import Generator, Iterator, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from si_embodied.conversation import Conversation, Ending, Turn
    from si_embodied.models.constraint import Constraint, Grammars
    from si_embodied.models.families import Family, ModelInputs
    from si_embodied.models.lanes import Lanes
    from si_embodied.models.runner import ModelRunner

_ANY_TEXT = {"type": "text", "pattern": "(?s:.*)"}
_UNLIMITED = 1 << 62
_LONG_TOKEN = 8
"""More characters than the tokens of any sensible text have on average; English has 4 to 5."""


class ModelWriting:
    """An answer of one model (a `Writing`).

    An interrupted answer keeps its tokens and the states of grammar and sampling. The next call of `pieces` reads them
    back together with the prompt, so interruptions change no token. Between them it also keeps the prompt as model
    inputs and the key/value cache, unless it rests.
    """

    def __init__(
        self,
        family: Family,
        lanes: Lanes,
        grammars: Grammars,
        conversation: Conversation,
        interrupted: threading.Event,
        thinking_tokens: int = 0,
    ) -> None:
        """Answer a conversation; it has one of the `lanes` while the model works, `interrupted` makes it stop.

        With `thinking_tokens` the model is asked to think first, for at most so many tokens.
        """
        self._family, self._lanes, self._grammars = family, lanes, grammars
        self._conversation, self._interrupted = conversation, interrupted
        self._thinking_tokens, self._thoughts = thinking_tokens, ThoughtsInPieces()
        self._block: ThinkBlock | None = None  # while the model thinks
        self._thought_through: Sequence[int] = ()  # the thoughts with their tags, when they are complete
        self._read_so_far: ModelInputs | None = None  # the conversation, and the complete thoughts
        self._begun: tuple[Constraint, Answer] | None = None
        self._text = codecs.getincrementaldecoder("utf-8")("ignore")  # a token may end within a character
        self._stops, self._most = Stops(()), 0
        self.prompt_tokens = self.completion_tokens = self.thought_tokens = 0
        self.ended: Ending | None = None

    def pieces(self) -> Generator[str | Thought, None, None]:
        """Write on; raises as in `Writing`."""
        try:
            if self._read_so_far is None:
                self._read_so_far = self._inputs(self._conversation).followed_by(self._thought_through)
            with self._lanes.take(self._read_so_far) as lane:
                yield from self._pieces(lane.runner, self._read_so_far)
        except GrammarError as error:
            if self._conversation.schema is None or self._block is not None:
                raise
            raise SchemaError(f"{error}; make the schema simpler, or its limits smaller") from error
        except BackendError:
            if not self._interrupted.is_set():
                raise

    def rest(self) -> None:
        """Drop the model inputs, and the key/value cache if it is not among those that the lanes keep."""
        self._read_so_far = None
        answers = [] if self._begun is None else [self._begun[1], *([self._block.answer] if self._block else [])]
        for answer in answers:
            answer.runner = self._lanes.unused()

    def _pieces(self, runner: ModelRunner, inputs: ModelInputs) -> Iterator[str | Thought]:
        self._begun = constraint, answer = self._begun or self._begin(runner)
        answer.runner = runner
        if self._block is not None:
            self._block.answer.runner = runner
            yield from self._think(self._block, inputs)
            self._thought_through, self._block = self._block.tokens, None
            self._read_so_far = inputs = inputs.followed_by(self._thought_through)
        if self.ended is None:
            _read(inputs, answer)
        while self.ended is None:
            new, room = answer.extend(), self._most - self.thought_tokens
            if len(answer.tokens) >= room:
                self.ended = "length"
            if constraint.finished and len(answer.tokens) <= room:
                self.ended = "stop"
            yield self._piece(new)
            if self.ended is None:
                answer.check()
                runner.step(new, check=answer.check)

    def _think(self, block: ThinkBlock, inputs: ModelInputs) -> Iterator[Thought]:
        """Write the thoughts to their end, or as many of them as are allowed."""
        _read(inputs, block.answer)
        while self._goes_on(block):
            new = block.extend()
            yield from self._thought(new)
            if self._goes_on(block):
                block.answer.check()
                block.answer.runner.step(new, check=block.answer.check)
        yield from self._thought(block.closing)

    def _goes_on(self, block: ThinkBlock) -> bool:
        return not block.over and self.ended is None

    def _begin(self, runner: ModelRunner) -> tuple[Constraint, Answer]:
        """Compile the schema, and open the thoughts."""
        asked = self._conversation
        constraint = self._constraint(asked)
        options = Decoding(
            temperature=asked.temperature, seed=asked.seed, max_new_tokens=_UNLIMITED, canceled=self._interrupted
        )
        spare = self._family.context_tokens - self.prompt_tokens - ANSWER_TOKENS - TAG_TOKENS
        if (budget := min(self._thinking_tokens, spare)) > 0:
            self._block = ThinkBlock(runner, Thinking.up_to(budget, self._grammars), options)
            self._stops = Stops((ANSWER_END,) if asked.schema is None else ())
            self._thought(self._block.opening)
        return constraint, Answer(runner, constraint, options)

    def _inputs(self, asked: Conversation) -> ModelInputs:
        """Tokenize the conversation, and see how long its answer may be."""
        prompt, context = _prompt(asked.turns, self._family.turn_tokens), self._family.context_tokens
        length, longest = len(prompt.system) + len(prompt.text), context * _LONG_TOKEN
        if length > longest:  # a megabyte takes seconds to tokenize
            raise ConfigError(f"expected a conversation of at most {longest} characters, got: {length}; send less text")
        inputs = self._family.encode(asked_to_think(prompt) if self._thinking_tokens else prompt)
        self.prompt_tokens = len(inputs.input_ids)
        if self.prompt_tokens >= context:
            raise ConfigError(
                f"the conversation has {self.prompt_tokens} tokens, and the model's context {context}; "
                "send less text, or fewer or smaller images"
            )
        self._most = min(asked.max_tokens, context - self.prompt_tokens)
        return inputs

    def _constraint(self, asked: Conversation) -> Constraint:
        if asked.schema is None:
            return self._grammars.start(_ANY_TEXT)
        try:
            return self._grammars.start({**asked.schema, "x-guidance": {"lenient": asked.lenient}})
        except ValueError as error:  # llguidance raises plain ones too
            fix = "" if asked.lenient else "; if it is valid JSON schema, leave it out, or ask without strict"
            raise SchemaError(f"{error}{fix}") from error

    def _piece(self, new: Sequence[int]) -> str:
        """The text of new tokens of the answer; one that follows thoughts ends before its closing tag."""
        text = self._stops.feed(self._text_of(new), last=self.ended is not None)
        if self._stops.found:
            self.ended = "stop"
        return text

    def _thought(self, new: Sequence[int]) -> tuple[Thought, ...]:
        """What new tokens of the thoughts say; nothing if they belong to a tag."""
        before = self.completion_tokens
        text = self._thoughts.feed(self._text_of(new))
        self.thought_tokens += self.completion_tokens - before
        if self.completion_tokens >= self._most:
            self.ended = "length"
        return (Thought(text),) if text else ()

    def _text_of(self, new: Sequence[int]) -> str:
        """The text of new tokens, of which those beyond the limit are cut off."""
        new = new[: self._most - self.completion_tokens]
        self.completion_tokens += len(new)
        end = self._family.end_token
        return self._text.decode(b"".join(self._grammars.token_bytes(token) for token in new if token != end))


def _read(inputs: ModelInputs, answer: Answer) -> None:
    """Have the model read the prompt, and what it has written."""
    features = answer.runner.encode_images(inputs, check=answer.check)
    answer.runner.prefill(inputs, features, answer.tokens, check=answer.check)


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
