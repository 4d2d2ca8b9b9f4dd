"""Fault: a model server answers in its own way, or not at all; the environment's proxies are broken."""

from __future__ import annotations

import http.server
import json
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("httpx")
pytest.importorskip("websockets")

from si_embodied import Execute, Hold, Observation, Prompt, Task
from si_embodied.backends.breaker import CircuitBreaker
from si_embodied.backends.chat import chat_answer, model_names, only_json_object
from si_embodied.backends.config import ServerOptions
from si_embodied.backends.reasoning import split_reasoning
from si_embodied.backends.retries import Retries, retry_after_s
from si_embodied.backends.server import ServerBackend
from si_embodied.embodiment import MobileBase
from si_embodied.errors import BackendError, ConfigError
from si_embodied.memory import Memory
from si_embodied.plan import parse_plan, plan_schema
from si_embodied.planner import Planner
from si_embodied.serving.client import RemotePlanner
from si_embodied.types import Code

PLAN = '{"subgoals":[{"skill":"goto","object":"red cup","view":1,"point":[500,500]}],"done":false}'
TOOL_CALL = [{"id": "1", "type": "function", "function": {"name": "f", "arguments": PLAN}}]
FEW = settings(max_examples=300, derandomize=True, deadline=None)


def message(content: object, *, finish: str | None = "stop", **fields: object) -> dict[str, Any]:
    choice = {"index": 0, "finish_reason": finish, "message": {"role": "assistant", "content": content, **fields}}
    usage = {"prompt_tokens": 5, "completion_tokens": 7, "total_tokens": 12}
    return {"id": "x", "object": "chat.completion", "choices": [choice], "usage": usage}


