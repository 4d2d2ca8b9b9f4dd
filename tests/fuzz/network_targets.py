"""Targets: what a planning server and a robot send each other, and what a simulator's process sends."""

from __future__ import annotations

import asyncio
import socket
from functools import cache
from typing import Any

import numpy as np
from harness import brief, target, written
from model_targets import checked, seen

from si_embodied import Task
from si_embodied.backends import ScriptedBackend
from si_embodied.errors import ConfigError, MessageError, RequestRefused
from si_embodied.memory import Memory
from si_embodied.robots import SERVICE_BASE

SERVING = ("fastapi", "uvicorn", "msgpack", "PIL", "prometheus_client")
_KEY = "k" * 20
_PLAN = '{"subgoals":[{"skill":"goto","object":"wall","view":1,"point":[500,500]}],"done":false}'


@target("msgpack", "msgpack", "PIL")
def plan_request(data: bytes) -> None:
    """A robot's request; one that is accepted survives a round trip."""
    from si_embodied.serving.messages import pack_request, unpack_request

    try:
        request = unpack_request(data)
    except MessageError as error:
        brief(error)
        return
    packed = pack_request(request)
    assert pack_request(unpack_request(packed)) == packed


@target("msgpack", "msgpack", "PIL")
def plan_reply(data: bytes) -> None:
    """A planning server's reply; one that is accepted survives a round trip."""
    from si_embodied.serving.messages import pack_decision, unpack_reply

    try:
        decision = unpack_reply(data)
    except MessageError as error:
        brief(error)
        return
    except RequestRefused:
        return
    packed = pack_decision(decision)
    assert pack_decision(unpack_reply(packed)) == packed


@target("msgpack", "msgpack", "websockets", "PIL", weight=0.3)
def remote_planner(data: bytes) -> None:
    """A planning server's reply, as the robot acts on it: its goals pass the robot's own guard."""
    from si_embodied.serving.messages import unpack_reply

    planner = _remote()

    async def exchange(*_: Any) -> Any:
        return unpack_reply(data)

    planner._exchange = exchange
    decision = planner.plan(Task("go to the wall", "navigation"), seen(), Memory())
    checked(decision, planner, seen())


@cache
def _remote() -> Any:
    from si_embodied.serving.client import RemotePlanner

    return RemotePlanner("ws://127.0.0.1:1", SERVICE_BASE, robot="robot", api_key="")


# --- the planning server --------------------------------------------------------------------------------------------

STATUSES = (101, 200, 400, 401, 404, 405, 409, 413, 429)
"""What a client may be answered; 500 would be a plan that failed, and 503 that nobody else asked."""


class _Transport(asyncio.Transport):
    """Keeps what is written."""

    def __init__(self) -> None:
        super().__init__({"socket": None})
        self.written = bytearray()
        self.closed = False

    def write(self, data: Any) -> None:
        self.written += data

    def close(self) -> None:
        self.closed = True

    def abort(self) -> None:
        self.closed = True

    def is_closing(self) -> bool:
        return self.closed

    def pause_reading(self) -> None: ...
    def resume_reading(self) -> None: ...
    def set_protocol(self, protocol: Any) -> None: ...
    def get_protocol(self) -> Any: ...


@cache
def _server() -> Any:
    """The application, uvicorn's settings for it, and the event loop that both run in."""
    import uvicorn

    from si_embodied.serving.access import ApiKey
    from si_embodied.serving.app import PlanningApp
    from si_embodied.serving.listening import HeadersInTime
    from si_embodied.serving.options import Limits
    from si_embodied.serving.scheduler import Scheduler
    from si_embodied.serving.service import PlanningService

    service = PlanningService(ScriptedBackend(lambda prompt: _PLAN))
    limits = Limits(most_bytes=1 << 20, per_s=1e9, burst=1 << 30)
    app = PlanningApp(Scheduler(service.decide), ApiKey(None, host="127.0.0.1"), limits).app
    config = uvicorn.Config(app, http=HeadersInTime, log_config=None, access_log=False, ws="none", lifespan="off")
    config.load()
    return app, config, asyncio.new_event_loop()


@target("http", *SERVING, weight=0.3)
def http_request(data: bytes) -> None:
    """The bytes that a client sends to the planning server."""
    _, config, loop = _server()
    for status, body in loop.run_until_complete(_answers(config, data)):
        assert status in STATUSES, (status, body[:300])


