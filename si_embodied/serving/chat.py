"""OpenAI's routes of the planning server: `/v1/chat/completions` and `/v1/models`."""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from si_embodied.conversation import Thought
from si_embodied.errors import RequestRefused, extra
from si_embodied.serving import chat_replies
from si_embodied.serving.chat_answer import Chat, Part
from si_embodied.serving.chat_format import ChatRequest, parse_request
from si_embodied.serving.chat_replies import Reply, Usage
from si_embodied.serving.data_urls import HeldPixels
from si_embodied.serving.messages import REASONS
from si_embodied.stops import Stops

with extra("serve"):
    from fastapi import FastAPI, Request, Response
    from fastapi.responses import JSONResponse, StreamingResponse

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable

    from si_embodied.conversation import Conversation, Writer
    from si_embodied.serving.gate import Gate
    from si_embodied.serving.metrics import Metrics
    from si_embodied.serving.scheduler import Scheduler

T = TypeVar("T")

CHAT_PATH = "/v1/chat/completions"
MODELS_PATH = "/v1/models"
LONGEST_SILENCE_S = 600.0
"""After so long without a new part, an answer that waits for the model ends: robots have it without a pause."""


@dataclass(frozen=True, slots=True)
class Served:
    """A model, and the names under which clients may ask for it."""

    writer: Writer
    names: tuple[str, ...]


class ChatRoutes:
    """Checks chat requests, and has the scheduler answer them while no robot waits for the model."""

    def __init__(self, scheduler: Scheduler, gate: Gate, metrics: Metrics, served: Served) -> None:
        """Answer with one model."""
        self._scheduler, self._gate, self._metrics, self._served = scheduler, gate, metrics, served
        self._models = chat_replies.models(served.names, int(time.time()))
        self._held = HeldPixels()
        # One thread decodes the images of all clients, so that they leave the other cores to plans.
        self._reader = ThreadPoolExecutor(1, "chat-reader")

    def add_to(self, app: FastAPI) -> None:
        """Add the routes."""
        app.add_api_route(CHAT_PATH, self._complete, methods=["POST"])
        app.add_api_route(MODELS_PATH, self._list, methods=["GET"])
        app.add_api_route(MODELS_PATH + "/{name:path}", self._show, methods=["GET"])

    async def _list(self, request: Request) -> Response:
        try:
            await self._gate.admit(request)
        except RequestRefused as refused:
            return self._refusal(refused)
        return JSONResponse({"object": "list", "data": self._models})

    async def _show(self, request: Request, name: str) -> Response:
        try:
            await self._gate.admit(request)
            self._check_name(name)
        except RequestRefused as refused:
            return self._refusal(refused)
        return JSONResponse(next(model for model in self._models if model["id"] == name))

    async def _complete(self, request: Request) -> Response:
        try:
            body = await self._gate.body(request, "application/json")
            asked, conversation = await asyncio.get_running_loop().run_in_executor(self._reader, self._read, body)
            parts = self._parts(conversation, asked)
            if asked.stream:
                first = await _unless_gone(request, anext(parts))
                if isinstance(first, RequestRefused):
                    raise first
                return StreamingResponse(_events(asked, first, parts), media_type="text/event-stream")
            return Response(await _unless_gone(request, _whole(asked, parts)), media_type="application/json")
        except RequestRefused as refused:
            return self._refusal(refused)

    def _read(self, body: bytes) -> tuple[ChatRequest, Conversation]:
        asked = parse_request(body)
        self._check_name(asked.model)
        return asked, asked.conversation()

    def _check_name(self, name: str) -> None:
        if name not in self._served.names:
            names = ", ".join(self._served.names)
            raise RequestRefused("unknown_model", f"no model {name[:100]!r} here, only: {names}; --alias adds a name")

    async def _parts(self, conversation: Conversation, asked: ChatRequest) -> AsyncIterator[Part]:
        """The parts of an answer, the last of them a `Usage` or a `RequestRefused`. Leaving it cancels the answer."""
        loop, queue = asyncio.get_running_loop(), asyncio.Queue[Part]()

        def tell(part: Part) -> None:
            with suppress(RuntimeError):  # the loop is closed: the server has stopped
                loop.call_soon_threadsafe(queue.put_nowait, part)

        chat = Chat(self._served.writer, conversation, Stops(asked.stop), tell)
        try:
            with self._held.of(conversation.images):
                self._scheduler.add(chat)
                part: Part = ""
                while isinstance(part, str | Thought):
                    part = await self._next(queue, chat)
                    if isinstance(part, Usage):
                        self._metrics.chatted(part.ending)
                    yield part
        finally:
            self._scheduler.drop(chat)

    async def _next(self, queue: asyncio.Queue[Part], chat: Chat) -> Part:
        """The next part of an answer; its end, if it has waited too long for one."""
        while True:
            try:
                return await asyncio.wait_for(queue.get(), LONGEST_SILENCE_S)
            except asyncio.TimeoutError:
                if self._scheduler.remove(chat):  # otherwise it has the model, and its own limit of time
                    chat.end_early(f"robots kept the model busy for {LONGEST_SILENCE_S:g} s; ask again later")

    def _refusal(self, refused: RequestRefused) -> Response:
        self._metrics.refused(refused.reason)
        headers = {} if refused.retry_after_s is None else {"Retry-After": f"{refused.retry_after_s:.2f}"}
        return JSONResponse(chat_replies.error(refused), REASONS[refused.reason], headers)


async def _whole(asked: ChatRequest, parts: AsyncIterator[Part]) -> bytes:
    """The body of a reply that is not streamed.

    Raises:
        RequestRefused: the answer failed.
    """
    text = thoughts = ""
    async for part in parts:
        if isinstance(part, str):
            text += part
        elif isinstance(part, Thought):
            thoughts += part.text
        elif isinstance(part, Usage):
            return Reply(asked.model).whole(text, part, thoughts)
        else:
            raise part
    raise RequestRefused("failed", "the answer has no end")


async def _events(asked: ChatRequest, first: Part, parts: AsyncIterator[Part]) -> AsyncIterator[bytes]:
    """The events of a streamed reply. An answer that fails ends with an event that says so."""
    reply, part = Reply(asked.model), first
    yield reply.chunk({"role": "assistant", "content": ""})
    while isinstance(part, str | Thought):
        yield reply.chunk({"reasoning_content": part.text} if isinstance(part, Thought) else {"content": part})
        part = await anext(parts)
    if isinstance(part, RequestRefused):
        yield chat_replies.event(chat_replies.error(part))
        return
    yield reply.chunk({}, part.ending)
    if asked.stream_options.include_usage:
        yield reply.usage_chunk(part)
    yield chat_replies.DONE


async def _unless_gone(request: Request, answer: Awaitable[T]) -> T:
    """Wait for an answer, as long as the client does.

    Raises:
        RequestRefused: the client has disconnected; the answer is canceled.
    """
    answering, leaving = asyncio.ensure_future(answer), asyncio.ensure_future(request.receive())
    try:
        await asyncio.wait({answering, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if answering.done():
            return answering.result()
        raise RequestRefused("canceled", "the client has disconnected")
    finally:
        answering.cancel()
        leaving.cancel()
