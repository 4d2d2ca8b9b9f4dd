"""The planning server in its own process, over HTTP and websockets, and its shutdown."""

from __future__ import annotations

import signal
import socket
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any, TypeAlias

import pytest

pytest.importorskip("httpx")
pytest.importorskip("uvicorn")
pytest.importorskip("websockets")
pytest.importorskip("prometheus_client")
import httpx
from prometheus_client.parser import text_string_to_metric_families
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from si_embodied import Code, Execute, Hold, Observation, Task
from si_embodied.config import PlannerConfig, Prompts
from si_embodied.embodiment import MobileBase
from si_embodied.errors import ConfigError, RequestRefused
from si_embodied.memory import Memory
from si_embodied.serving.messages import CONTENT_TYPE, PLAN_PATH, PlanRequest, pack_request, unpack_reply
from si_embodied.skills import Rotate

Server: TypeAlias = Any  # tests/serving/conftest.py
StartServer: TypeAlias = Callable[..., AbstractContextManager[Any]]

KEY = "0123456789abcdef0123"
HEADERS = {"Content-Type": CONTENT_TYPE}


@pytest.fixture
def request_of(base: MobileBase, wall_ahead: Observation) -> Callable[..., PlanRequest]:
    def request(instruction: str, **changes: Any) -> PlanRequest:
        task = Task(instruction, "navigation")
        whole = PlanRequest("robot", base, PlannerConfig(), task, wall_ahead, Memory(), 10.0, 10.0)
        return replace(whole, **changes)

    return request


Ask = Callable[..., PlanRequest]


def post(server: Server, body: bytes, **headers: str) -> Any:
    return httpx.post(server.http + PLAN_PATH, content=body, headers=HEADERS | headers, timeout=20, trust_env=False)


def refusal(body: bytes) -> str:
    with pytest.raises(RequestRefused) as refused:
        unpack_reply(body)
    return refused.value.reason


def test_a_posted_request_is_answered_with_a_decision(server: Server, request_of: Ask) -> None:
    reply = post(server, pack_request(request_of("turn 90")))
    assert (reply.status_code, reply.headers["content-type"]) == (200, CONTENT_TYPE)
    decision = unpack_reply(reply.content)
    assert isinstance(decision, Execute)
    (goal,) = decision.goals
    assert isinstance(goal, Rotate)
    assert goal.angle_rad == pytest.approx(1.5708, abs=1e-4)
    assert (decision.record.model, decision.record.prompt_version) == ("obedient", "nav/v2")
    assert {"queue", "generate", "total"} <= set(decision.record.latency_s)


def test_the_websocket_gives_the_same_decisions(server: Server, request_of: Ask) -> None:
    with connect(server.url + PLAN_PATH, compression=None, proxy=None) as socket:
        for degrees in (30, 60):
            socket.send(pack_request(request_of(f"turn {degrees}")))
            decision = unpack_reply(socket.recv(timeout=20, decode=False))
            assert decision.plan.subgoals[0].degrees == degrees


def test_the_server_uses_the_robots_bounds_and_its_own_prompts(server: Server, request_of: Ask) -> None:
    """The image is 5 s old on the robot's clock, and the robot's limit is 1 s."""
    stale = unpack_reply(post(server, pack_request(request_of("turn 90", now_s=15.0))).content)
    assert isinstance(stale, Hold)
    assert stale.code is Code.STALE_OBSERVATION
    other = request_of("turn 90", config=PlannerConfig(prompts=Prompts(navigation="manip/v1")))
    assert unpack_reply(post(server, pack_request(other)).content).record.prompt_version == "nav/v2"


def test_an_invalid_plan_is_a_hold(server: Server, request_of: Ask) -> None:
    decision = unpack_reply(post(server, pack_request(request_of("none"))).content)
    assert isinstance(decision, Hold)
    assert decision.code is Code.PLAN_INVALID


def test_a_bug_on_the_server_is_reported(server: Server, request_of: Ask) -> None:
    decision = unpack_reply(post(server, pack_request(request_of("break"))).content)
    assert isinstance(decision, Hold)
    assert decision.code is Code.INTERNAL_ERROR
    assert unpack_reply(post(server, pack_request(request_of("turn 1"))).content)


def test_an_invalid_message_is_refused(server: Server) -> None:
    for body in (b"", b"hello", b"\x80"):
        reply = post(server, body)
        assert (reply.status_code, refusal(reply.content)) == (400, "malformed")
    with connect(server.url + PLAN_PATH, proxy=None) as socket:
        for message in (b"hello", "text"):
            socket.send(message)
            assert refusal(socket.recv(timeout=20, decode=False)) == "malformed"


