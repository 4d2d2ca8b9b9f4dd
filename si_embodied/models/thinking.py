"""Thinking before the answer: free text up to a budget of tokens, then the answer under its grammar.

What was thought continues the prompt. So the answer equals, token for token, that of plain decoding after a prompt that
ends with these thoughts.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from si_embodied.models.decoding import Answer, decode

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from si_embodied.models.constraint import Constraint
    from si_embodied.models.decoding import Decoded, Decoding
    from si_embodied.models.inputs import ModelInputs
    from si_embodied.models.runner import ModelRunner

_ANSWER_PASSES = 64
"""Passes for which time is left when thinking ends: a plan has about 48 tokens, and some of them share a pass."""
_UNLIMITED = 1 << 62


@dataclass(frozen=True, slots=True, eq=False)
class Thinking:
    """How long a model may think, and in which form."""

    most_tokens: int  # without the tags
    block: Constraint  # a new one, from `Grammars.thinking`
    closing: Sequence[int]  # the tokens that end the block if the model does not


def decode_after_thinking(
    runner: ModelRunner,
    inputs: ModelInputs,
    thinking: Thinking,
    constraint: Constraint,
    options: Decoding,
    *,
    last_answer: Sequence[int] = (),
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
    block = Answer(runner, thinking.block, replace(options, max_new_tokens=_UNLIMITED), clock)
    started = block.check()
    features = runner.encode_images(inputs, check=block.check)
    seen = block.check()
    reused = runner.prefill(inputs, features, block.forced(), check=block.check)
    read = block.check()
    _fill(block, runner, thinking, options.deadline)
    thoughts = block.tokens if thinking.block.finished else [*block.tokens, *thinking.closing]
    thought = block.check()
    decoded = decode(
        runner,
        inputs.followed_by(thoughts),
        constraint,
        replace(options, reuse=True),
        features=features,
        last_answer=last_answer,
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


def _fill(block: Answer, runner: ModelRunner, thinking: Thinking, deadline: float) -> None:
    """Think until the block ends, or has to be closed."""
    began, opening = block.check(), len(block.tokens)
    while True:
        new = [*block.extend(), *block.forced()]
        written = len(block.tokens) - opening
        if thinking.block.finished or written >= thinking.most_tokens:
            return
        runner.step(new)
        now = block.check()
        if now + (now - began) / written * _ANSWER_PASSES >= deadline:
            return
