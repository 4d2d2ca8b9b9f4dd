"""`si-embodied serve`: plan for robots on the network with one model."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from typing_extensions import Doc
from tyro.conf import UseAppendAction

from si_embodied.cli.options import Model, Server
from si_embodied.cli.output import say
from si_embodied.cli.parsing import Count, flags
from si_embodied.serving.access import read_key
from si_embodied.serving.options import HOST, Limits, ServeOptions

if TYPE_CHECKING:
    from collections.abc import Iterator

    from si_embodied.serving.service import Listener


@dataclass(frozen=True, slots=True)
class Serve:
    """Run a planning server: posed RGB-D observations in, decisions out, over websocket and HTTP.

    A local model also answers chats, at /v1/chat/completions (OpenAI's API), while no robot waits for it.

    It listens on this machine alone unless --host says otherwise; then it needs a key, in SI_EMBODIED_API_KEY or
    --api-key-file. On Ctrl-C it answers the accepted requests and stops.
    """

    model: Model
    server: Server
    options: Annotated[ServeOptions, flags("port", "certificate", "private_key", alias=UseAppendAction)] = (
        ServeOptions()
    )
    host: Annotated[str, HOST] = ServeOptions().host
    api_key_file: Annotated[Path | None, Doc("file with the API key in its first line")] = None
    max_megabytes: Annotated[Count, Doc("per message")] = Limits().most_bytes >> 20
    max_rate: Annotated[Count, Doc("requests per second from one address")] = int(Limits().per_s)
    watch: Annotated[bool, Doc("show the plans on a local page")] = False
    parallel: Annotated[Count, Doc("plans at once; an ONNX export plans one at a time")] = 8

    def run(self) -> int:
        """Serve until told to stop."""
        from si_embodied.backends.base import SharedBackend
        from si_embodied.backends.opening import open_backend
        from si_embodied.serving.run import serve
        from si_embodied.serving.service import PlanningService

        options = replace(
            self.options,
            host=self.host,
            api_key=read_key(self.api_key_file),
            limits=Limits(most_bytes=self.max_megabytes << 20, per_s=self.max_rate, burst=2 * self.max_rate),
            threads=self.parallel,
        )
        backend, config = open_backend(self.server.backend(self.model)), self.model.planner_config()
        if isinstance(backend, SharedBackend):
            options = replace(options, threads=min(self.parallel, backend.lanes))
        ready = f"{backend.info.model} plans for robots at {{}} (Ctrl-C stops)"
        with contextlib.ExitStack() as stack:
            listener = stack.enter_context(plans_page(f"{backend.info.model} for robots")) if self.watch else None
            service = PlanningService(backend, config, listener=listener)
            serve(service, options, ready=lambda address: say(ready.format(address)))
        say("stopped")
        return 0


@contextlib.contextmanager
def plans_page(title: str) -> Iterator[Listener]:
    """A page that shows the plans that its listener is told of; its address is printed."""
    from si_embodied.live.address import PageAddress
    from si_embodied.live.app import PageApp
    from si_embodied.live.board import Board
    from si_embodied.live.plans import LivePlans
    from si_embodied.live.server import PageServer

    board = Board()
    with PageServer(PageApp(board, "watch"), PageAddress(port=0)) as page:
        say(f"watch the plans at {page.url}")
        yield LivePlans(board, title)
