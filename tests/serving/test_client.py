"""The robot's client: the same decisions as a local planner, and a `Hold` for every failure on the way."""

from __future__ import annotations

import shutil
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeAlias

import pytest

pytest.importorskip("uvicorn")
pytest.importorskip("websockets")
from websockets.datastructures import Headers
from websockets.exceptions import InvalidStatus
from websockets.http11 import Response
from websockets.sync.server import ServerConnection, serve

from si_embodied import Code, Decision, Execute, Hold, Observation, Task
from si_embodied.backends import ScriptedBackend
from si_embodied.config import GuardConfig, PlannerConfig, Prompts
from si_embodied.embodiment import MobileBase
from si_embodied.errors import BackendError, ConfigError, DeadlineExceeded
from si_embodied.memory import Memory
from si_embodied.planner import Planner
from si_embodied.serving import RemotePlanner
from si_embodied.serving.messages import pack_decision, unpack_numbered_request
from si_embodied.serving.options import ServeOptions
from si_embodied.worker import PlannerWorker

Server: TypeAlias = Any  # tests/serving/conftest.py
StartServer: TypeAlias = Callable[..., AbstractContextManager[Any]]
Remote: TypeAlias = Callable[..., RemotePlanner]

KEY = "0123456789abcdef0123"
TURN = Task("turn 90", "navigation")
AGES_SLOWLY = PlannerConfig(guard=GuardConfig(max_observation_age_s=30.0))
GOTO = '{"subgoals":[{"skill":"goto","object":"wall","view":1,"point":[500,500]}],"done":false}'


@pytest.fixture
def remote(base: MobileBase) -> Iterator[Remote]:
    made: list[RemotePlanner] = []

    def remote(url: str, **settings: Any) -> RemotePlanner:
        made.append(RemotePlanner(url, base, **{"patience_s": 0.3, **settings}))
        return made[-1]

    yield remote
    for planner in made:
        planner.close()


def held(decision: Decision, code: Code, *words: str) -> None:
    assert isinstance(decision, Hold), decision
    assert decision.code is code, decision.message
    assert decision.record.code is code
    assert all(word in decision.message for word in words), decision.message


def number_of(message: Any) -> int | None:
    return unpack_numbered_request(message)[1]


def within(seconds: float, work: Callable[[], Decision]) -> Decision:
    started = time.monotonic()
    decision = work()
    assert time.monotonic() - started < seconds
    return decision


# --- as if it were here ---------------------------------------------------------------------------------------------


def test_remote_decisions_equal_local_ones(
    remote: Remote, base: MobileBase, wall_ahead: Observation, find_chair: Task
) -> None:
    """Its server uses the same planner, so that only the transport differs."""
    local = Planner(ScriptedBackend(lambda _: GOTO), base)

    def answer(connection: ServerConnection) -> None:
        for message in connection:
            request, number = unpack_numbered_request(message)  # type: ignore[arg-type]
            decision = local.plan(request.task, request.observation, request.memory, now_s=request.now_s)
            connection.send(pack_decision(decision, number=number))

    with a_websocket(answer) as url:
        there = remote(url).plan(find_chair, wall_ahead, Memory())
    here = local.plan(find_chair, wall_ahead, Memory())
    assert isinstance(there, Execute)
    assert isinstance(here, Execute)
    assert there.plan == here.plan
    (one,), (other,) = there.goals, here.goals
    assert (one.T_map_base.matrix() == other.T_map_base.matrix()).all()  # type: ignore[union-attr]
    assert (one.target_m == other.target_m).all()  # type: ignore[union-attr]
    latency_s = there.record.latency_s
    assert set(latency_s) == set(here.record.latency_s) | {"network"}
    assert latency_s["total"] > latency_s["network"] > 0
    assert replace(there.record, latency_s={}) == replace(here.record, latency_s={})


