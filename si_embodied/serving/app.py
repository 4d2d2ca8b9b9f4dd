"""The planning server's routes: plans over HTTP and websocket, health check, metrics; OpenAI's are in `chat`."""

from __future__ import annotations

import asyncio
import logging

from si_embodied.errors import MessageError, RequestRefused, extra
from si_embodied.serving import chat_replies, metrics
from si_embodied.serving.access import ApiKey, WrongKeys
from si_embodied.serving.chat import ChatRoutes, Served
from si_embodied.serving.gate import Gate
from si_embodied.serving.messages import (
    CONTENT_TYPE,
    PLAN_PATH,
    REASONS,
    pack_decision,
    pack_refusal,
    unpack_numbered_request,
)
from si_embodied.serving.options import Limits
from si_embodied.serving.scheduler import Scheduler

with extra("serve"):
    from fastapi import FastAPI, Request, Response, WebSocket
    from fastapi.exception_handlers import http_exception_handler
    from fastapi.responses import JSONResponse
    from starlette.exceptions import HTTPException
    from starlette.websockets import WebSocketDisconnect

_LOG = logging.getLogger(__name__)


class PlanningApp:
    """The HTTP side of the server: checks requests and hands them to the scheduler. `app` is the ASGI application."""

    def __init__(self, scheduler: Scheduler, key: ApiKey, limits: Limits, served: Served | None = None) -> None:
        """Create the routes; with the served model, also those of OpenAI's API."""
        wrong_keys = WrongKeys()
        self._scheduler, self._gate = scheduler, Gate(key, wrong_keys, limits)
        self._connections = 0
        self._metrics = metrics.Metrics(
            waiting=lambda: scheduler.waiting, working=lambda: scheduler.working, connected=lambda: self._connections
        )
        self.app = FastAPI(title="si-embodied", docs_url=None, redoc_url=None, openapi_url=None)
        self.app.add_exception_handler(HTTPException, _no_route)
        self.app.add_api_route("/healthz", self._healthz, methods=["GET"])
        self.app.add_api_route("/metrics", self._metrics_page, methods=["GET"])
        self.app.add_api_route(PLAN_PATH, self._post, methods=["POST"])
        self.app.add_api_websocket_route(PLAN_PATH, self._websocket)
        if served is not None:
            ChatRoutes(scheduler, Gate(key, wrong_keys, limits), self._metrics, served).add_to(self.app)

    async def _healthz(self) -> Response:
        return Response("ok\n", media_type="text/plain")

    async def _metrics_page(self, request: Request) -> Response:
        try:
            await self._gate.check_key(request)
        except RequestRefused as refused:
            return Response(f"{refused}\n", REASONS[refused.reason], media_type="text/plain")
        return Response(self._metrics.text(), media_type=metrics.CONTENT_TYPE)

    async def _post(self, request: Request) -> Response:
        try:
            body = await self._gate.body(request, CONTENT_TYPE)
            return Response(await self._decision(body), media_type=CONTENT_TYPE)
        except RequestRefused as refused:
            return self._refusal(refused)

    async def _websocket(self, socket: WebSocket) -> None:
        try:
            await self._gate.admit(socket)
        except RequestRefused as refused:
            self._metrics.refused(refused.reason)
            await socket.send_denial_response(
                Response(str(refused), REASONS[refused.reason], media_type="text/plain")
            )  # fmt: skip
            return
        await socket.accept()
        self._connections += 1
        try:
            await self._converse(socket)
        except WebSocketDisconnect:
            pass
        finally:
            self._connections -= 1

    async def _converse(self, socket: WebSocket) -> None:
        """Answer messages one by one. A robot that disconnects is removed from the queue."""
        arriving = asyncio.ensure_future(socket.receive())
        answering: asyncio.Future[bytes] | None = None
        try:
            while (event := await arriving)["type"] != "websocket.disconnect":
                arriving = asyncio.ensure_future(socket.receive())
                answering = asyncio.ensure_future(self._reply(socket, event.get("bytes")))
                await asyncio.wait({answering, arriving}, return_when=asyncio.FIRST_COMPLETED)
                if arriving.done() and arriving.result()["type"] == "websocket.disconnect":
                    return
                await socket.send_bytes(await answering)
        finally:
            arriving.cancel()
            if answering is not None:
                answering.cancel()

    async def _reply(self, socket: WebSocket, message: bytes | None) -> bytes:
        try:
            self._gate.take(socket)
            if message is None:
                raise RequestRefused("malformed", "expected a binary message, got a text message")
            return await self._decision(message)
        except RequestRefused as refused:
            self._metrics.refused(refused.reason)
            return pack_refusal(refused)

    async def _decision(self, message: bytes) -> bytes:
        try:
            # Decompressing images takes milliseconds; the event loop keeps serving other robots meanwhile.
            request, number = await asyncio.to_thread(unpack_numbered_request, message)
        except MessageError as error:
            raise RequestRefused("malformed", str(error)) from error
        planned = self._scheduler.submit(request)
        try:
            decision = await asyncio.wrap_future(planned)
        except asyncio.CancelledError:
            self._scheduler.withdraw(planned)
            raise
        self._metrics.decided(decision)
        return pack_decision(decision, number=number)

    def _refusal(self, refused: RequestRefused) -> Response:
        self._metrics.refused(refused.reason)
        headers = {} if refused.retry_after_s is None else {"Retry-After": f"{refused.retry_after_s:.2f}"}
        return Response(pack_refusal(refused), REASONS[refused.reason], headers, CONTENT_TYPE)


async def _no_route(request: Request, error: Exception) -> Response:
    """The reply for an unknown path or method; below /v1 in the form that OpenAI's clients read."""
    assert isinstance(error, HTTPException)
    path = request.url.path
    if not path.startswith("/v1/"):
        return await http_exception_handler(request, error)
    return JSONResponse(
        chat_replies.no_route(error.status_code, request.method, path), error.status_code, error.headers
    )