def test_another_content_type_is_refused(server: Server) -> None:
    assert refusal(post(server, b"{}", **{"Content-Type": "application/json"}).content) == "malformed"


def test_web_pages_are_refused(server: Server, request_of: Ask) -> None:
    """Otherwise any page open on the workstation could talk to the robot's planner."""
    reply = post(server, pack_request(request_of("turn 90")), Origin="https://example.org")
    assert (reply.status_code, refusal(reply.content)) == (401, "unauthorized")
    with pytest.raises(InvalidStatus, match="401"), connect(server.url + PLAN_PATH, origin="http://a", proxy=None):
        pass


def test_health_and_metrics(server: Server, request_of: Ask) -> None:
    post(server, pack_request(request_of("turn 90")))
    post(server, b"hello")
    assert httpx.get(server.http + "/healthz", trust_env=False).text == "ok\n"
    page = httpx.get(server.http + "/metrics", trust_env=False)
    assert page.headers["content-type"].startswith("text/plain; version=0.0.4")
    values = {
        (sample.name.removeprefix("si_embodied_"), *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(page.text)
        for sample in family.samples
    }
    assert values["decisions_total", "ok"] >= 1
    assert values["refusals_total", "malformed"] >= 1
    assert values["plan_seconds_bucket", "+Inf", "generate"] >= 1
    assert values["waiting_robots",] == 0


def test_nothing_else_is_served(server: Server) -> None:
    for path in ("/", "/docs", "/openapi.json", "/v1", "/v1/plan/x"):
        assert httpx.get(server.http + path, trust_env=False).status_code == 404


def test_key_size_and_rate_are_enforced(start_server: StartServer, request_of: Ask) -> None:
    body = pack_request(request_of("turn 90"))
    with start_server(api_key=KEY, limits={"most_bytes": 200_000, "per_s": 0.5, "burst": 4}) as server:
        right = {"Authorization": f"Bearer {KEY}"}
        assert (post(server, body).status_code, refusal(post(server, body).content)) == (401, "unauthorized")
        assert post(server, body, Authorization="Bearer wrong").status_code == 401
        assert post(server, body, **right).status_code == 200
        with pytest.raises(InvalidStatus, match="401"), connect(server.url + PLAN_PATH, proxy=None):
            pass
        assert httpx.get(server.http + "/healthz", trust_env=False).status_code == 200
        assert httpx.get(server.http + "/metrics", trust_env=False).status_code == 401
        assert httpx.get(server.http + "/metrics", headers=right, trust_env=False).status_code == 200
        big = b"\0" * 200_001
        reply = post(server, big, **right)
        assert (reply.status_code, refusal(reply.content)) == (413, "too_large")
        chunked = httpx.post(
            server.http + PLAN_PATH,
            content=(big[:70_000] for _ in range(3)),  # of unknown length
            headers=HEADERS | right,
            trust_env=False,
        )
        assert refusal(chunked.content) == "too_large"
        with connect(server.url + PLAN_PATH, additional_headers=right, proxy=None) as socket:
            socket.send(big)
            with pytest.raises(ConnectionClosed) as closed:
                socket.recv(timeout=20)
            assert closed.value.rcvd is not None
            assert closed.value.rcvd.code == 1009
        replies = [post(server, body, **right) for _ in range(5)]
        limited = [reply for reply in replies if reply.status_code == 429]
        assert limited
        assert float(limited[0].headers["retry-after"]) > 0
        assert refusal(limited[0].content) == "rate_limited"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_accepted_requests_are_answered_before_shutdown(
    start_server: StartServer, request_of: Ask, number: signal.Signals
) -> None:
    with start_server() as server, connect(server.url + PLAN_PATH, compression=None, proxy=None) as socket:
        socket.send(pack_request(request_of("wait 1.0")))
        time.sleep(0.4)
        server.process.send_signal(number)
        assert isinstance(unpack_reply(socket.recv(timeout=20, decode=False)), Execute)
        assert server.process.wait(timeout=20) == 0
        assert server.process.stdout is not None
        assert server.process.stdout.read() == "stopped\n"


def test_a_robot_that_hangs_up_frees_the_model(server: Server, request_of: Ask) -> None:
    """Its plan would have taken a minute; the next robot is answered at once."""
    with connect(server.url + PLAN_PATH, compression=None, proxy=None) as socket:
        socket.send(pack_request(request_of("wait 60", deadline_s=100.0)))
        time.sleep(0.4)
    started = time.monotonic()
    assert isinstance(unpack_reply(post(server, pack_request(request_of("turn 90"))).content), Execute)
    assert time.monotonic() - started < 10


def test_each_of_many_robots_gets_its_own_answer(server: Server, request_of: Ask) -> None:
    got: dict[int, Any] = {}

    def ask(number: int) -> None:
        reply = post(server, pack_request(request_of(f"turn {number}", robot=f"robot-{number}")))
        got[number] = unpack_reply(reply.content).plan.subgoals[0].degrees  # type: ignore[union-attr]

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(1, 13)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert got == {number: number for number in range(1, 13)}


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"host": "0.0.0.0"}, "SI_EMBODIED_API_KEY"),
        ({"host": "999.9.9.9", "api_key": KEY}, "--port"),
        ({"host": "a..b", "api_key": KEY}, "--port"),
        ({"host": "nul\0", "api_key": KEY}, "--port"),
        ({"port": 99999}, "--port"),
    ],
)
def test_unusable_options_are_rejected_with_the_fix(options: dict[str, Any], words: str) -> None:
    from si_embodied.backends import ScriptedBackend
    from si_embodied.serving.options import ServeOptions
    from si_embodied.serving.run import serve
    from si_embodied.serving.service import PlanningService

    with pytest.raises(ConfigError, match=words):
        serve(PlanningService(ScriptedBackend([])), ServeOptions(**options), ready=lambda _: None)


