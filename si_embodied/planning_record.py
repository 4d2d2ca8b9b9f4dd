"""The record of a plan in progress: what was asked, answered and decided, and how long it took."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from si_embodied.types import PlanRecord, Refusal

if TYPE_CHECKING:
    from si_embodied.backends.base import BackendInfo
    from si_embodied.certainty import Certainty
    from si_embodied.plan import Plan
    from si_embodied.types import Completion

_UNPRINTABLE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")
"""Control characters except tab and newline, and lone surrogates, which no tokenizer or JSON encoder accepts."""


@dataclass(slots=True)
class RecordDraft:
    """The record of a plan in progress."""

    prompt_version: str
    floor_m2: float
    started_s: float = field(default_factory=time.perf_counter)
    raw_text: list[str] = field(default_factory=list)
    thoughts: list[str] = field(default_factory=list)  # before each answer
    shortened: int = 0  # halvings of the memory
    prompt_tokens: int = 0
    completion_tokens: int = 0
    latency_s: dict[str, float] = field(default_factory=dict)
    plan: Plan | None = None
    certainty: Certainty | None = None  # of the last answer
    note: str = ""  # why the goals are not the model's, or what it was not shown

    @contextmanager
    def timed(self, part: str) -> Iterator[None]:
        """Add the time spent in the block to a stage's latency."""
        before = time.perf_counter()
        try:
            yield
        finally:
            self.add(part, time.perf_counter() - before)

    def add(self, part: str, seconds: float) -> None:
        """Add to a stage's latency."""
        if 0 <= seconds < math.inf:  # a foreign backend may measure anything
            self.latency_s[part] = self.latency_s.get(part, 0.0) + seconds

    def take(self, completion: Completion) -> None:
        """Add what a backend answered."""
        self.raw_text.append(printable(completion.text))
        self.thoughts.append(printable(completion.thought))
        self.prompt_tokens += completion.prompt_tokens
        self.completion_tokens += completion.completion_tokens
        self.certainty = completion.certainty
        for part, seconds in completion.latency_s.items():
            self.add(part, seconds)

    def elapsed_s(self) -> float:
        """Time since the plan was begun."""
        return time.perf_counter() - self.started_s

    def record(self, info: BackendInfo, stamp_s: float, verdict: Refusal) -> PlanRecord:
        """The record of the finished plan."""
        self.latency_s["total"] = self.elapsed_s()
        return PlanRecord(
            observation_stamp_s=stamp_s if math.isfinite(stamp_s) else 0.0,
            prompt_version=self.prompt_version,
            model=info.model,
            kernel=info.kernel,
            dtype=info.dtype,
            raw_text=tuple(self.raw_text),
            prompt_tokens=self.prompt_tokens,
            completion_tokens=self.completion_tokens,
            latency_s=dict(self.latency_s),
            code=verdict.code,
            message=printable(verdict.message),
            floor_m2=self.floor_m2,
            decision_probability=None if self.certainty is None else self.certainty.decision,
            point_probability=None if self.certainty is None else self.certainty.point,
            thoughts=tuple(self.thoughts) if any(self.thoughts) else (),
            shortened=self.shortened,
        )


def printable(text: str) -> str:
    """The text with control characters and lone surrogates replaced by U+FFFD; it can always be encoded."""
    return _UNPRINTABLE.sub("\ufffd", text)
