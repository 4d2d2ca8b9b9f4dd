"""When to ask again after a failure that may pass."""

from __future__ import annotations

import email.utils
import math
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timezone

from si_embodied.errors import ConfigError


class Again(Exception):
    """A failure that may pass."""

    def __init__(self, message: str, *, after_s: float | None = None) -> None:
        """`after_s` is how long the server asked to wait, where it did."""
        super().__init__(message)
        self.after_s = after_s


@dataclass(frozen=True, slots=True)
class Retries:
    """Exponential backoff with full jitter: many robots that lost one server do not come back all at once.

    Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015.
    """

    attempts: int = 4  # the first included
    first_wait_s: float = 0.2  # the longest wait before the second attempt; doubled with each
    longest_wait_s: float = 5.0
    uniform: Callable[[float, float], float] = field(default=random.Random().uniform)

    def __post_init__(self) -> None:
        """Refuse what cannot be."""
        if self.attempts < 1 or not 0 <= self.first_wait_s <= self.longest_wait_s:
            raise ConfigError(f"expected at least 1 attempt and waits that do not shrink, got: {self}")

    def wait_s(self, attempt: int, after_s: float | None = None) -> float | None:
        """Seconds to wait after the failure of attempt number `attempt` (from 1); None to give up.

        What the server asked for is waited for, and then the jitter, which alone keeps apart those it asked alike.
        """
        if attempt >= self.attempts:
            return None
        longest_s = min(self.longest_wait_s, self.first_wait_s * 2 ** (attempt - 1))
        return (after_s or 0.0) + self.uniform(0.0, longest_s)


def retry_after_s(
    value: str | None, *, now: Callable[[], datetime] = lambda: datetime.now(timezone.utc)
) -> float | None:
    """Seconds that a `Retry-After` header asks for, as seconds or as a date (RFC 9110, 10.2.3); None if neither."""
    if value is None:
        return None
    try:
        seconds = float(value)
    except ValueError:
        try:
            seconds = (email.utils.parsedate_to_datetime(value) - now()).total_seconds()
        except (ValueError, TypeError):
            return None
    return max(0.0, seconds) if math.isfinite(seconds) else None