UNDERSTOOD = {
    "plain": message(PLAN),
    "fence": message(f"```json\n{PLAN}\n```"),
    "fence in capitals": message(f"```JSON\n{PLAN}\n```"),
    "fence with another label": message(f"```javascript\n{PLAN}\n```"),
    "fence without a label": message(f"```\n{PLAN}```"),
    "tilde fence": message(f"~~~json\n{PLAN}\n~~~"),
    "prose and fence": message(f"Here is the plan:\n```json\n{PLAN}\n```"),
    "fence and prose": message(f"```json\n{PLAN}\n```\nDone."),
    "prose around": message(f"Sure! {PLAN} Let me know if {{that}} helps."),
    "thinking": message(f"<think>\nThe cup is left.\n</think>\n\n{PLAN}"),
    "thinking with a draft": message(f"<think>Maybe {PLAN.replace('500', '1')}?</think>{PLAN}"),
    "thinking and answer tags": message(f"<think>Left.</think><answer>{PLAN}</answer>"),
    "answer tags": message(f"<answer>\n{PLAN}\n</answer>"),
    "empty thinking": message(f"<think>\n\n</think>\n\n{PLAN}"),
    "thinking whose start the template wrote": message(f"The cup is left.</think>{PLAN}"),
    "thinking in other words": message(f"<thinking>The cup is left.</Thinking>{PLAN}"),
    "thinking in brackets": message(f"[THINK]Maybe {PLAN.replace('500', '1')}?[/THINK]{PLAN}"),
    "byte order mark": message(f"\ufeff{PLAN}"),
    "end token": message(f"{PLAN}<|im_end|>"),
    "end tokens": message(f"{PLAN}<|im_end|>\n<|endoftext|>"),
    "fence and end token": message(f"```json\n{PLAN}\n```<|im_end|>"),
    "pretty printed": message(json.dumps(json.loads(PLAN), indent=2)),
    "parts": message([{"type": "text", "text": PLAN}]),
    "parts with thinking": message([{"type": "thinking", "thinking": "hm"}, {"type": "text", "text": PLAN}]),
    "two parts": message([{"type": "text", "text": PLAN[:20]}, {"type": "text", "text": PLAN[20:]}]),
    "reasoning and content": message(PLAN, reasoning_content="The cup..."),
    "null, in reasoning_content": message(None, reasoning_content=PLAN),
    "null, in reasoning": message(None, reasoning=PLAN),
    "empty, in reasoning_content": message("", reasoning_content=f"The cup is left. {PLAN}"),
    "no finish reason": message(PLAN, finish=None),
}
NAMED = {
    "length": (message(PLAN[:30], finish="length"), "max_tokens=512"),
    "length, null": (message(None, finish="length"), "max_tokens=512"),
    "content filter": (message(PLAN[:30], finish="content_filter"), "content filter"),
    "content filter, whole": (message(PLAN, finish="content_filter"), "content filter"),
    "length, in capitals": (message(PLAN, finish="LENGTH"), "max_tokens=512"),
    "safety filter": (message(None, finish="SAFETY"), "safety filter"),
    "refusal beside a plan": (message(PLAN, refusal="I cannot."), "refused to answer: 'I cannot.'"),
    "abort": (message(PLAN, finish="abort"), "abort"),
    "refusal": (message(None, refusal="I cannot."), "refused to answer: 'I cannot.'"),
    "refusal, empty": (message("", refusal="I cannot."), "refused to answer: 'I cannot.'"),
    "tool call": (message(None, tool_calls=TOOL_CALL), "no text in choices"),
    "error": ({"error": {"message": "bad"}}, "reported an error: 'bad'"),
    "error text": ({"error": "overloaded"}, "reported an error: 'overloaded'"),
    "vLLM's error": (
        {"object": "error", "message": "Grammar error", "code": 400},
        "reported an error: 'Grammar error'",
    ),
    "no choices": ({"choices": []}, "no text in choices"),
    "list": ([], "no text in choices"),
    "number": (5, "no text in choices"),
}
REJECTED = {
    "empty": message(""),
    "prose": message("I would go to the red cup."),
    "extra key": message(PLAN[:-1] + ',"why":"x"}'),
    "two plans": message(f"{PLAN}\n{PLAN}"),
    "two fences": message(f"```json\n{PLAN}\n```\n```json\n{PLAN}\n```"),
    "unfinished thinking with a draft": message(f"<think>Maybe {PLAN}"),
    "unfinished thinking in other words": message(f"<thinking>Maybe {PLAN} no, wrong."),
    "unfinished thinking in capitals": message(f"<THINK>Maybe {PLAN} no, wrong."),
    "unfinished thinking in brackets": message(f"[THINK]Maybe {PLAN} no, wrong."),
    "a draft in reasoning_content": message(None, reasoning_content=f"Maybe {PLAN} - no, that is the wrong cup."),
    "a draft in unfinished reasoning": message("", reasoning_content=f"<think>Maybe {PLAN}"),
    "plan inside a broken object": message(f'{{"plan": {PLAN}, oops'),
    "plan inside other braces": message(f"{{plan: {PLAN}}}"),
    "cut": message(PLAN[:30]),
    "unknown view": message(PLAN.replace('"view":1', '"view":7')),
}


class _Server(http.server.ThreadingHTTPServer):
    reply: object = None


class _Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        assert isinstance(self.server, _Server)
        self.rfile.read(int(self.headers["content-length"]))
        body = json.dumps(self.server.reply).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


Ask = Callable[[object], str]


