"""The prompts that a model answers at once, and the key/value caches that it keeps between them."""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from si_embodied.errors import DeadlineExceeded
from si_embodied.models.cache_memory import USUAL

if TYPE_CHECKING:
    from collections.abc import Iterator

    from si_embodied.models.inputs import ModelInputs
    from si_embodied.models.runner import ModelRunner

LANES = 8
"""Prompts at once. On a CPU, more only wait longer for each other."""
_KEPT = 2 * LANES  # so that each robot's last one is among them, beside one that it has replaced
_ANSWERS_KEPT = 16


@dataclass(slots=True, eq=False)
class Lane:
    """A prompt's runner with its own key/value cache, and the last answers given with it."""

    runner: ModelRunner
    prompt_tokens: int
    answers: list[tuple[str, tuple[int, ...]]] = field(default_factory=list)  # schema and tokens, the last one first
    continued: bool = False  # by a prompt that shares half of it or more, and so is likely its robot's next one

    def earlier(self, schema: str) -> list[tuple[int, ...]]:
        """The tokens of earlier answers, to draft the next one from: the last one with this schema first.

        Those with others follow, because a schema changes with what the prompt shows.
        """
        return [tokens for _, tokens in sorted(self.answers, key=lambda each: each[0] != schema)]

    def keep_answer(self, schema: str, tokens: tuple[int, ...]) -> None:
        """Keep an answer, and drop the oldest one if there are many."""
        others = [each for each in self.answers if each != (schema, tokens)]
        self.answers = [(schema, tokens), *others[: _ANSWERS_KEPT - 1]]


class Lanes:
    """Gives each prompt a runner of its own, which continues the kept cache with the longest common prefix.

    A robot's next prompt shares more with its last one than with other robots' prompts, so each robot finds its own
    cache, and none has to say who it is. The cache itself stays as it was, for it may be another robot's. First those
    that were continued are dropped, then those kept for longest.
    """

    def __init__(self, runner: ModelRunner, *, most: int = LANES, cache_bytes: int = USUAL.prompts) -> None:
        """Answer with one model.

        Args:
            runner: of the model; prompts are run by copies of it.
            most: prompts at once; only one, if runners do not share passes.
            cache_bytes: size limit of the caches that are kept. The last one is kept even if it is larger.
        """
        self._runner, self._cache_bytes = runner, cache_bytes
        self.most = most if runner.shares_passes else 1
        self._free = threading.Semaphore(self.most)
        self._lock = threading.Lock()  # guards _kept
        self._kept: list[Lane] = []  # the last one used at the end

    @property
    def kept_bytes(self) -> int:
        """Memory of the caches that are kept."""
        with self._lock:
            return sum(lane.runner.cache_bytes for lane in self._kept)

    @contextmanager
    def take(self, inputs: ModelInputs, *, deadline: float | None = None) -> Iterator[Lane]:
        """A lane for one prompt.

        Args:
            inputs: the prompt.
            deadline: when to give up waiting, in seconds of `time.monotonic`; None: never.

        Raises:
            DeadlineExceeded: all lanes were taken until then.
        """
        wait_s = None if deadline is None else max(0.0, deadline - time.monotonic())
        if not self._free.acquire(timeout=wait_s):
            others = "another prompt" if self.most == 1 else f"{self.most} other prompts"
            raise DeadlineExceeded(f"the model was busy with {others} for {wait_s:.1f} s; allow more time")
        try:
            lane = self._best(inputs)
            try:
                yield lane
            finally:
                self._keep(lane)
        finally:
            self._free.release()

    def unused(self) -> ModelRunner:
        """A runner that holds no cache, in place of one that a prompt has had."""
        return self._runner.copy()

    def _best(self, inputs: ModelInputs) -> Lane:
        """A new lane, with the cache that spares the prompt the most tokens; of equal ones, the last one used."""
        length = len(inputs.input_ids)
        with self._lock:
            latest = [(lane.runner.cached_tokens(inputs), lane) for lane in reversed(self._kept)]
            tokens, best = max(latest, key=lambda each: each[0], default=(0, None))  # the first of equal ones
            if best is None or not tokens:
                return Lane(self._runner.copy(), length, [] if best is None else best.answers)
            best.continued |= 2 * tokens >= best.prompt_tokens
            return Lane(best.runner.copy(), length, best.answers)

    def _keep(self, lane: Lane) -> None:
        """Keep a lane's cache, and drop others until all fit."""
        lane.runner.rest()
        with self._lock:
            if lane.runner.cache_bytes:
                self._kept.append(lane)
            while len(self._kept) > 1 and (
                len(self._kept) > _KEPT or sum(each.runner.cache_bytes for each in self._kept) > self._cache_bytes
            ):
                self._kept.remove(next((each for each in self._kept[:-1] if each.continued), self._kept[0]))

    def clear(self) -> None:
        """Drop the caches that are kept."""
        with self._lock:
            self._kept.clear()
