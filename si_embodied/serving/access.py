"""Authentication and rate limiting of a planning server."""

from __future__ import annotations

import hmac
import ipaddress
import math
import os
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from si_embodied.errors import ConfigError, RequestRefused

API_KEY_VARIABLE = "SI_EMBODIED_API_KEY"
SHORTEST_KEY = 16

_MOST_CALLERS = 4096


def is_loopback(host: str) -> bool:
    """Whether a server at `host` is reachable only from its own machine."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def read_key(file: Path | None) -> str | None:
    """The API key from a file's first line or the environment; an argument would show in lists of processes.

    Blanks around it are not part of it: HTTP does not carry them.

    Raises:
        ConfigError: the file cannot be read, or there is nothing but blanks.
    """
    if file is None:
        return key_in_environment()
    try:
        key = file.read_text(encoding="utf-8").partition("\n")[0].strip()
    except OSError as error:
        raise ConfigError(f"cannot read the API key from {str(file)!r}: {error.strerror}") from error
    except ValueError as error:
        raise ConfigError(f"{str(file)!r} is not a text file with an API key on its first line") from error
    if not key:
        raise ConfigError(f"no API key on the first line of {str(file)!r}; openssl rand -hex 32 generates one")
    return key


def key_in_environment() -> str | None:
    """The key in the environment; None if it is not set.

    Raises:
        ConfigError: it is set to blanks.
    """
    given = os.environ.get(API_KEY_VARIABLE, "")
    if given and not given.strip():
        raise ConfigError(f"{API_KEY_VARIABLE} is set, but to blanks: set it to the key, or unset it")
    return given.strip() or None


def check_sendable(key: str) -> None:
    """Check that a header can carry a key.

    Raises:
        ConfigError: it cannot.
    """
    if not (key.isascii() and key.isprintable()) or key != key.strip():
        raise ConfigError(
            "expected an API key of printable ASCII characters without blanks around it; openssl rand -hex 32 "
            "generates one"
        )


class ApiKey:
    """A secret that clients send as a bearer token."""

    def __init__(self, key: str | None, *, host: str) -> None:
        """Store the key of a server at `host`; None accepts every client on this machine.

        Raises:
            ConfigError: the host is reachable from other machines and there is no key, or the key is too short or
                cannot be sent in an HTTP header.
        """
        if key is None and not is_loopback(host):
            raise ConfigError(
                f"a server at {host!r} is reachable from other machines and needs a key: set {API_KEY_VARIABLE} to a "
                "secret (openssl rand -hex 32 generates one), or serve at 127.0.0.1"
            )
        if key is not None and len(key) < SHORTEST_KEY:
            raise ConfigError(
                f"expected an API key of at least {SHORTEST_KEY} characters, got: {len(key)}; "
                "openssl rand -hex 32 generates one"
            )
        if key is not None:
            check_sendable(key)
        self._key = None if key is None else key.encode()

    def check(self, authorization: str | None) -> None:
        """Check the `Authorization` header of a request.

        The comparison takes constant time, so that timing does not reveal how much of a wrong key was right.

        Raises:
            RequestRefused: the header does not carry the key.
        """
        if self._key is None:
            return
        scheme, _, given = (authorization or "").partition(" ")
        if scheme.lower() != "bearer" or not hmac.compare_digest(given.encode(), self._key):
            raise RequestRefused("unauthorized", f"this server requires its API key: set {API_KEY_VARIABLE} to it")


@dataclass(slots=True)
class _Guesser:
    """An address that sent wrong keys."""

    wrong: int = 0  # how many
    delay_s: float = 0.0  # between its attempts
    next_s: float = -math.inf  # when its next attempt is checked
    last_s: float = -math.inf  # when it sent the last wrong key


class WrongKeys:
    """Slows down addresses that guess: their attempts are checked one at a time, ever further apart.

    The delay doubles with each wrong key and applies to every attempt of the address, right or wrong, so that parallel
    guesses gain nothing. It ends `forget_s` after the last wrong key.
    """

    def __init__(
        self,
        *,
        first_s: float = 0.25,
        longest_s: float = 4.0,
        patience_s: float = 10.0,
        forget_s: float = 300.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Start without suspicion.

        Args:
            first_s: delay after the first wrong key.
            longest_s: upper bound of the delay.
            patience_s: longest time that an attempt is kept waiting; beyond it, it is refused.
            forget_s: how long a wrong key counts.
            clock: monotonic time in seconds.
        """
        self._first_s, self._longest_s, self._patience_s, self._forget_s = first_s, longest_s, patience_s, forget_s
        self._clock = clock
        self._guessers: OrderedDict[str, _Guesser] = OrderedDict()

    def wait_s(self, caller: str) -> float:
        """Seconds that an attempt must wait before its key is checked; 0 for an address that sent no wrong key.

        Raises:
            RequestRefused: too many attempts of this address are waiting.
        """
        now_s, guesser = self._clock(), self._guessers.get(caller)
        if guesser is None or now_s - guesser.last_s > self._forget_s:
            self._guessers.pop(caller, None)
            return 0.0
        wait_s = max(0.0, guesser.next_s - now_s)
        if wait_s > self._patience_s:
            raise RequestRefused(
                "rate_limited", f"too many wrong keys from this address; retry in {wait_s:.0f} s", retry_after_s=wait_s
            )
        guesser.next_s = now_s + wait_s + guesser.delay_s
        return wait_s

    def add(self, caller: str) -> None:
        """Count a wrong key."""
        now_s, guesser = self._clock(), self._guessers.pop(caller, None) or _Guesser()
        guesser.delay_s = min(self._longest_s, self._first_s * 2.0 ** min(guesser.wrong, 60))
        guesser.wrong, guesser.last_s = guesser.wrong + 1, now_s
        guesser.next_s = max(guesser.next_s, now_s + guesser.delay_s)
        self._guessers[caller] = guesser
        while len(self._guessers) > _MOST_CALLERS:
            self._guessers.popitem(last=False)


class RateLimit:
    """A token bucket per caller: `per_s` requests per second on average, `burst` at once."""

    def __init__(self, per_s: float, burst: int, *, clock: Callable[[], float] = time.monotonic) -> None:
        """Start with full buckets."""
        if not per_s > 0 or burst < 1:
            raise ConfigError(f"expected a rate above 0 and a burst of at least 1, got: {per_s} and {burst}")
        self._per_s, self._burst, self._clock = per_s, burst, clock
        self._lock = threading.Lock()
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()  # tokens, time of the last update

    def take(self, caller: str) -> None:
        """Take one token from the caller's bucket.

        Raises:
            RequestRefused: the bucket is empty; `retry_after_s` says when it has a token again.
        """
        with self._lock:
            now_s = self._clock()
            tokens, counted_s = self._buckets.pop(caller, (float(self._burst), now_s))
            tokens = min(self._burst, tokens + (now_s - counted_s) * self._per_s)
            refused = tokens < 1
            self._buckets[caller] = (tokens if refused else tokens - 1, now_s)
            while len(self._buckets) > _MOST_CALLERS:  # the caller idle longest, whose bucket is full again by now
                self._buckets.popitem(last=False)
        if refused:
            wait_s = (1 - tokens) / self._per_s
            message = f"more than {self._per_s:g} requests per second; retry in {wait_s:.2f} s"
            raise RequestRefused("rate_limited", message, retry_after_s=wait_s)