@pytest.fixture(scope="module")
def ask() -> Iterator[Ask]:
    """Ask a server that gives one reply; the answer's text."""
    server = _Server(("127.0.0.1", 0), _Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    backend = ServerBackend(f"http://127.0.0.1:{server.server_port}", "m", api_key="", retries=Retries(attempts=1))
    images = np.zeros((56, 56, 3), np.uint8), np.ones((84, 84, 3), np.uint8)
    prompt = Prompt("nav/v1", "You plan.", ("view 0: ", images[0], "view 1: ", images[1]), plan_schema("navigation", 2))

    def ask(reply: object) -> str:
        server.reply = reply
        return backend.generate(prompt, deadline_s=10).text

    yield ask
    backend.close()
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize("name", UNDERSTOOD)
def test_the_answers_of_real_servers_are_understood(name: str, ask: Ask) -> None:
    (subgoal,) = parse_plan(ask(UNDERSTOOD[name]), "navigation", 2).subgoals
    assert (subgoal.object, subgoal.view, subgoal.point) == ("red cup", 1, (500, 500))  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", NAMED)
def test_an_incomplete_answer_is_reported_with_its_reason(name: str, ask: Ask) -> None:
    reply, words = NAMED[name]
    with pytest.raises(BackendError) as error:
        ask(reply)
    assert words in str(error.value)


@pytest.mark.parametrize("name", REJECTED)
def test_an_answer_without_one_clear_plan_is_left_for_the_parser_to_reject(name: str, ask: Ask) -> None:
    with pytest.raises(ValueError, match="not a plan"):
        parse_plan(ask(REJECTED[name]), "navigation", 2)


THOUGHT = {
    "before the answer": f"<think>\nThe cup is left.\n</think>\n\n{PLAN}",
    "whose start the template wrote": f"The cup is left.</think>{PLAN}",
    "with answer tags": f"<think>The cup is left.</think>\n<answer>{PLAN}</answer>",
    "in brackets": f"[THINK]The cup is left.[/THINK]{PLAN}",
}


@pytest.mark.parametrize("name", THOUGHT)
def test_what_was_thought_is_kept_apart(name: str) -> None:
    thought, answer = split_reasoning(THOUGHT[name])
    assert (thought, answer) == ("The cup is left.", PLAN)


def test_reasoning_in_a_field_of_its_own_is_the_thought() -> None:
    for field in ("reasoning_content", "reasoning"):
        reply = json.dumps(message(PLAN, **{field: "\nThe cup is left."})).encode()
        answer = chat_answer(reply, "server", ServerOptions())
        assert (answer.thought, answer.text) == ("The cup is left.", PLAN)


def test_a_letter_is_taken_out_of_its_tags() -> None:
    assert split_reasoning("<think>Left of it.</think><answer>B</answer><|im_end|>") == ("Left of it.", "B")


def test_a_plan_whose_text_contains_a_marker_is_kept() -> None:
    plan = '{"reasoning":"</think><|im_end|>","subgoals":[],"done":true}'
    assert only_json_object(split_reasoning(plan)[1]) == plan


@pytest.mark.parametrize(
    "text",
    ["</s>" * 200_000, " " * 1_000_000 + "x", "{" * 500_000, "{}" * 300_000, "<think>" * 100_000, "</think>" * 99_999],
)
def test_a_long_answer_is_cleaned_in_linear_time(text: str) -> None:
    """A second for a megabyte would be quadratic."""
    only_json_object(split_reasoning(text)[1])


JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text(max_size=6), st.just(PLAN)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(
            st.sampled_from(["choices", "message", "content", "finish_reason", "error", "usage", "refusal", "text",
                             "reasoning", "data", "id", "prompt_tokens"]), inner, max_size=4,
        ),
    ),
    max_leaves=15,
)  # fmt: skip


@given(reply=st.one_of(JSON.map(lambda value: json.dumps(value).encode()), st.binary(max_size=60)))
@FEW
def test_any_reply_is_an_answer_or_a_backend_error(reply: bytes) -> None:
    try:
        answer = chat_answer(reply, "http://server", ServerOptions())
    except BackendError:
        pass
    else:
        assert isinstance(answer.text, str)
        assert answer.prompt_tokens >= 0
    try:
        assert all(isinstance(name, str) for name in model_names(reply, "http://server"))
    except BackendError:
        pass


