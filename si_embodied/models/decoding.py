"""Grammar-constrained decoding with any model runtime.

The loop is independent of torch and of the model family: a `ModelRunner` runs the model, a `Constraint` says which
tokens may follow. Tokens forced by the grammar are fed without computing logits. Drafted tokens are fed along with
them, and kept as far as the model agrees. The answer equals, token for token, that of plain decoding with the grammar's
mask, in fewer forward passes.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from si_embodied.errors import BackendError, DeadlineExceeded
from si_embodied.models.drafts import Drafts

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from si_embodied.models.constraint import Constraint
    from si_embodied.models.inputs import ModelInputs
    from si_embodied.models.runner import ModelRunner


_GREEDY_UP_TO = 1e-5
"""Temperatures that differ from greedy decoding by rounding alone; the smallest ones overflow. vLLM has the same."""


@dataclass(frozen=True, slots=True)
class Decoding:
    """Decoding options. `reuse` and `drafts` only save time; they never change a token."""

    reuse: bool = True  # reuse the cached prefix of the prompt, and features of recently seen images
    drafts: bool = True  # draft the next tokens, and let the model verify the draft in one pass
    temperature: float = 0.0  # up to 1e-5 is greedy decoding; above, tokens are sampled
    seed: int = 0  # for sampling; each answer starts from it
    max_new_tokens: int = 1024
    deadline: float = float("inf")  # when to give up, on the clock given to `decode`
    canceled: threading.Event | None = None  # set it to abort


@dataclass(frozen=True, slots=True)
class Decoded:
    """A complete answer with its statistics."""

    tokens: tuple[int, ...]
    probabilities: tuple[float, ...]  # of each token, among those that the grammar allowed; 1 if it was forced
    model_steps: int  # forward passes after the prefill
    reused_tokens: int  # of the prompt, from the cache
    drafted_tokens: int  # verified by the model
    accepted_tokens: int  # drafted tokens that were kept
    vision_s: float
    prefill_s: float
    decode_s: float
    thoughts: tuple[int, ...] = ()  # tokens before the answer, with their tags; see `thinking`
    think_s: float = 0.0


def decode(
    runner: ModelRunner,
    inputs: ModelInputs,
    constraint: Constraint,
    options: Decoding,
    *,
    features: object = None,
    earlier: Sequence[Sequence[int]] = (),
    clock: Callable[[], float] = time.monotonic,
) -> Decoded:
    """Decode one answer to its end.

    Args:
        runner: the model.
        inputs: the prompt.
        constraint: a new constraint; decoding advances it to its end.
        options: decoding options.
        features: of the prompt's images, if they were computed before.
        earlier: answers that this one is likely to repeat in part, the last one first; drafts are made from them.
        clock: monotonic time in seconds. Deadline and cancellation are checked before every forward pass and token,
            and within the passes over images and prompt.

    Raises:
        DeadlineExceeded: not finished by the deadline.
        BackendError: cancelled, or the answer was incomplete after `max_new_tokens`.
    """
    if not options.reuse:
        runner.forget()
    answer = Answer(runner, constraint, options, clock)
    if options.drafts:
        answer.drafts = Drafts(earlier, inputs.input_ids.tolist(), constraint.token_text)
    started = answer.check()
    if features is None:
        features = runner.encode_images(inputs, check=answer.check)
    seen = answer.check()
    pending = answer.forced()
    guess = answer.guess()
    reused = runner.prefill(inputs, features, [*pending, *guess], check=answer.check)
    read = answer.check()
    pending = answer.choose_along(guess)
    steps = 0
    while not constraint.finished:
        guess = answer.guess()
        answer.check()
        runner.step([*pending, *guess], check=answer.check)
        steps += 1
        pending = answer.choose_along(guess)
    return Decoded(
        tuple(answer.tokens),
        tuple(answer.probabilities),
        steps,
        reused,
        answer.drafted,
        answer.accepted,
        seen - started,
        read - seen,
        answer.check() - read,
    )


class Answer:
    """An answer being decoded: its tokens, the grammar state after them, and the choice of the next one."""

    def __init__(
        self,
        runner: ModelRunner,
        constraint: Constraint,
        options: Decoding,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Begin an empty answer."""
        self.tokens: list[int] = []
        self.probabilities: list[float] = []
        self.drafts: Drafts | None = None
        self.drafted = self.accepted = 0
        self.runner = runner  # an interrupted answer goes on with another one
        self._constraint, self._options, self._clock = constraint, options, clock
        self._rng = np.random.default_rng(options.seed)

    def check(self) -> float:
        """The current time; raises if the deadline has passed or decoding was cancelled."""
        now = self._clock()
        if self._options.canceled is not None and self._options.canceled.is_set():
            raise BackendError(f"canceled: {len(self.tokens)} tokens decoded")
        if now >= self._options.deadline:
            late = now - self._options.deadline
            raise DeadlineExceeded(
                f"not finished by the deadline: {len(self.tokens)} tokens decoded, {late:.3f} s late"
            )  # fmt: skip
        return now

    def forced(self) -> list[int]:
        """Append the tokens that the grammar forces, and return them."""
        return self._take(self._constraint.forced()) if not self._constraint.finished else []

    def extend(self, after: int = -1) -> list[int]:
        """Append the forced tokens, or else the chosen one, and return them; `after` as for `ModelRunner.logits`."""
        return self.forced() or self._take(*self._choose(after))

    def guess(self) -> list[int]:
        """A draft of the next tokens, cut where the grammar would reject it; often empty."""
        if self.drafts is None:
            return []
        guess = self.drafts.propose(self.tokens)
        return guess[: self._constraint.fits(guess)] if guess else []

    def choose_along(self, guess: Sequence[int]) -> list[int]:
        """Choose tokens along `guess`, the end of what the model was fed last, until a choice differs from it.

        The rejected rest of the guess is trimmed from the model's cache.

        Returns:
            The tokens that were chosen or forced but not fed to the model yet.
        """
        agreed, pending = 0, list[int]()
        while not pending and not self._constraint.finished:
            new = self.extend(after=agreed - len(guess) - 1)
            same = _common(new, guess[agreed:])
            agreed += same
            pending = new[same:]
        pending += self.forced()
        if agreed < len(guess):
            self.runner.trim(len(guess) - agreed)
        self.drafted, self.accepted = self.drafted + len(guess), self.accepted + agreed
        if self.drafts is not None and guess:
            self.drafts.learn(len(guess), agreed)
        return pending

    def _choose(self, after: int) -> tuple[list[int], float]:
        """The next token: the most likely allowed one (the smallest id if tied), or a sampled one; its probability."""
        self.check()
        allowed = self._constraint.allowed()
        logits = self.runner.logits(allowed, after)
        best = int(logits.argmax())  # the index of a NaN, if there is one
        if not np.isfinite(logits[best]):
            raise BackendError("the model's logits are not finite: its weights are broken, or overflow in this dtype")
        if self._options.temperature > _GREEDY_UP_TO:
            best = _draw(logits, self._options.temperature, self._rng)
        return [int(np.flatnonzero(allowed)[best])], _probability(logits, best)

    def _take(self, new: Sequence[int], probability: float = 1.0) -> list[int]:
        """Append tokens, each of which had this probability, and return them."""
        if len(self.tokens) + len(new) > self._options.max_new_tokens:
            raise BackendError(
                f"the answer was incomplete after {self._options.max_new_tokens} tokens; raise max_new_tokens"
            )
        self._constraint.accept(new)
        self.tokens.extend(new)
        self.probabilities.extend([probability] * len(new))
        return list(new)


def _probability(logits: NDArray[np.float32], index: int) -> float:
    """The softmax probability of one of the logits, at temperature 1."""
    largest = logits.max()
    total = np.exp(logits - largest).sum(dtype=np.float64)
    return float(np.exp(np.float64(logits[index]) - largest) / total)


def _draw(logits: NDArray[np.float32], temperature: float, rng: np.random.Generator) -> int:
    """Sample an index with softmax probabilities; uses one random number per draw."""
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
