"""Decoding under a grammar, over any runner of a model.

The loop knows neither torch nor a family: it asks a `ModelRunner` to read the prompt and to take tokens, and a
`Constraint` which tokens may follow. What the grammar forces is fed without asking the model, and what a draft guesses
is fed together with it and kept as far as the model agrees: the answer is the same, token for token, as that of plain
decoding with the grammar's mask, in fewer passes.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

from si_embodied.errors import BackendError, DeadlineExceeded
from si_embodied.models.drafts import Drafts

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from si_embodied.models.constraint import Constraint
    from si_embodied.models.families import ModelInputs


class ModelRunner(Protocol):
    """One model with one key/value cache.

    A pass that raises leaves nothing behind: the next prompt starts from an empty cache.
    """

    def encode_images(self, inputs: ModelInputs) -> object:
        """Image features, as `prefill` wants them; returns when they are computed.

        Those of images seen lately may come from a bounded store, by the images' contents.
        """

    def prefill(self, inputs: ModelInputs, features: object, forced: Sequence[int]) -> int:
        """Read the prompt, followed by the answer's first `forced` tokens.

        What the cache already holds of both is kept: the longest common prefix of tokens and image contents.

        Returns:
            How many tokens were kept.
        """

    def step(self, tokens: Sequence[int]) -> None:
        """Take one or more tokens of the answer."""

    def logits(self, allowed: NDArray[np.bool_], after: int = -1) -> NDArray[np.float32]:
        """The logits of the `allowed` (V,) tokens, ascending by id: (n_allowed,).

        Args:
            allowed: the tokens that may come next; the output layer is computed for these alone when they are few.
            after: behind which token, counted from the last one taken (-1) back to the first of the last `step`, or
                after a `prefill` back to the prompt's own last token.
        """

    def trim(self, count: int) -> None:
        """Forget the last `count` tokens of those taken by the last `step`, or as `forced` by the last `prefill`."""

    def forget(self) -> None:
        """Start the next prompt from nothing: empty the cache and the store of image features."""


@dataclass(frozen=True, slots=True)
class Decoding:
    """How answers are decoded. None of the ways to be faster changes a token."""

    reuse: bool = True  # keep what the cache holds of the next prompt, and the features of images seen lately
    drafts: bool = True  # guess how the answer goes on, and have the model check the guess in one pass
    temperature: float = 0.0  # 0 takes the likeliest token; above, one is drawn
    seed: int = 0  # of the draws of one answer
    max_new_tokens: int = 1024  # the most tokens an answer may have
    deadline: float = float("inf")  # when to give up, on the clock given to `decode`
    canceled: threading.Event | None = None  # give up when it is set


@dataclass(frozen=True, slots=True)
class Decoded:
    """A complete answer and what it took."""

    tokens: tuple[int, ...]
    model_steps: int  # forward passes after the prefill
    reused_tokens: int  # of the prompt, kept from before
    drafted_tokens: int  # guessed and checked by the model
    accepted_tokens: int  # of the guessed ones, those that stayed
    vision_s: float
    prefill_s: float
    decode_s: float


def decode(
    runner: ModelRunner,
    inputs: ModelInputs,
    constraint: Constraint,
    options: Decoding,
    *,
    last_answer: Sequence[int] = (),
    clock: Callable[[], float] = time.monotonic,
) -> Decoded:
    """Decode one answer to its end.

    Args:
        runner: the model.
        inputs: the prompt.
        constraint: a fresh constraint; it is used up.
        options: how.
        last_answer: tokens that the answer is likely to repeat: the first guess.
        clock: seconds that only grow; looked at, as is the cancellation, before every pass and every choice.

    Raises:
        DeadlineExceeded: not done by the deadline.
        BackendError: the event was set, or the answer was not complete after `max_new_tokens`.
    """
    if not options.reuse:
        runner.forget()
    answer = _Answer(runner, constraint, options, clock)
    if options.drafts:
        answer.drafts = Drafts(last_answer, inputs.input_ids.tolist(), constraint.token_text)
    started = answer.check()
    features = runner.encode_images(inputs)
    seen = answer.check()
    pending = answer.forced()
    guess = answer.guess()
    reused = runner.prefill(inputs, features, [*pending, *guess])
    read = answer.check()
    pending = answer.choose_along(guess)
    steps = 0
    while not constraint.finished:
        guess = answer.guess()
        answer.check()
        runner.step([*pending, *guess])
        steps += 1
        pending = answer.choose_along(guess)
    return Decoded(
        tuple(answer.tokens),
        steps,
        reused,
        answer.drafted,
        answer.accepted,
        seen - started,
        read - seen,
        answer.check() - read,
    )


class _Answer:
    """An answer in the making: its tokens, the grammar's state behind them, and how the next one is chosen."""

    def __init__(
        self, runner: ModelRunner, constraint: Constraint, options: Decoding, clock: Callable[[], float]
    ) -> None:
        self.tokens: list[int] = []
        self.drafts: Drafts | None = None
        self.drafted = self.accepted = 0
        self._runner, self._constraint, self._options, self._clock = runner, constraint, options, clock
        self._rng = np.random.default_rng(options.seed)

    def check(self) -> float:
        """The time, or why to stop."""
        now = self._clock()
        if self._options.canceled is not None and self._options.canceled.is_set():
            raise BackendError(f"canceled: {len(self.tokens)} tokens decoded")
        if now >= self._options.deadline:
            late = now - self._options.deadline
            raise DeadlineExceeded(
                f"not done by the deadline: {len(self.tokens)} tokens decoded, {late:.3f} s late"
            )  # fmt: skip
        return now

    def forced(self) -> list[int]:
        """Take what the grammar forces, and say what that was."""
        return self._take(self._constraint.forced()) if not self._constraint.finished else []

    def guess(self) -> list[int]:
        """How the answer may go on, as far as the grammar lets it; often not at all."""
        if self.drafts is None:
            return []
        guess = self.drafts.propose(self.tokens)
        return guess[: self._constraint.fits(guess)] if guess else []

    def choose_along(self, guess: Sequence[int]) -> list[int]:
        """Choose tokens behind those that the model took last, whose end is `guess`, until one is not the guessed one.

        Returns:
            What was chosen or forced and has not been taken by the model yet; the rest of the guess is trimmed.
        """
        agreed, pending = 0, list[int]()
        while not pending and not self._constraint.finished:
            new = self.forced() or self._take([self._choose(after=agreed - len(guess) - 1)])
            same = _common(new, guess[agreed:])
            agreed += same
            pending = new[same:]
        pending += self.forced()
        if agreed < len(guess):
            self._runner.trim(len(guess) - agreed)
        self.drafted, self.accepted = self.drafted + len(guess), self.accepted + agreed
        if self.drafts is not None and guess:
            self.drafts.learn(len(guess), agreed)
        return pending

    def _choose(self, after: int) -> int:
        """The next token: the likeliest allowed one, of equals the one with the smallest id, or one drawn."""
        self.check()
        allowed = self._constraint.allowed()
        logits = self._runner.logits(allowed, after)
        best = int(logits.argmax())  # of a NaN among them, the NaN's
        if not np.isfinite(logits[best]):
            raise BackendError("the model's logits are not finite; its weights are broken or overflow in this dtype")
        if self._options.temperature > 0:
            best = _draw(logits, self._options.temperature, self._rng)
        return int(np.flatnonzero(allowed)[best])

    def _take(self, new: Sequence[int]) -> list[int]:
        if len(self.tokens) + len(new) > self._options.max_new_tokens:
            raise BackendError(
                f"the answer was not complete after {self._options.max_new_tokens} tokens; raise max_new_tokens"
            )
        self._constraint.accept(new)
        self.tokens.extend(new)
        return list(new)


def _draw(logits: NDArray[np.float32], temperature: float, rng: np.random.Generator) -> int:
    """An index drawn with the probabilities of the softmax; one number of the generator a draw."""
    scaled = (logits.astype(np.float64) - logits.max()) / temperature
    cumulative = np.exp(scaled).cumsum()
    return int(np.searchsorted(cumulative, rng.random() * cumulative[-1], side="right").clip(max=len(logits) - 1))


def _common(first: Sequence[int], second: Sequence[int]) -> int:
    """Length of the longest common prefix."""
    length = 0
    for one, other in zip(first, second, strict=False):
        if one != other:
            break
        length += 1
    return length