@given(content=JSON, finish=JSON, reasoning=JSON)
@FEW
def test_any_message_is_an_answer_or_a_backend_error(content: object, finish: object, reasoning: object) -> None:
    body = {"choices": [{"message": {"content": content, "reasoning": reasoning}, "finish_reason": finish}]}
    try:
        answer = chat_answer(json.dumps(body).encode(), "http://server", ServerOptions())
    except BackendError:
        return
    assert isinstance(answer.text, str)


@pytest.mark.parametrize(
    "reply", [b"[" * 100_000, b'{"error":' * 5000, b"\xff\xfe", b"", b'{"choices":[{"message":' * 900]
)
def test_a_malformed_reply_is_a_backend_error(reply: bytes) -> None:
    with pytest.raises(BackendError):
        chat_answer(reply, "http://server", ServerOptions())


@given(value=st.text(max_size=40))
@FEW
def test_any_retry_after_header_is_a_time_or_ignored(value: str) -> None:
    seconds = retry_after_s(value)
    assert seconds is None or seconds >= 0


def test_a_retry_date_beyond_what_a_clock_holds_is_ignored() -> None:
    assert retry_after_s("Mon, 01 Jan 99999999999999999999 00:00:00 GMT") is None


# --- a server that dies ---------------------------------------------------------------------------------------------