async def _answers(config: Any, data: bytes) -> list[tuple[int, bytes]]:
    """The answers on a connection that sends `data` and ends."""
    import h11
    from uvicorn.server import ServerState

    state, transport = ServerState(), _Transport()
    protocol = config.http_protocol_class(config, state, {}, asyncio.get_running_loop())
    protocol.connection_made(transport)
    if data:  # asyncio never delivers nothing
        protocol.data_received(data)
    if state.tasks and protocol.conn.their_state is not h11.SEND_BODY:  # the request is complete: await the answer
        await asyncio.wait(state.tasks, timeout=5)
    protocol.eof_received()
    protocol.connection_lost(None)
    if state.tasks:
        await asyncio.wait(state.tasks, timeout=5)
    assert not any(not task.done() for task in state.tasks), "a request never ends"
    found, rest = [], bytes(transport.written)
    while rest.startswith(b"HTTP/1.1 "):
        head, _, rest = rest.partition(b"\r\n\r\n")
        found.append((int(head[9:12]), rest))
        rest = rest[max(0, rest.find(b"HTTP/1.1 ")) :] if b"HTTP/1.1 " in rest else b""
    return found


@target("msgpack", *SERVING, weight=0.3)
def websocket(data: bytes) -> None:
    """A websocket conversation: a msgpack list of the messages, each of which is answered."""
    import msgpack

    try:
        messages = msgpack.unpackb(data, unicode_errors="surrogatepass", strict_map_key=False)
    except Exception:
        messages = data
    messages = [each for each in messages if isinstance(each, bytes | str)] if isinstance(messages, list) else [data]
    app, _, loop = _server()
    answers = loop.run_until_complete(_conversation(app, messages[:4]))
    assert len(answers) == len(messages[:4])
    for answer in answers:
        kind = msgpack.unpackb(answer, unicode_errors="surrogatepass")
        assert kind.get("refused", {}).get("reason") in (None, "malformed", "late"), kind


async def _conversation(app: Any, messages: list[bytes | str]) -> list[bytes]:
    answers: list[bytes] = []
    answered, waiting = asyncio.Event(), [{"type": "websocket.connect"}]
    answered.set()

    async def receive() -> dict[str, Any]:
        if waiting:
            return waiting.pop()
        await answered.wait()
        answered.clear()
        if not messages:
            return {"type": "websocket.disconnect", "code": 1000}
        message = messages.pop(0)
        key = "bytes" if isinstance(message, bytes) else "text"
        return {"type": "websocket.receive", key: message}

    async def send(event: dict[str, Any]) -> None:
        if event["type"] == "websocket.send":
            answers.append(event["bytes"])
            answered.set()

    scope = {"type": "websocket", "path": "/v1/plan", "raw_path": b"/v1/plan", "query_string": b"", "headers": [],
             "scheme": "ws", "root_path": "", "client": None, "server": None, "subprotocols": []}  # fmt: skip
    await asyncio.wait_for(app(scope, receive, send), 10)
    return answers


@target("text", "msgpack")
def access(data: bytes) -> None:
    """The Authorization header, the first line of a key file, and a key itself."""
    from si_embodied.serving.access import ApiKey, read_key

    given = data.decode("latin-1")
    try:
        ApiKey(_KEY, host="0.0.0.0").check(given)
    except RequestRefused:
        pass
    else:
        assert given.lower() == f"bearer {_KEY}"
    try:
        key = read_key(written("key.txt", data))
        ApiKey(key, host="0.0.0.0").check(f"Bearer {key}")
    except ConfigError as error:
        brief(error)


@target("json", "gymnasium")
def simulator_message(data: bytes) -> None:
    """What a simulator in another Python process sends."""
    from si_embodied.envs.process.wire import _LENGTH, Block, Channel

    ours, theirs = socket.socketpair()
    block = Block.create()
    channel = Channel(ours, block)
    channel.pack({"image": np.zeros((4, 4), "u1")})  # so that there is something in the block
    try:
        theirs.sendall(_LENGTH.pack(len(data)) + data)
        channel.receive(timeout_s=1.0)
    except MessageError:
        pass
    finally:
        channel.close()
        theirs.close()
