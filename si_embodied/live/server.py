"""Serves a page from a thread of this process, beside whatever the process does."""

from __future__ import annotations

import ipaddress
import socket
import threading
import time
from types import TracebackType
from typing import TYPE_CHECKING

from typing_extensions import Self

from si_embodied.errors import ConfigError, extra
from si_embodied.live.door import Door
from si_embodied.serving.listening import HeadersInTime, listen

with extra("serve"):
    import uvicorn

if TYPE_CHECKING:
    from si_embodied.live.address import PageAddress
    from si_embodied.live.app import PageApp

_START_S = 10.0


class PageServer:
    """Serves a page until it is closed. `url` has the key in it."""

    def __init__(self, page: PageApp, address: PageAddress) -> None:
        """Start to listen.

        Raises:
            ConfigError: the port is taken.
        """
        self._page = page
        self._socket = listen(address.host, address.port)
        host, port = self._socket.getsockname()[:2]
        named = socket.gethostname() if ipaddress.ip_address(host).is_unspecified else host
        shown = f"[{named}]" if ":" in named else named
        self.url = f"http://{shown}:{port}/{address.key}/"
        config = uvicorn.Config(
            Door(page.app, address.key, host=address.host),
            http=HeadersInTime,
            ws="none",
            log_level="error",
            access_log=False,
            server_header=False,
            limit_concurrency=256,
            timeout_graceful_shutdown=2,
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._run, name="live-page", daemon=True)

    def start(self) -> Self:
        """Serve from a thread; returns once browsers can connect.

        Raises:
            ConfigError: the server did not start.
        """
        self._thread.start()
        deadline_s = time.monotonic() + _START_S
        while not self._server.started:
            if not self._thread.is_alive() or time.monotonic() > deadline_s:
                raise ConfigError(f"the page at {self.url} did not start; choose another --port, or 0 for a free one")
            time.sleep(0.01)
        return self

    def close(self) -> None:
        """End the streams and the server."""
        self._page.stop()
        self._server.should_exit = True
        if self._thread.is_alive():
            self._thread.join(timeout=5.0)
        self._socket.close()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _run(self) -> None:
        self._server.run(sockets=[self._socket])