def test_a_taken_port_is_named_with_the_fix() -> None:
    from si_embodied.backends import ScriptedBackend
    from si_embodied.serving.options import ServeOptions
    from si_embodied.serving.run import serve
    from si_embodied.serving.service import PlanningService

    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError, match=f"port {port} .*in use.*--port"):
            serve(PlanningService(ScriptedBackend([])), ServeOptions(port=port), ready=lambda _: None)


def test_wrong_keys_are_slowed_down_and_the_right_one_still_works(start_server: StartServer, request_of: Ask) -> None:
    """The second to fourth guess wait 0.25, 0.5 and 1 s."""
    body = pack_request(request_of("turn 90"))
    with start_server(api_key=KEY) as server:
        started = time.monotonic()
        for number in range(4):
            assert post(server, body, Authorization=f"Bearer wrong-{number}").status_code == 401
        assert time.monotonic() - started > 1.75
        assert post(server, body, Authorization=f"Bearer {KEY}").status_code == 200


def test_a_connection_that_sends_half_a_header_is_closed_after_10_s(server: Server, request_of: Ask) -> None:
    """Also one that sends nothing, one that sends a byte a second, and one on which a request was answered before."""
    request = f"GET /healthz HTTP/1.1\r\nHost: {server.http}\r\n".encode()
    half, silent, dripping, second = (socket.create_connection(("127.0.0.1", server.port)) for _ in range(4))
    second.sendall(request + b"\r\n")
    while not second.recv(4096).endswith(b"ok\n"):
        pass
    started = time.monotonic()
    half.sendall(request)
    second.sendall(request)
    closed_s: dict[socket.socket, float] = {}
    while len(closed_s) < 4 and time.monotonic() - started < 20:
        for connection in {half, silent, dripping, second} - closed_s.keys():
            connection.settimeout(0.1)
            try:
                if connection is dripping:
                    connection.sendall(b"G")
                ended = connection.recv(4096) == b""
            except TimeoutError:
                ended = False
            except ConnectionError:
                ended = True
            if ended:
                closed_s[connection] = time.monotonic() - started
    for connection in (half, silent, dripping, second):
        connection.close()
    after_s = [closed_s[each] for each in (half, silent, dripping, second)]
    assert all(9.5 < each < 13 for each in after_s), after_s  # 10 s, which a busy machine notices later


def test_the_limit_on_headers_ends_with_the_headers(server: Server, request_of: Ask) -> None:
    """An idle websocket stays open, and a plan may take longer."""
    with connect(server.url + PLAN_PATH, compression=None, proxy=None) as idle:
        reply = post(server, pack_request(request_of("wait 10.5", deadline_s=30.0)))
        assert isinstance(unpack_reply(reply.content), Execute)
        idle.send(pack_request(request_of("turn 90")))
        assert isinstance(unpack_reply(idle.recv(timeout=20, decode=False)), Execute)