@pytest.mark.parametrize(("version", "sent"), [("nav/v1", [2, 0]), ("nav/v2", [2, 2])])
def test_remembered_views_are_sent_if_the_servers_prompt_shows_them(
    remote: Remote, base: MobileBase, wall_ahead: Observation, find_chair: Task, version: str, sent: list[int]
) -> None:
    """The robot learns the server's prompt from its first answer; then it saves the images that nobody looks at."""
    config = PlannerConfig(prompts=Prompts(navigation=version))
    local, got = Planner(ScriptedBackend(lambda _: GOTO), base, config), list[Memory]()

    def answer(connection: ServerConnection) -> None:
        for message in connection:
            request, number = unpack_numbered_request(message)  # type: ignore[arg-type]
            got.append(request.memory)
            decision = local.plan(request.task, request.observation, request.memory, now_s=request.now_s)
            connection.send(pack_decision(decision, number=number))

    (frame,) = wall_ahead.frames
    memory = Memory(keyframes=tuple(replace(frame, stamp_s=stamp_s) for stamp_s in (1.0, 2.0)))
    memory = memory.pointed_at("red chair", frame.T_map_camera.translation, 2.0, 0.5)
    with a_websocket(answer) as url:
        planner = remote(url)
        for _ in sent:
            planner.plan(find_chair, wall_ahead, memory)
    assert [len(each.keyframes) for each in got] == sent
    assert [seen.name for seen in got[0].objects] == ["red chair"]
    assert (got[0].keyframes[1].rgb == frame.rgb).all()


def test_a_planner_worker_accepts_it(server: Server, remote: Remote, wall_ahead: Observation) -> None:
    worker = PlannerWorker(remote(server.url), lambda: 10.0)
    worker.submit(TURN, wall_ahead, Memory())
    end = time.monotonic() + 10
    while (decision := worker.poll()) is None and time.monotonic() < end:
        time.sleep(0.005)
    assert isinstance(decision, Execute)
    worker.close()


def test_compressed_images_give_a_plan(server: Server, remote: Remote, wall_ahead: Observation) -> None:
    assert isinstance(remote(server.url, compressed=True).plan(TURN, wall_ahead, Memory()), Execute)


@pytest.mark.parametrize("form", ["{http}", "{http}/", "{ws}", "{ws}/v1/plan"])
def test_several_forms_of_the_url_are_accepted(
    server: Server, remote: Remote, wall_ahead: Observation, form: str
) -> None:
    planner = remote(form.format(http=server.http, ws=server.url))
    assert isinstance(planner.plan(TURN, wall_ahead, Memory()), Execute)


def test_the_key_comes_from_the_environment(
    start_server: StartServer, remote: Remote, wall_ahead: Observation, monkeypatch: pytest.MonkeyPatch
) -> None:
    with start_server(api_key=KEY) as server:
        held(remote(server.url).plan(TURN, wall_ahead, Memory()), Code.BACKEND_FAILED, "401", "SI_EMBODIED_API_KEY")
        wrong = remote(server.url, api_key="another-key-0123456789").plan(TURN, wall_ahead, Memory())
        held(wrong, Code.BACKEND_FAILED, "401")
        assert "another-key" not in wrong.message  # type: ignore[union-attr]
        monkeypatch.setenv("SI_EMBODIED_API_KEY", KEY)
        assert isinstance(remote(server.url).plan(TURN, wall_ahead, Memory()), Execute)


