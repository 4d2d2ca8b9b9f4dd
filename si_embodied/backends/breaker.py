"""A circuit breaker: a server that keeps failing is left alone for a while, and then tried with one request."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from si_embodied.errors import BackendError, ConfigError


class CircuitBreaker:
    """Closed while all is well; open after failures in a row; half open, for one request, after a rest.

    Safe to use from several threads.
    """

    def __init__(self, *, failures: int = 3, rest_s: float = 10.0, clock: Callable[[], float] = time.monotonic) -> None:
        """Make a closed breaker.

        Args:
            failures: how many in a row open it.
            rest_s: how long it stays open before one request is let through.
            clock: seconds that only grow.
        """
        if failures < 1 or not rest_s > 0:
            raise ConfigError(f"expected at least 1 failure and a rest of more than 0 s, got: {failures}, {rest_s}")
        self._limit, self._rest_s, self._clock = failures, rest_s, clock
        self._lock = threading.Lock()
        self._failures = 0
        self._last = ""
        self._open_until_s: float | None = None  # None while closed
        self._probing = False

    def enter(self) -> None:
        """Ask before a request; exactly one of `succeeded`, `failed` and `abandoned` is told afterwards.

        Raises:
            BackendError: the breaker is open; says for how long, and what failed last.
        """
        with self._lock:
            if self._open_until_s is None:
                return
            left_s = self._open_until_s - self._clock()
            if left_s > 0 or self._probing:
                until = f"the next try is in {left_s:.1f} s" if left_s > 0 else "one request is trying it now"
                raise BackendError(f"not asked: the last {self._failures} requests failed, {until}. Last: {self._last}")
            self._probing = True

    def succeeded(self) -> None:
        """The request was answered: close."""
        with self._lock:
            self._failures, self._open_until_s, self._probing = 0, None, False

    def failed(self, why: str) -> None:
        """The request failed: open after enough of them, and again at once when it was the one that tried."""
        with self._lock:
            self._failures, self._last = self._failures + 1, why
            if self._probing or self._failures >= self._limit:
                self._open_until_s = self._clock() + self._rest_s
            self._probing = False

    def abandoned(self) -> None:
        """The request was given up by this side, which says nothing about the server."""
        with self._lock:
            self._probing = False
