"""Checks a request before its body is read: key, web pages, size, rate."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from si_embodied.errors import RequestRefused, extra
from si_embodied.serving.access import ApiKey, RateLimit, WrongKeys

with extra("serve"):
    from fastapi import Request, WebSocket
    from starlette.requests import ClientDisconnect

if TYPE_CHECKING:
    from si_embodied.serving.options import Limits

_BODY_TIMEOUT_S = 30.0


class Gate:
    """Decides which requests the routes of one kind accept. Each kind has rate limits of its own."""

    def __init__(self, key: ApiKey, wrong_keys: WrongKeys, limits: Limits) -> None:
        """Accept requests with this key, within these limits; the routes of one server share `wrong_keys`."""
        self._key, self._wrong_keys, self._limits = key, wrong_keys, limits
        self._rate = RateLimit(limits.per_s, limits.burst)

    async def admit(self, caller: Request | WebSocket) -> None:
        """Check a caller's headers.

        Raises:
            RequestRefused: the caller is a web page or lacks the key.
        """
        if "origin" in caller.headers:
            # Browsers send Origin. Without this check, any page open on this machine could talk to the server.
            raise RequestRefused("unauthorized", "this server does not accept requests from web pages")
        await self.check_key(caller)

    async def body(self, request: Request, content_type: str) -> bytes:
        """Check a request's headers, and read its body.

        Raises:
            RequestRefused: the caller is a web page, lacks the key, or sends the wrong type, too much or too often.
        """
        await self.admit(request)
        if request.headers.get("content-type", "").partition(";")[0].strip().lower() != content_type:
            raise RequestRefused("malformed", f"expected Content-Type {content_type}")
        if int(request.headers.get("content-length") or 0) > self._limits.most_bytes:
            raise RequestRefused("too_large", f"expected a body of at most {self._limits.most_bytes} bytes")
        self.take(request)
        try:
            return await asyncio.wait_for(self._read(request), _BODY_TIMEOUT_S)
        except (ClientDisconnect, asyncio.TimeoutError):
            raise RequestRefused("malformed", f"the body did not arrive within {_BODY_TIMEOUT_S:g} s") from None

    def take(self, caller: Request | WebSocket) -> None:
        """Count one request of the caller's address.

        Raises:
            RequestRefused: the address has sent too many.
        """
        self._rate.take(_address(caller))

    async def check_key(self, caller: Request | WebSocket) -> None:
        """Check a request's key; an address that sent wrong ones has to wait first.

        Raises:
            RequestRefused: the key is missing or wrong, or the address has sent too many wrong ones.
        """
        given = caller.headers.get("authorization")
        await asyncio.sleep(self._wrong_keys.wait_s(_address(caller)))
        try:
            self._key.check(given)
        except RequestRefused:
            if given:  # a missing key is not a guess
                self._wrong_keys.add(_address(caller))
            raise

    async def _read(self, request: Request) -> bytes:
        body = bytearray()
        async for chunk in request.stream():
            body += chunk
            if len(body) > self._limits.most_bytes:
                raise RequestRefused(
                    "too_large",
                    f"the body exceeds {self._limits.most_bytes} bytes; send compressed images, or raise the limit",
                )
        return bytes(body)


def _address(caller: Request | WebSocket) -> str:
    return "" if caller.client is None else caller.client.host