def test_the_robot_needs_no_model_library() -> None:
    """The client imports numpy, msgpack and websockets, and nothing of ours that needs more."""
    code = (
        "import sys; from si_embodied.serving import RemotePlanner; "
        "heavy = {'torch', 'transformers', 'tokenizers', 'llguidance', 'fastapi', 'uvicorn', 'httpx', 'PIL', 'mujoco', "
        "'gymnasium', 'scipy'} & set(sys.modules); assert not heavy, heavy; assert 'numpy' in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("module", ["msgpack", "websockets"])
def test_a_missing_library_names_its_extra(module: str) -> None:
    code = f"import sys; sys.modules[{module!r}] = None; from si_embodied.serving import RemotePlanner"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert f"{module!r} is not installed" in done.stderr
    assert "si-embodied[remote]" in done.stderr


# --- the robot has the last word ------------------------------------------------------------------------------------


def test_a_goal_beyond_the_robots_own_bounds_is_held(
    remote: Remote, base: MobileBase, wall_ahead: Observation, find_chair: Task
) -> None:
    """A server with other bounds, or a compromised one, cannot move the robot beyond its own bounds."""
    generous = Planner(ScriptedBackend(lambda _: GOTO), base)
    decision = generous.plan(find_chair, wall_ahead, Memory())

    def answer(connection: ServerConnection) -> None:
        for message in connection:
            connection.send(pack_decision(decision, number=number_of(message)))

    with a_websocket(answer) as url:
        planner = remote(url, config=PlannerConfig(guard=GuardConfig(max_goal_distance_m=1.0)))
        held(planner.plan(find_chair, wall_ahead, Memory()), Code.TOO_FAR, "more than 1.0 m")


# --- what can happen on the way -------------------------------------------------------------------------------------


def a_websocket(handler: Callable[[ServerConnection], None]) -> Any:
    """A websocket server in a thread of this process; yields its URL."""

    class Running:
        def __enter__(self) -> str:
            self.server = serve(handler, "127.0.0.1", 0, compression=None, max_size=None)
            self.thread = threading.Thread(target=self.server.serve_forever)
            self.thread.start()
            return f"ws://127.0.0.1:{self.server.socket.getsockname()[1]}"

        def __exit__(self, *_: object) -> None:
            self.server.shutdown()
            self.thread.join()

    return Running()


def test_an_unreachable_server_is_a_hold_after_patience_s(remote: Remote, wall_ahead: Observation) -> None:
    with socket.create_server(("127.0.0.1", 0)) as unused:
        port = unused.getsockname()[1]
    planner = remote(f"ws://127.0.0.1:{port}", patience_s=0.3)
    held(
        within(2, lambda: planner.plan(TURN, wall_ahead, Memory())),
        Code.BACKEND_FAILED, "cannot reach", f":{port}", "si-embodied serve",
    )  # fmt: skip


def test_check_finds_an_unreachable_server(server: Server, remote: Remote) -> None:
    remote(server.url).check()
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"ws://127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(DeadlineExceeded, match="0.3 s"):
            remote(address).check(deadline_s=0.3)
    with pytest.raises(BackendError, match=f"cannot reach {address}"):
        remote(address).check()


def test_a_restarting_server_is_retried(start_server: StartServer, remote: Remote, wall_ahead: Observation) -> None:
    with start_server() as first:
        planner = remote(first.url, patience_s=15.0, config=AGES_SLOWLY)
        assert isinstance(planner.plan(TURN, wall_ahead, Memory()), Execute)
    decisions: list[Decision] = []
    asking = threading.Thread(target=lambda: decisions.append(planner.plan(TURN, wall_ahead, Memory())))
    asking.start()
    time.sleep(0.3)
    with start_server(port=first.port):
        asking.join(20)
        assert isinstance(decisions[0], Execute)


def test_an_outage_is_a_hold_once_the_image_is_too_old_and_the_next_image_is_planned_from(
    start_server: StartServer, remote: Remote, wall_ahead: Observation
) -> None:
    """The limit is 1 s from the image's stamp, of which 0.6 s have passed; `patience_s` would allow for more."""
    with start_server() as first:
        planner = remote(first.url, patience_s=15.0)
        assert isinstance(planner.plan(TURN, wall_ahead, Memory()), Execute)
    now_s = wall_ahead.stamp_s + 0.6
    held(within(0.9, lambda: planner.plan(TURN, wall_ahead, Memory(), now_s=now_s)), Code.BACKEND_FAILED, first.url)
    with start_server(port=first.port):
        assert isinstance(planner.plan(TURN, wall_ahead, Memory()), Execute)


def test_a_connection_that_dropped_while_idle_is_reestablished(
    start_server: StartServer, remote: Remote, wall_ahead: Observation
) -> None:
    with start_server() as first:
        planner = remote(first.url)
        assert isinstance(planner.plan(TURN, wall_ahead, Memory()), Execute)
    with start_server(port=first.port):
        assert isinstance(planner.plan(TURN, wall_ahead, Memory()), Execute)


def test_a_silent_host_ends_at_the_deadline(remote: Remote, wall_ahead: Observation) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        planner = remote(f"ws://127.0.0.1:{silent.getsockname()[1]}", config=PlannerConfig(deadline_s=0.4))
        held(within(2, lambda: planner.plan(TURN, wall_ahead, Memory())), Code.DEADLINE_EXCEEDED, "0.4 s")


def test_a_frozen_server_ends_at_the_deadline_and_is_used_again(
    start_server: StartServer, remote: Remote, wall_ahead: Observation
) -> None:
    """Stopped with an open connection: the kernel accepts data until its buffers are full."""
    with start_server() as server:
        planner = remote(server.url, config=PlannerConfig(deadline_s=1.0))
        assert isinstance(planner.plan(TURN, wall_ahead, Memory()), Execute)
        server.process.send_signal(signal.SIGSTOP)
        held(within(3, lambda: planner.plan(TURN, wall_ahead, Memory())), Code.DEADLINE_EXCEEDED)
        server.process.send_signal(signal.SIGCONT)
        assert isinstance(planner.plan(TURN, wall_ahead, Memory()), Execute)


def test_a_late_reply_is_not_taken_for_the_next_one(server: Server, remote: Remote, wall_ahead: Observation) -> None:
    planner = remote(server.url, config=PlannerConfig(deadline_s=0.6))
    held(planner.plan(Task("wait 1.5", "navigation"), wall_ahead, Memory()), Code.DEADLINE_EXCEEDED)
    time.sleep(1.5)
    decision = planner.plan(TURN, wall_ahead, Memory())
    assert isinstance(decision, Execute)
    assert decision.plan.subgoals[0].degrees == 90  # type: ignore[union-attr]


@pytest.mark.parametrize("numbered", [True, False])
def test_an_answer_to_another_instruction_about_the_same_image_is_a_hold(
    remote: Remote, base: MobileBase, wall_ahead: Observation, find_chair: Task, numbered: bool
) -> None:
    """The second connection answers the request that it was sent."""
    planned = Planner(ScriptedBackend(lambda _: GOTO), base).plan(find_chair, wall_ahead, Memory())
    connections: list[ServerConnection] = []

    def answer(connection: ServerConnection) -> None:
        connections.append(connection)
        for message in connection:
            number = number_of(message)
            assert number is not None
            wrong = number - 1 if numbered else None
            connection.send(pack_decision(planned, number=wrong if len(connections) == 1 else number))

    with a_websocket(answer) as url:
        planner = remote(url)
        words = f"expected the answer to request 1, got that to request {0 if numbered else None}"
        held(planner.plan(TURN, wall_ahead, Memory()), Code.BACKEND_FAILED, url, words)
        assert isinstance(planner.plan(find_chair, wall_ahead, Memory()), Execute)
    assert len(connections) == 2


def test_a_server_that_dies_while_planning_is_a_hold(
    start_server: StartServer, remote: Remote, wall_ahead: Observation
) -> None:
    with start_server() as server:
        planner = remote(server.url)
        threading.Timer(0.5, server.process.kill).start()
        held(within(5, lambda: planner.plan(Task("wait 9", "navigation"), wall_ahead, Memory())), Code.BACKEND_FAILED)


@pytest.mark.parametrize(
    "reply",
    [b"", b"hello", b"\x80", b"\x82\xa7version\x02\xa8decision\x80", b"\x82\xa7version\x01\xa8decision\x80", "text"],
)
def test_an_invalid_reply_is_a_hold(remote: Remote, wall_ahead: Observation, reply: bytes | str) -> None:
    def answer(connection: ServerConnection) -> None:
        for _ in connection:
            connection.send(reply)

    with a_websocket(answer) as url:
        held(remote(url).plan(TURN, wall_ahead, Memory()), Code.BACKEND_FAILED, url)


def test_a_refusal_is_a_hold_with_its_reason(server: Server, remote: Remote, wall_ahead: Observation) -> None:
    decision = remote(server.url).plan(Task("break", "navigation"), wall_ahead, Memory())
    held(decision, Code.INTERNAL_ERROR, "ZeroDivisionError")


def test_a_message_too_big_for_the_server_is_a_hold_that_says_so(
    start_server: StartServer, remote: Remote, wall_ahead: Observation
) -> None:
    with start_server(limits={"most_bytes": 20_000}) as server:
        decision = within(2, lambda: remote(server.url).plan(TURN, wall_ahead, Memory()))
        held(decision, Code.BACKEND_FAILED, "compressed=True", "--max-megabytes")


def test_another_kind_of_server_is_a_hold(remote: Remote, wall_ahead: Observation) -> None:
    """A web server without websockets, and one that closes the connection."""
    for said in (b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", b""):
        with socket.create_server(("127.0.0.1", 0)) as other:

            def answer(other: socket.socket = other, said: bytes = said) -> None:
                while True:
                    try:
                        connection, _ = other.accept()
                    except OSError:
                        return
                    connection.recv(1000)
                    connection.sendall(said)
                    connection.close()

            threading.Thread(target=answer, daemon=True).start()
            planner = remote(f"ws://127.0.0.1:{other.getsockname()[1]}")
            held(planner.plan(TURN, wall_ahead, Memory()), Code.BACKEND_FAILED)
            other.shutdown(socket.SHUT_RDWR)


def test_a_task_for_another_kind_of_robot_is_a_hold(server: Server, remote: Remote, wall_ahead: Observation) -> None:
    decision = remote(server.url).plan(Task("turn 90", "manipulation"), wall_ahead, Memory())
    held(decision, Code.BACKEND_FAILED, "navigation", "manipulation")


@pytest.mark.parametrize("url", ["", "workstation:8421", "ftp://workstation", "ws://", "ws://me:secret@workstation"])
def test_an_invalid_url_is_rejected_at_once(base: MobileBase, url: str) -> None:
    with pytest.raises(ConfigError) as error:
        RemotePlanner(url, base)
    assert "secret" not in str(error.value)


# --- over a network that is not ours --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A self-signed certificate for 127.0.0.1, and its key."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    folder = tmp_path_factory.mktemp("tls")
    pem, key = folder / "certificate.pem", folder / "key.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
         "-keyout", str(key), "-out", str(pem), "-subj", "/CN=planner", "-addext", "subjectAltName=IP:127.0.0.1"],
        check=True, capture_output=True,
    )  # fmt: skip
    return pem, key


