"""What every server of this package does before a request arrives: listen, and close connections that say nothing."""

from __future__ import annotations

import asyncio
import socket

from si_embodied.errors import ConfigError, extra

with extra("serve"):
    import h11
    from uvicorn.protocols.http.h11_impl import H11Protocol

HEADERS_TIMEOUT_S = 10.0
"""Time that a client has to send a request's headers, and before that for the TLS handshake."""


def listen(host: str, port: int) -> socket.socket:
    """Listen on a port; 0 picks a free one.

    Raises:
        ConfigError: the port is taken, or the host is not an address of this machine.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family)
    except (OSError, OverflowError, ValueError, TypeError) as error:  # the last ones: no host name at all
        raise ConfigError(
            f"cannot listen on {host} port {port} ({error}); choose another --port, or 0 for a free one"
        ) from error


class HeadersInTime(H11Protocol):
    """Closes a connection whose request headers do not arrive in time; uvicorn would wait for ever."""

    _timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's
        """Start the time."""
        super().connection_made(transport)
        self._timer = self.loop.call_later(HEADERS_TIMEOUT_S, transport.abort)

    def data_received(self, data: bytes) -> None:
        """Stop the time once the headers are complete."""
        super().data_received(data)
        if self.conn.their_state is not h11.IDLE:  # the headers are complete
            self._stop_timer()
        elif self._timer is None:  # the first part of another request on this connection
            self._timer = self.loop.call_later(HEADERS_TIMEOUT_S, self.transport.abort)

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the time."""
        self._stop_timer()
        super().connection_lost(exc)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
