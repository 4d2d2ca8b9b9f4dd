"""Runs a planning server until it is told to stop."""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
from collections.abc import Callable
from types import FrameType
from typing import TYPE_CHECKING

from si_embodied.errors import ConfigError, extra
from si_embodied.serving.access import ApiKey
from si_embodied.serving.app import PlanningApp
from si_embodied.serving.options import ServeOptions
from si_embodied.serving.scheduler import Scheduler

with extra("serve"):
    import uvicorn

if TYPE_CHECKING:
    from si_embodied.serving.service import PlanningService

_LOG = logging.getLogger(__name__)


def serve(service: PlanningService, options: ServeOptions, *, ready: Callable[[str], None]) -> None:
    """Serve until SIGINT or SIGTERM; what was taken by then is answered first.

    Args:
        service: decides.
        options: where and for whom.
        ready: told the server's address when robots can connect.

    Raises:
        ConfigError: a port that is taken, a certificate that is none.
    """
    key = ApiKey(options.api_key, host=options.host)
    listening = _listen(options.host, options.port)
    host, port = listening.getsockname()[:2]
    scheme = "ws" if options.certificate is None else "wss"
    scheduler = Scheduler(service.decide, cancel=service.cancel, threads=options.threads)
    config = uvicorn.Config(
        PlanningApp(scheduler, key, options.limits).app,
        log_level="warning",
        access_log=False,
        server_header=False,
        ws_max_size=options.limits.most_bytes,
        ws_per_message_deflate=False,  # images do not shrink by it
        limit_concurrency=512,
        timeout_graceful_shutdown=1,
        ssl_certfile=options.certificate,
        ssl_keyfile=options.private_key,
    )
    address = f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"
    try:
        _Server(config, scheduler, options.grace_s, lambda: ready(address)).run(sockets=[listening])
    except OSError as error:  # ssl's errors are among them
        raise ConfigError(f"cannot serve with certificate {str(options.certificate)!r}: {error}") from error
    finally:
        scheduler.stop(grace_s=0.0)
        listening.close()


class _Server(uvicorn.Server):
    """Finishes what robots wait for before it hangs up on them."""

    def __init__(self, config: uvicorn.Config, scheduler: Scheduler, grace_s: float, ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._scheduler, self._grace_s, self._ready = scheduler, grace_s, ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self._ready()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        done = await asyncio.to_thread(self._scheduler.stop, grace_s=self._grace_s)
        if not done:
            _LOG.warning("stopped with plans under way after %s s", self._grace_s)
        await asyncio.sleep(0.05)  # the last answers are on their way
        await super().shutdown(sockets)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Stop; at once on a second Ctrl-C. Uvicorn's own would raise the signal again when all is done."""
        if self.should_exit and sig == signal.SIGINT:
            self.force_exit = True
        self.should_exit = True


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family)
    except (OSError, OverflowError) as error:
        raise ConfigError(f"cannot serve at {host} port {port} ({error}); choose another with --port, or 0") from error