def test_a_certificate_encrypts_the_connection(
    start_server: StartServer,
    certificate: tuple[Path, Path],
    remote: Remote,
    wall_ahead: Observation,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pem, key = (str(path) for path in certificate)
    with start_server(certificate=pem, private_key=key) as server:
        assert server.url.startswith("wss://")
        held(remote(server.url).plan(TURN, wall_ahead, Memory()), Code.BACKEND_FAILED, "certificate")
        held(remote(server.url.replace("wss", "ws")).plan(TURN, wall_ahead, Memory()), Code.BACKEND_FAILED)
        monkeypatch.setenv("SSL_CERT_FILE", pem)
        assert isinstance(remote(server.url).plan(TURN, wall_ahead, Memory()), Execute)


def test_a_connection_without_a_tls_handshake_is_closed_after_10_s(
    start_server: StartServer, certificate: tuple[Path, Path]
) -> None:
    """One that sends nothing, half a ClientHello or a few bytes a second, and one that sends no request after it."""
    pem, key = (str(path) for path in certificate)
    with start_server(certificate=pem, private_key=key) as server:
        silent, half, dripping, encrypted = (socket.create_connection(("127.0.0.1", server.port)) for _ in range(4))
        started = time.monotonic()
        hello = client_hello()
        half.sendall(hello[: len(hello) // 2])
        encrypted = ssl.create_default_context(cafile=pem).wrap_socket(encrypted, server_hostname="127.0.0.1")
        closed_s = {}
        while len(closed_s) < 4 and time.monotonic() - started < 20:
            for connection in {silent, half, dripping, encrypted} - closed_s.keys():
                connection.settimeout(0.1)
                try:
                    if connection is dripping:
                        connection.sendall(hello[:1])
                        hello = hello[1:]
                    ended = connection.recv(4096) == b""
                except TimeoutError:
                    ended = False
                except OSError:
                    ended = True
                if ended:
                    closed_s[connection] = time.monotonic() - started
                    connection.close()
        after_s = [closed_s[each] for each in (silent, half, dripping, encrypted)]
        assert all(9.5 < each < 13 for each in after_s), after_s  # 10 s, which a busy machine notices later


def client_hello() -> bytes:
    """The first message of a TLS client."""
    sent = ssl.MemoryBIO()
    client = ssl.create_default_context().wrap_bio(ssl.MemoryBIO(), sent, server_hostname="planner")
    with pytest.raises(ssl.SSLWantReadError):
        client.do_handshake()
    return sent.read()


def test_an_unusable_certificate_is_rejected_before_a_model_is_loaded(
    certificate: tuple[Path, Path], tmp_path: Path
) -> None:
    pem, key = certificate
    encrypted, text = tmp_path / "encrypted.pem", tmp_path / "notes.txt"
    subprocess.run(
        ["openssl", "pkey", "-in", str(key), "-aes256", "-passout", "pass:secret", "-out", str(encrypted)],
        check=True, capture_output=True, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    text.write_text("not a key")
    for files in (
        {"certificate": Path("/no/such.pem")}, {"certificate": pem}, {"private_key": key},
        {"certificate": pem, "private_key": Path("/no/such.pem")}, {"certificate": pem, "private_key": text},
        {"certificate": pem, "private_key": encrypted}, {"certificate": pem, "private_key": pem},
        {"certificate": tmp_path},
    ):  # fmt: skip
        with pytest.raises(ConfigError, match="certificate"):
            ServeOptions(port=0, **files)
    ServeOptions(port=0, certificate=pem, private_key=key)


def test_another_kind_of_server_is_told_from_one_that_refuses(base: MobileBase) -> None:
    """A page of some other web server is not shown as the reason of a refusal."""
    planner = RemotePlanner("ws://127.0.0.1:1", base)
    answered = InvalidStatus(Response(200, "OK", Headers(), b"<html>Welcome to nginx"))
    assert "status 200, as no planning server does" in planner._why(answered)
    refused = InvalidStatus(Response(401, "Unauthorized", Headers(), b"this server requires its API key"))
    assert planner._why(refused).endswith("rejected this robot (401): this server requires its API key")
