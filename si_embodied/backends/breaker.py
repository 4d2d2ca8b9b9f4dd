"""A circuit breaker: stop asking a server that keeps failing, then probe it with one request."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from si_embodied.errors import BackendError, ConfigError


class CircuitBreaker:
    """Closed in normal operation; open after consecutive failures; half open, for one probe, after a pause.

    Thread-safe.
    """

    def __init__(self, *, failures: int = 3, rest_s: float = 10.0, clock: Callable[[], float] = time.monotonic) -> None:
        """Start closed.

        Args:
            failures: consecutive failures that open the breaker.
            rest_s: how long it stays open before it lets one request through, and how long that probe keeps others out.
            clock: monotonic time in seconds.
        """
        if failures < 1 or not rest_s > 0:
            raise ConfigError(f"expected failures of at least 1 and a positive rest_s, got: {failures} and {rest_s}")
        self._limit, self._rest_s, self._clock = failures, rest_s, clock
        self._lock = threading.Lock()
        self._failures = 0
        self._last = ""
        self._open_until_s: float | None = None  # None while closed
        self._probe_until_s: float | None = None  # a probe that takes longer counts as abandoned; None without a probe

    def enter(self) -> None:
        """Call before each request, and exactly one of `succeeded`, `failed` and `abandoned` after it.

        Raises:
            BackendError: the breaker is open; the message says for how long, and gives the last failure.
        """
        with self._lock:
            if self._open_until_s is None:
                return
            now_s = self._clock()
            left_s = self._open_until_s - now_s
            probing = self._probe_until_s is not None and now_s < self._probe_until_s
            if left_s > 0 or probing:
                until = f"the next attempt is in {left_s:.1f} s" if left_s > 0 else "a probe is in progress"
                raise BackendError(
                    f"server not asked: the last {self._failures} requests failed, {until}. Last failure: {self._last}"
                )
            self._probe_until_s = now_s + self._rest_s

    def succeeded(self) -> None:
        """The request was answered: close the breaker."""
        with self._lock:
            self._failures, self._open_until_s, self._probe_until_s = 0, None, None

    def failed(self, why: str) -> None:
        """The request failed: open the breaker after enough failures, or at once after a failed probe."""
        with self._lock:
            self._failures, self._last = self._failures + 1, why
            if self._probe_until_s is not None or self._failures >= self._limit:
                self._open_until_s = self._clock() + self._rest_s
            self._probe_until_s = None

    def abandoned(self) -> None:
        """The caller gave the request up, which says nothing about the server."""
        with self._lock:
            self._probe_until_s = None
