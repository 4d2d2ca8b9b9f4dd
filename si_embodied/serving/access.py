"""Authentication and rate limiting of a planning server."""

from __future__ import annotations

import hmac
import ipaddress
import os
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
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

    Raises:
        ConfigError: if the file cannot be read.
    """
    if file is None:
        return os.environ.get(API_KEY_VARIABLE) or None
    try:
        return file.read_text(encoding="utf-8").partition("\n")[0].strip()
    except OSError as error:
        raise ConfigError(f"cannot read the API key from {str(file)!r}: {error.strerror}") from error


class ApiKey:
    """A secret that clients send as a bearer token."""

    def __init__(self, key: str | None, *, host: str) -> None:
        """Store the key of a server at `host`; None accepts every client on this machine.

        Raises:
            ConfigError: the host is reachable from other machines and there is no key, or the key is too short.
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
