"""When to retry after a transient failure."""

from __future__ import annotations

import email.utils
import math
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timezone

from si_embodied.errors import ConfigError


class Again(Exception):
    """A transient failure: the request may be retried."""

    def __init__(self, message: str, *, after_s: float | None = None) -> None:
        """`after_s` is the server's `Retry-After` in seconds, if it sent one."""
        super().__init__(message)
        self.after_s = after_s


@dataclass(frozen=True, slots=True)
class Retries:
    """Exponential backoff with full jitter, so that robots that lost the same server do not all return at once.

    Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015.
    """

    attempts: int = 4  # including the first
    first_wait_s: float = 0.2  # upper bound of the wait before the second attempt; doubles with each attempt
    longest_wait_s: float = 5.0
    uniform: Callable[[float, float], float] = field(default=random.Random().uniform)  # nosec B311  # jitter

    def __post_init__(self) -> None:
        """Reject impossible settings."""
        if self.attempts < 1 or not 0 <= self.first_wait_s <= self.longest_wait_s:
            raise ConfigError(f"expected attempts >= 1 and 0 <= first_wait_s <= longest_wait_s, got: {self}")

    def wait_s(self, attempt: int, after_s: float | None = None) -> float | None:
        """Seconds to wait after attempt number `attempt` (from 1) failed; None to give up.

        The jitter comes on top of the server's `after_s`, so that clients given the same `Retry-After` spread out.
        """
        if attempt >= self.attempts:
            return None
        longest_s = min(self.longest_wait_s, self.first_wait_s * 2 ** (attempt - 1))
        return (after_s or 0.0) + self.uniform(0.0, longest_s)


def retry_after_s(
    value: str | None, *, now: Callable[[], datetime] = lambda: datetime.now(timezone.utc)
) -> float | None:
    """Seconds to wait by a `Retry-After` header, in seconds or a date (RFC 9110, 10.2.3); None if it is neither."""
    if value is None:
        return None
    try:
        seconds = float(value)
    except ValueError:
        try:
            seconds = (email.utils.parsedate_to_datetime(value) - now()).total_seconds()
        except (ValueError, TypeError, LookupError, OverflowError):
            return None
    return max(0.0, seconds) if math.isfinite(seconds) else None
