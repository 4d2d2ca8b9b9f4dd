"""The pages' routes: the page itself, its files, and the stream of news (server-sent events)."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from importlib import resources
from typing import TYPE_CHECKING, Literal

from si_embodied.errors import extra

with extra("serve"):
    from fastapi import FastAPI
    from starlette.responses import PlainTextResponse, Response, StreamingResponse

if TYPE_CHECKING:
    from si_embodied.live.board import Source

MOST_PAGES = 16
"""Open at once; each costs the server a stream of frames."""
PERIOD_S = 0.1
"""Between two looks at the source."""
_HEARTBEAT_S = 10.0
_TYPES = {"html": "text/html", "css": "text/css", "js": "text/javascript"}
_FILES = ("page.css", "page.js", "drawing.js", "play.js")


class PageApp:
    """The ASGI application of one page; put a `Door` before it."""

    def __init__(self, source: Source, page: Literal["watch", "play"]) -> None:
        """Serve a page with the news of a source."""
        self._source, self._open, self._stopping = source, 0, False
        self.app = FastAPI(title="si-embodied", docs_url=None, redoc_url=None, openapi_url=None)
        self._page = _file(f"{page}.html")
        self._files = {name: _file(name) for name in _FILES}
        self.app.add_api_route("/", self._index, methods=["GET"])
        self.app.add_api_route("/events", self._events, methods=["GET"])
        self.app.add_api_route("/file/{name}", self._static, methods=["GET"])

    def stop(self) -> None:
        """End the streams, so that the server can end."""
        self._stopping = True

    async def _index(self) -> Response:
        return self._page

    async def _static(self, name: str) -> Response:
        return self._files.get(name) or PlainTextResponse(f"there is no {name!r} here\n", 404)

    async def _events(self) -> Response:
        if self._open >= MOST_PAGES:
            return PlainTextResponse(f"{MOST_PAGES} pages are open already; close one\n", 503)
        return StreamingResponse(self._stream(), media_type="text/event-stream")

    async def _stream(self) -> AsyncIterator[str]:
        seen: dict[str, int] = {}
        self._count(1)
        sent_s = time.monotonic()
        try:
            yield "retry: 1000\n\n"
            while not self._stopping:
                for news in await asyncio.to_thread(self._source.news, dict(seen)):
                    seen[news.key] = news.version
                    sent_s = time.monotonic()
                    yield f"event: {news.topic}\ndata: {news.data}\n\n"
                if time.monotonic() - sent_s > _HEARTBEAT_S:  # a page that has gone away is noticed by writing to it
                    sent_s = time.monotonic()
                    yield ": nothing new\n\n"
                await asyncio.sleep(PERIOD_S)
        finally:
            self._count(-1)

    def _count(self, change: int) -> None:
        self._open += change
        self._source.pages(self._open)


def _file(name: str) -> Response:
    text = resources.files("si_embodied.live").joinpath("pages", name).read_text(encoding="utf-8")
    return Response(text, media_type=f"{_TYPES[name.rpartition('.')[2]]}; charset=utf-8")