TURN = json.dumps(message('{"subgoals":[{"skill":"turn","degrees":30}],"done":false}'))
KEEPS_CONNECTIONS = """
import http.server, os, sys

class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        self.rfile.read(int(self.headers["content-length"]))
        if sys.argv[2] == "dies":
            os._exit(1)
        body = sys.argv[2].encode()
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""
"""A model server in a process of its own, which can be killed; its second argument is what it answers."""


@contextmanager
def model_server(port: int, answer: str = TURN) -> Iterator[None]:
    """A server for the block, killed at its end."""
    process = subprocess.Popen([sys.executable, "-c", KEEPS_CONNECTIONS, str(port), answer], stderr=subprocess.DEVNULL)
    try:
        until_s = time.monotonic() + 20.0
        while True:
            try:
                socket.create_connection(("127.0.0.1", port)).close()
            except ConnectionRefusedError:
                assert time.monotonic() < until_s, "the server does not start"
                time.sleep(0.05)
            else:
                break
        yield
    finally:
        process.kill()
        process.wait()


@pytest.fixture
def port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return int(listening.getsockname()[1])


@dataclass
class SimulatedClock:
    """A clock that a test moves by hand."""

    now_s: float = 0.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def rested() -> SimulatedClock:
    """The clock by which a failed server rests."""
    return SimulatedClock()


@pytest.fixture
def served(port: int, base: MobileBase, rested: SimulatedClock) -> Iterator[Planner]:
    """A planner whose model is behind a server that is not asked for 0.5 s after a failed plan."""
    breaker = CircuitBreaker(failures=1, rest_s=0.5, clock=rested)
    url = f"http://127.0.0.1:{port}"
    backend = ServerBackend(url, "m", api_key="", retries=Retries(attempts=2, first_wait_s=0.05), breaker=breaker)
    yield Planner(backend, base)
    backend.close()


@pytest.mark.promise(recovers="with the first plan once it is asked again")
def test_a_model_server_that_dies_is_a_hold_until_it_is_back(
    port: int, served: Planner, rested: SimulatedClock, wall_ahead: Observation, find_chair: Task
) -> None:
    with model_server(port):
        assert isinstance(served.plan(find_chair, wall_ahead, Memory()), Execute)
    for words in ("closed the connection|cannot connect", "server not asked"):
        held = served.plan(find_chair, wall_ahead, Memory())
        assert isinstance(held, Hold)
        assert held.code is Code.BACKEND_FAILED
        assert re.search(words, held.message)
    rested.now_s += 0.5
    with model_server(port):
        assert isinstance(served.plan(find_chair, wall_ahead, Memory()), Execute)


def test_a_model_server_that_dies_while_it_plans_is_a_hold(
    port: int, served: Planner, wall_ahead: Observation, find_chair: Task
) -> None:
    with model_server(port, "dies"):
        held = served.plan(find_chair, wall_ahead, Memory())
    assert isinstance(held, Hold)
    assert held.code is Code.BACKEND_FAILED


@pytest.mark.promise(recovers="at once, without a hold")
def test_a_model_server_restarted_between_two_plans_is_reached_over_a_new_connection(
    port: int, served: Planner, wall_ahead: Observation, find_chair: Task
) -> None:
    for _ in range(2):
        with model_server(port):
            for _ in range(2):
                assert isinstance(served.plan(find_chair, wall_ahead, Memory()), Execute)


# --- the environment ------------------------------------------------------------------------------------------------

BROKEN = {
    "IPv6 in brackets in no_proxy": {"no_proxy": "[::1]:8080"},
    "IPv6 network in no_proxy": {"no_proxy": "fe80::/10"},
    "SOCKS": {"all_proxy": "socks5://user:secret@127.0.0.1:1"},
    "unknown scheme": {"http_proxy": "foo://user:secret@host:1"},
    "no such certificate file": {"SSL_CERT_FILE": "/nonexistent"},
}


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> Callable[[dict[str, str]], None]:
    """Replace the proxy variables."""

    def replace(values: dict[str, str]) -> None:
        for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy", "ws_proxy", "SSL_CERT_FILE", "SSL_CERT_DIR"):
            monkeypatch.delenv(name, raising=False)
            monkeypatch.delenv(name.upper(), raising=False)
        for name, value in values.items():
            monkeypatch.setenv(name, value)

    return replace


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_proxy_setting_is_named_without_its_password(
    name: str, environment: Callable[[dict[str, str]], None]
) -> None:
    environment(BROKEN[name])
    with pytest.raises(ConfigError) as error:
        ServerBackend("http://10.0.0.1:8000", "model")
    assert next(iter(BROKEN[name])) in str(error.value)
    assert "no_proxy" in str(error.value)
    assert "secret" not in str(error.value)


def test_a_server_on_this_machine_needs_no_proxy(environment: Callable[[dict[str, str]], None]) -> None:
    environment(BROKEN["SOCKS"])
    ServerBackend("http://127.0.0.1:8000", "model").close()


@pytest.mark.parametrize("name", ["SOCKS", "unknown scheme"])
def test_a_robot_behind_a_broken_proxy_holds(
    name: str, environment: Callable[[dict[str, str]], None], base: MobileBase, wall_ahead: Observation
) -> None:
    environment({"ws_proxy": next(iter(BROKEN[name].values()))})
    planner = RemotePlanner("ws://10.0.0.1:8421", base)
    try:
        decision = planner.plan(Task("go", "navigation"), wall_ahead, Memory())
        with pytest.raises(BackendError, match="ws_proxy"):
            planner.check()
    finally:
        planner.close()
    assert isinstance(decision, Hold)
    assert decision.code is Code.BACKEND_FAILED
    assert "ws_proxy" in decision.message
    assert "secret" not in decision.message


@pytest.mark.parametrize("key", ["schlüssel", "two\nlines", "nul\0"])
def test_a_key_that_http_cannot_carry_is_a_config_error(key: str) -> None:
    with pytest.raises(ConfigError, match="SI_EMBODIED_SERVER_KEY") as error:
        ServerBackend("http://127.0.0.1:8000", "model", api_key=key)
    assert key not in str(error.value)


@pytest.mark.parametrize("url", ["ws://[::1", "ftp://host", "", "ws://", "http://user:password@host"])
def test_an_invalid_planning_server_address_is_a_config_error(url: str, base: MobileBase) -> None:
    with pytest.raises(ConfigError):
        RemotePlanner(url, base)


@given(url=st.text(max_size=30).map(lambda text: f"http://{text}"))
@FEW
def test_any_address_is_accepted_or_a_config_error(url: str) -> None:
    try:
        ServerBackend(url, "model").close()
    except ConfigError:
        pass
