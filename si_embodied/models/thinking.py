"""Thinking before the answer: free text up to a budget of tokens, then the answer under its grammar.

What was thought continues the prompt. So the answer equals, token for token, that of plain decoding after a prompt that
ends with these thoughts.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from si_embodied.models.decoding import Answer, decode
from si_embodied.thinking import ANSWER, THINK_END

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from si_embodied.models.constraint import Constraint, Grammars
    from si_embodied.models.decoding import Decoded, Decoding
    from si_embodied.models.inputs import ModelInputs
    from si_embodied.models.runner import ModelRunner

_ANSWER_PASSES = 64
"""Passes for which time is left when thinking ends: a plan has about 48 tokens, and some of them share a pass."""
ANSWER_TOKENS = 128
"""Room that a prompt must leave in the model's context for its answer; a plan has about 48 tokens."""
TAG_TOKENS = 32
"""Room for the tags around thoughts and answer, in tokens."""
_UNLIMITED = 1 << 62


@dataclass(frozen=True, slots=True, eq=False)
class Thinking:
    """How long a model may think, and in which form."""

    most_tokens: int  # without the tags
    block: Constraint  # a new one, from `Grammars.thinking`
    closing: Sequence[int]  # the tokens that end the block if the model does not

    @classmethod
    def up_to(cls, most_tokens: int, grammars: Grammars) -> Thinking:
        """New thoughts of at most so many tokens."""
        return cls(most_tokens, grammars.thinking(), grammars.tokens(THINK_END + ANSWER))


class ThinkBlock:
    """Thoughts that are being written."""

    def __init__(
        self,
        runner: ModelRunner,
        thinking: Thinking,
        options: Decoding,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Begin the block, with the tokens that its grammar forces: the opening tag."""
        self.answer = Answer(runner, thinking.block, replace(options, max_new_tokens=_UNLIMITED), clock)
        self.opening = self.answer.forced()
        self._thinking = thinking

    @property
    def written(self) -> int:
        """Tokens after the opening tag."""
        return len(self.answer.tokens) - len(self.opening)

    @property
    def over(self) -> bool:
        """Whether the model has ended the block, or used up its tokens."""
        return self._thinking.block.finished or self.written >= self._thinking.most_tokens

    @property
    def closing(self) -> Sequence[int]:
        """The tokens that end the block, if the model did not."""
        return () if self._thinking.block.finished else self._thinking.closing

    @property
    def tokens(self) -> list[int]:
        """The block with its end."""
        return [*self.answer.tokens, *self.closing]

    def extend(self) -> list[int]:
        """Choose the next token, and return it with those that the grammar forces."""
        return [*self.answer.extend(), *self.answer.forced()]


def decode_after_thinking(
    runner: ModelRunner,
    inputs: ModelInputs,
    thinking: Thinking,
    constraint: Constraint,
    options: Decoding,
    *,
    earlier: Sequence[Sequence[int]] = (),
    clock: Callable[[], float] = time.monotonic,
) -> Decoded:
    """Let the model think, then decode its answer, as `decode` does.

    The block ends when the model ends it, after `most_tokens`, or when the time left is no more than the answer needs,
    judged by the pace of the thoughts. Only the answer's tokens have probabilities, drafts and a limit.

    Raises:
        DeadlineExceeded: not finished by the deadline.
        BackendError: as for `decode`.
    """
    if not options.reuse:
        runner.forget()
    block = ThinkBlock(runner, thinking, options, clock)
    check = block.answer.check
    started = check()
    features = runner.encode_images(inputs, check=check)
    seen = check()
    reused = runner.prefill(inputs, features, block.opening, check=check)
    read = check()
    _fill(block, runner, options.deadline)
    thoughts = block.tokens
    thought = check()
    decoded = decode(
        runner,
        inputs.followed_by(thoughts),
        constraint,
        replace(options, reuse=True),
        features=features,
        earlier=earlier,
        clock=clock,
    )
    return replace(
        decoded,
        thoughts=tuple(thoughts),
        reused_tokens=reused,
        vision_s=seen - started,
        prefill_s=read - seen + decoded.prefill_s,
        think_s=thought - read,
    )


def _fill(block: ThinkBlock, runner: ModelRunner, deadline: float) -> None:
    """Think until the block ends, or has to be closed."""
    began = block.answer.check()
    while True:
        new = block.extend()
        if block.over:
            return
        runner.step(new, check=block.answer.check)
        now = block.answer.check()
        if now + (now - began) / block.written * _ANSWER_PASSES >= deadline:
            return
