"""Who may see a page: whoever has the key, which is the first part of the path, under a name that cannot be rebound."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from typing import TYPE_CHECKING, Any

from si_embodied.errors import RequestRefused, extra
from si_embodied.serving.access import SHORTEST_KEY, ApiKey, WrongKeys

with extra("serve"):
    from starlette.responses import PlainTextResponse, RedirectResponse

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, MutableMapping

    Scope = MutableMapping[str, Any]
    Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
    Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
    Asgi = Callable[[Scope, Receive, Send], Awaitable[None]]

HEADERS = {
    # Nothing but our own files: no inline script, no other host, no frame around the page, no form to elsewhere.
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src data:; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",  # the address holds the key
    "Cache-Control": "no-store",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}
_CLOSED = "Nothing to see here. Open the address that the command printed, with its key.\n"


class Door:
    """Lets requests with the key through to an application, which sees the path behind the key.

    The key is in the path, so every address on the page is relative and carries it, and no cookie could be used by
    another page (CSRF). The name in `Host` must be an address or this server's own: a page that rebinds its own name to
    this machine (DNS rebinding) is refused even if it knew the key.
    """

    def __init__(self, app: Asgi, key: str, *, host: str) -> None:
        """Guard an application.

        Args:
            app: what to guard.
            key: at least 16 characters.
            host: the address that the server listens at, or its name.

        Raises:
            ConfigError: the key is too short.
        """
        self._app, self._key = app, ApiKey(key, host=host)
        self._names = {"localhost", host.lower(), socket.gethostname().lower()}
        self._wrong_keys = WrongKeys()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        refused = await self._refusal(scope)
        if refused is not None:
            if scope["type"] == "http":
                await PlainTextResponse(refused[1], refused[0], HEADERS)(scope, receive, send)
            else:
                await send({"type": "websocket.close", "code": 1008})
            return

        async def with_headers(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                own = [(name.lower().encode(), value.encode()) for name, value in HEADERS.items()]
                message = {**message, "headers": [*message.get("headers", []), *own]}
            await send(message)

        _, slash, rest = scope["path"].lstrip("/").partition("/")
        if not slash:  # the page's own addresses are relative to the one that ends with a slash
            await RedirectResponse(f"{scope['path']}/", 307, HEADERS)(scope, receive, send)
            return
        await self._app({**scope, "path": f"/{rest}", "raw_path": f"/{rest}".encode()}, receive, with_headers)

    async def _refusal(self, scope: Scope) -> tuple[int, str] | None:
        """Status and text for a request that is not let through."""
        if scope["type"] != "http":
            return 403, _CLOSED
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        host = headers.get("host", "")
        if not self._known(host):
            return 403, f"This server does not answer to the name {host!r}: open it by its address.\n"
        if not await self._has_key(scope):
            return 404, _CLOSED
        origin = headers.get("origin")
        if scope["method"] not in ("GET", "HEAD") and origin not in (None, f"http://{host}", f"https://{host}"):
            return 403, "This server takes commands from its own page alone.\n"
        return None

    def _known(self, host: str) -> bool:
        """Whether a `Host` header names an address or this server."""
        name = host.rpartition("]")[0].lstrip("[") if host.startswith("[") else host.partition(":")[0]
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return name.lower() in self._names
        return True

    async def _has_key(self, scope: Scope) -> bool:
        """Whether the path begins with the key; an address that guesses has to wait ever longer."""
        given = scope["path"].lstrip("/").partition("/")[0]
        if len(given) < SHORTEST_KEY:
            return False
        caller = (scope.get("client") or ("",))[0]
        try:
            await asyncio.sleep(self._wrong_keys.wait_s(caller))
        except RequestRefused:
            return False
        try:
            self._key.check(f"Bearer {given}")
        except RequestRefused:
            self._wrong_keys.add(caller)
            return False
        return True
