"""Runs a planning server until SIGINT or SIGTERM."""

from __future__ import annotations

import asyncio
import functools
import logging
import signal
import socket
from collections.abc import Callable
from types import FrameType
from typing import TYPE_CHECKING

from si_embodied.conversation import Writer
from si_embodied.errors import ConfigError, extra
from si_embodied.serving.access import ApiKey
from si_embodied.serving.app import PlanningApp
from si_embodied.serving.chat import Served
from si_embodied.serving.listening import HEADERS_TIMEOUT_S, HeadersInTime, listen
from si_embodied.serving.options import ServeOptions
from si_embodied.serving.scheduler import Scheduler

with extra("serve"):
    import uvicorn

if TYPE_CHECKING:
    from si_embodied.serving.service import PlanningService

_LOG = logging.getLogger(__name__)


def serve(service: PlanningService, options: ServeOptions, *, ready: Callable[[str], None]) -> None:
    """Serve until SIGINT or SIGTERM, then answer the accepted requests and return.

    Args:
        service: makes the decisions.
        options: address, access and limits.
        ready: called with the server's URL once robots can connect.

    Raises:
        ConfigError: the port is taken, the certificate cannot be used, or the model answers no chats and has an alias.
    """
    key = ApiKey(options.api_key, host=options.host)
    listening = listen(options.host, options.port)
    host, port = listening.getsockname()[:2]
    scheme = "ws" if options.certificate is None else "wss"
    served = _served(service, options)
    scheduler = Scheduler(service.decide, cancel=service.cancel, threads=options.threads)
    config = uvicorn.Config(
        PlanningApp(scheduler, key, options.limits, served).app,
        http=HeadersInTime,
        log_level="warning",
        access_log=False,
        server_header=False,
        ws_max_size=options.limits.most_bytes,
        ws_per_message_deflate=False,  # deflate does not shrink images
        limit_concurrency=512,
        timeout_graceful_shutdown=1,
        ssl_certfile=options.certificate,
        ssl_keyfile=options.private_key,
    )
    address = f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"
    try:
        _Server(config, scheduler, options.grace_s, lambda: ready(address)).run(sockets=[listening])
    except OSError as error:  # includes ssl.SSLError
        raise ConfigError(f"cannot serve with certificate {str(options.certificate)!r}: {error}") from error
    finally:
        scheduler.stop(grace_s=0.0)
        listening.close()


def _served(service: PlanningService, options: ServeOptions) -> Served | None:
    """The model for clients of OpenAI's API; None if it only plans, as one behind another server does."""
    backend = service.backend
    if isinstance(backend, Writer):
        return Served(backend, tuple(dict.fromkeys((backend.info.model, *options.alias))))
    if options.alias:
        raise ConfigError(f"{backend.info.model} only plans here, and needs no alias: send chats to its own server")
    return None


class _Server(uvicorn.Server):
    """A uvicorn server that finishes accepted requests before it closes connections."""

    def __init__(self, config: uvicorn.Config, scheduler: Scheduler, grace_s: float, ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._scheduler, self._grace_s, self._ready = scheduler, grace_s, ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        if self.config.is_ssl:  # uvicorn has no option for the handshake's time, and asyncio's default is a minute
            loop = asyncio.get_running_loop()
            create = functools.partial(loop.create_server, ssl_handshake_timeout=HEADERS_TIMEOUT_S)
            loop.create_server = create  # type: ignore[method-assign]
        await super().startup(sockets)
        if self.started:
            self._ready()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        done = await asyncio.to_thread(self._scheduler.stop, grace_s=self._grace_s)
        if not done:
            _LOG.warning("stopped after %s s with requests unfinished", self._grace_s)
        await asyncio.sleep(0.05)  # lets the event loop send the last replies
        await super().shutdown(sockets)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Shut down; immediately on a second Ctrl-C. Unlike uvicorn's, it does not re-raise the signal at the end."""
        if self.should_exit and sig == signal.SIGINT:
            self.force_exit = True
        self.should_exit = True
