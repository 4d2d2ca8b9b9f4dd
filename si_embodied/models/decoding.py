"""Greedy decoding under a grammar, over any runner of a model.

The loop knows neither torch nor a family: it asks a `ModelRunner` to read the prompt and to take tokens, and a
`Constraint` which tokens may follow. What the grammar forces is fed without asking the model: the answer is the
same, token for token, as plain greedy decoding with the grammar's mask, in fewer steps.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from si_embodied.errors import BackendError, DeadlineExceeded

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from si_embodied.models.constraint import Constraint
    from si_embodied.models.families import ModelInputs


class ModelRunner(Protocol):
    """One model with one key/value cache."""

    def encode_images(self, inputs: ModelInputs) -> object:
        """Image features, as `prefill` wants them; returns when they are computed."""

    def prefill(self, inputs: ModelInputs, features: object, forced: Sequence[int]) -> None:
        """Start over with the prompt, followed by the answer's first `forced` tokens."""

    def step(self, tokens: Sequence[int]) -> None:
        """Take one or more tokens of the answer."""

    def best(self, allowed: NDArray[np.bool_]) -> int:
        """The likeliest of the `allowed` (V,) tokens after all that was taken."""


@dataclass(frozen=True, slots=True)
class Decoded:
    """A complete answer and what it took."""

    tokens: tuple[int, ...]
    model_steps: int  # forward passes after the prefill
    vision_s: float
    prefill_s: float
    decode_s: float


def decode_greedy(
    runner: ModelRunner,
    inputs: ModelInputs,
    constraint: Constraint,
    *,
    max_new_tokens: int,
    deadline: float,
    clock: Callable[[], float] = time.monotonic,
) -> Decoded:
    """Decode one answer to its end.

    Args:
        runner: the model.
        inputs: the prompt.
        constraint: a fresh constraint; it is used up.
        max_new_tokens: the most tokens an answer may have.
        deadline: when to give up, on `clock`; looked at before every pass through the model.
        clock: seconds that only grow.

    Raises:
        DeadlineExceeded: not done by `deadline`.
        BackendError: the answer was not complete after `max_new_tokens`.
    """
    tokens: list[int] = []
    pending: list[int] = []  # accepted by the grammar, not yet taken by the model

    def take(new: Sequence[int]) -> None:
        if len(tokens) + len(new) > max_new_tokens:
            raise BackendError(f"the answer was not complete after {max_new_tokens} tokens; raise max_new_tokens")
        constraint.accept(new)
        tokens.extend(new)
        pending.extend(new)

    def check() -> float:
        now = clock()
        if now >= deadline:
            raise DeadlineExceeded(
                f"not done by the deadline: {len(tokens)} tokens decoded, {now - deadline:.3f} s late"
            )
        return now

    started = check()
    features = runner.encode_images(inputs)
    seen = check()
    take(constraint.forced())
    runner.prefill(inputs, features, tuple(pending))
    pending.clear()
    read = check()
    steps = 0
    while not constraint.finished:
        if pending:
            check()
            runner.step(tuple(pending))
            pending.clear()
            steps += 1
        take([runner.best(constraint.allowed())])
        if not constraint.finished:
            take(constraint.forced())
    return Decoded(tuple(tokens), steps, seen - started, read - seen, check() - read)
