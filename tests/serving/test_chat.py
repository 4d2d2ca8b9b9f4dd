"""OpenAI's API of the planning server, with OpenAI's own client."""

from __future__ import annotations

import base64
import io
import json
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pytest

pytest.importorskip("uvicorn")
pytest.importorskip("websockets")
pytest.importorskip("openai")
import httpx
import openai
from PIL import Image

from si_embodied import Execute, Observation, Task
from si_embodied.config import PlannerConfig
from si_embodied.embodiment import MobileBase
from si_embodied.memory import Memory
from si_embodied.serving.messages import CONTENT_TYPE, PLAN_PATH, PlanRequest, pack_request, unpack_reply

Server: TypeAlias = Any  # tests/serving/conftest.py
StartServer: TypeAlias = Callable[..., AbstractContextManager[Any]]

KEY = "0123456789abcdef0123"
ALIAS = "OpenGVLab/InternVL3-8B"


def client_of(server: Server, key: str = "unused") -> openai.OpenAI:
    http = httpx.Client(trust_env=False)
    return openai.OpenAI(base_url=f"{server.http}/v1", api_key=key, max_retries=0, http_client=http, timeout=30)


def picture(size: tuple[int, int], colour: tuple[int, int, int], kind: str, label: str) -> dict[str, Any]:
    stream = io.BytesIO()
    Image.new("RGB", size, colour).save(stream, kind)
    data = base64.b64encode(stream.getvalue()).decode()
    return {"type": "image_url", "image_url": {"url": f"data:image/{label};base64,{data}"}}


def text(words: str) -> dict[str, Any]:
    return {"type": "text", "text": words}


def user(content: Any) -> dict[str, Any]:
    return {"role": "user", "content": content}


def ask(server: Server, content: Any, **options: Any) -> Any:
    client: Any = client_of(server)
    return client.chat.completions.create(model=ALIAS, messages=[user(content)], **options)


def said(reply: Any) -> str:
    return str(reply.choices[0].message.content)


def settings(server: Server, **options: Any) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(said(ask(server, "settings", **options)))
    return found


def test_a_text_is_answered(server: Server) -> None:
    reply = ask(server, "hello")
    assert (said(reply), reply.choices[0].finish_reason, reply.model) == ("user: hello", "stop", ALIAS)
    assert (reply.usage.prompt_tokens, reply.usage.completion_tokens, reply.usage.total_tokens) == (7, 1, 8)


def test_images_are_read_in_any_order_whatever_their_label_says(server: Server) -> None:
    """Older clients of EmbodiedBench send PNG images labelled as JPEG."""
    content = [
        picture((8, 6), (255, 0, 0), "PNG", "jpeg"),
        text("between"),
        picture((5, 4), (0, 0, 255), "PNG", "png"),
        picture((16, 16), (9, 9, 9), "JPEG", "png"),
        text("after"),
    ]
    assert said(ask(server, content)) == "user: [8x6 [255   0   0]]between[5x4 [  0   0 255]][16x16 [9 9 9]]after"


def test_thirty_two_frames_of_a_video_are_read_and_one_more_pixel_is_refused(server: Server) -> None:
    """The limit is 32 frames of 1280 x 720, as VSI-Bench shows a video."""
    frames = [picture((1280, 720), (9, 9, 9), "JPEG", "jpeg")] * 32
    assert said(ask(server, frames)) == f"user: {'[1280x720 [9 9 9]]' * 32}"
    with pytest.raises(openai.BadRequestError, match="got at least 29491201; send fewer or smaller"):
        ask(server, [*frames, picture((1, 1), (9, 9, 9), "PNG", "png")])


def test_earlier_turns_are_kept_and_system_messages_joined(server: Server) -> None:
    messages = [
        {"role": "system", "content": "one"},
        {"role": "developer", "content": [text("two")]},
        user("hello"),
        {"role": "assistant", "content": "yes?", "refusal": None, "tool_calls": None, "annotations": []},
        user("bye"),
    ]
    client: Any = client_of(server)
    reply = client.chat.completions.create(model="obedient", messages=messages)
    assert said(reply) == "system: one\ntwo; user: hello; assistant: yes?; user: bye"


def test_settings_reach_the_model(server: Server) -> None:
    assert settings(server) | {"seed": 0} == {
        "schema": None, "lenient": False, "temperature": 0.0, "seed": 0, "max_tokens": 1024
    }  # fmt: skip
    found = settings(server, temperature=0.5, seed=-3, max_tokens=5, max_completion_tokens=6)
    assert (found["temperature"], found["max_tokens"]) == (0.5, 6)
    assert found["seed"] >= 0
    assert found["seed"] == settings(server, seed=-3)["seed"]


@pytest.mark.parametrize(
    ("wanted", "schema", "lenient"),
    [
        ({"type": "text"}, None, False),
        ({"type": "json_object"}, {"type": "object"}, True),
        ({"type": "json_object", "schema": {"type": "array"}}, {"type": "array"}, True),
        ({"type": "json_schema", "json_schema": {"name": "p", "schema": {"type": "array"}}}, {"type": "array"}, True),
        (
            {"type": "json_schema", "json_schema": {"name": "p", "schema": {"type": "array"}, "strict": True}},
            {"type": "array"},
            False,
        ),
    ],
)
def test_the_response_format_becomes_a_schema(server: Server, wanted: Any, schema: Any, lenient: bool) -> None:
    found = settings(server, response_format=wanted)
    assert (found["schema"], found["lenient"]) == (schema, lenient)


def test_an_answer_ends_before_a_stop_string_and_at_the_limit(server: Server) -> None:
    reply = ask(server, "count 9 every 0.001", stop=["4 5", "never"])
    assert (said(reply), reply.choices[0].finish_reason) == ("1 2 3 ", "stop")
    reply = ask(server, "count 9 every 0.001", max_tokens=2)
    assert (said(reply), reply.choices[0].finish_reason, reply.usage.completion_tokens) == ("1 2 ", "length", 2)


def test_a_stream_has_the_same_text_and_usage(server: Server) -> None:
    chunks = list(ask(server, "count 9 every 0.001", stream=True, stream_options={"include_usage": True}))
    *body, last, usage = chunks
    assert "".join(chunk.choices[0].delta.content or "" for chunk in body) == "1 2 3 4 5 6 7 8 9 "
    assert body[0].choices[0].delta.role == "assistant"
    assert (last.choices[0].finish_reason, usage.choices, usage.usage.total_tokens) == ("stop", [], 16)
    assert len({chunk.id for chunk in chunks}) == 1
    assert all(chunk.choices for chunk in ask(server, "hello", stream=True))


def test_thoughts_are_beside_the_answer(server: Server) -> None:
    """Where vLLM and DeepSeek's API have them. A stop string ends the answer alone."""
    reply = ask(server, "think 2", stop=["thought"])
    assert (said(reply), reply.choices[0].message.reasoning_content) == ("user: think 2", "thought 1 thought 2 ")
    assert (reply.usage.completion_tokens, reply.usage.completion_tokens_details.reasoning_tokens) == (3, 2)
    *body, _, usage = ask(server, "think 2", stream=True, stream_options={"include_usage": True})
    deltas = [chunk.choices[0].delta.model_dump(exclude_none=True) for chunk in body]
    assert [delta.get("reasoning_content") for delta in deltas] == [None, "thought 1 ", "thought 2 ", None]
    assert deltas[-1]["content"] == "user: think 2"
    assert usage.usage.completion_tokens_details.reasoning_tokens == 2


def test_a_model_that_does_not_think_says_nothing_of_thoughts(server: Server) -> None:
    reply = ask(server, "hello")
    assert not hasattr(reply.choices[0].message, "reasoning_content")
    assert reply.usage.completion_tokens_details is None


def test_a_stream_arrives_while_it_is_written(server: Server) -> None:
    started, arrivals_s = time.monotonic(), []
    for _ in ask(server, "count 4 every 0.3", stream=True):
        arrivals_s.append(time.monotonic() - started)
    assert arrivals_s[0] < arrivals_s[-1] - 0.6


def test_answers_take_turns(server: Server) -> None:
    """Each long one takes 2 s alone; a short one that comes last is complete before them, and none loses text."""
    texts: dict[int, str] = {}

    def count(number: int) -> None:
        texts[number] = said(ask(server, f"count {100 + number} every 0.02"))

    threads = [threading.Thread(target=count, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    time.sleep(0.3)
    assert said(ask(server, "hello")) == "user: hello"
    assert not texts
    for thread in threads:
        thread.join()
    for number, words in texts.items():
        assert words.split() == [str(each) for each in range(1, 101 + number)]


@pytest.mark.parametrize(
    ("method", "path", "status"), [("POST", "/v1/completions", 404), ("GET", "/v1/x", 404), ("PUT", "/v1/models", 405)]
)
def test_an_unknown_route_is_answered_in_openais_form(server: Server, method: str, path: str, status: int) -> None:
    reply = httpx.request(method, server.http + path, trust_env=False)
    error = reply.json()["error"]
    assert (reply.status_code, error["type"], error["param"]) == (status, "invalid_request_error", None)
    assert f"{method} {path}" in error["message"]
    assert ("allow" in reply.headers) == (status == 405)


def test_the_model_and_its_alias_are_listed(server: Server) -> None:
    client = client_of(server)
    assert [model.id for model in client.models.list()] == ["obedient", ALIAS]
    assert client.models.retrieve(ALIAS).id == ALIAS
    with pytest.raises(openai.NotFoundError, match="only: obedient"):
        client.models.retrieve("gpt-4o")


def test_answers_are_counted(server: Server) -> None:
    ask(server, "hello")
    ask(server, "count 2 every 0.001", max_tokens=1)
    page = httpx.get(server.http + "/metrics", trust_env=False).text
    for ending in ("stop", "length"):
        found = re.search(rf'^si_embodied_chats_total{{ending="{ending}"}} (\S+)$', page, re.MULTILINE)
        assert found is not None
        assert float(found[1]) >= 1


def sixteen_bits() -> str:
    stream = io.BytesIO()
    Image.fromarray(np.full((4, 4), 40000, np.uint16)).save(stream, "PNG")
    return "data:image/png;base64," + base64.b64encode(stream.getvalue()).decode()


BAD: dict[str, tuple[dict[str, Any], int, str]] = {
    "no messages": ({"messages": []}, 400, "messages"),
    "no user": ({"messages": [{"role": "system", "content": "x"}]}, 400, "user message"),
    "late system": ({"messages": [user("x"), {"role": "system", "content": "x"}]}, 400, "come first"),
    "role": ({"messages": [{"role": "tool", "content": "x", "tool_call_id": "1"}]}, 400, "'tool'"),
    "model": ({"model": "gpt-4o"}, 404, "only: obedient"),
    "temperature": ({"temperature": 3}, 400, "temperature"),
    "tokens": ({"max_tokens": 0}, 400, "max_tokens"),
    "tools": ({"tools": [{"type": "function", "function": {"name": "f"}}]}, 400, "does not know tools"),
    "unknown": ({"extra_body": {"top_k": 4}}, 400, "does not know top_k"),
    "several": ({"n": 2}, 400, "n: "),
    "logprobs": ({"logprobs": True}, 400, "logprobs"),
    "top_p": ({"top_p": 0.5, "temperature": 1}, 400, "top_p"),
    "stops": ({"stop": ["a", "b", "c", "d", "e"]}, 400, "stop"),
    "format": ({"response_format": {"type": "xml"}}, 400, "response_format"),
    "schema": ({"response_format": {"type": "json_object", "schema": {"type": "text"}}}, 400, "'string'"),
    "web image": (
        {"messages": [user([{"type": "image_url", "image_url": {"url": "http://a/b.png"}}])]},
        400,
        "data URL",
    ),
    "no image": (
        {"messages": [user([{"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}])]},
        400,
        "not a PNG or JPEG",
    ),
    "depth image": (
        {"messages": [user([{"type": "image_url", "image_url": {"url": sixteen_bits()}}])]},
        400,
        "like a depth image",
    ),
    "no base64": (
        {"messages": [user([{"type": "image_url", "image_url": {"url": "data:image/png;base64,?"}}])]},
        400,
        "base64",
    ),
    "bug": ({"messages": [user("break")]}, 500, "ZeroDivisionError"),
}


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("name", BAD)
def test_a_bad_request_is_answered_in_openais_form(server: Server, name: str, stream: bool) -> None:
    options, status, words = BAD[name]
    client: Any = client_of(server)
    with pytest.raises(openai.APIStatusError) as raised:
        client.chat.completions.create(**{"model": ALIAS, "messages": [user("x")], "stream": stream, **options})
    body: Any = raised.value.body
    assert raised.value.status_code == status
    assert set(body) == {"message", "type", "param", "code"}
    assert words in body["message"]
    assert body["code"] == ("model_not_found" if status == 404 else None)


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"[" * 100_000, b"\xff", b'{"model":"\\ud800"}'])
def test_a_body_that_is_no_request_is_refused(server: Server, body: bytes) -> None:
    reply = post(server, "/v1/chat/completions", body, "application/json")
    assert reply.status_code == 400
    assert reply.json()["error"]["type"] == "invalid_request_error"


def test_key_size_rate_and_web_pages_are_checked_as_for_plans(start_server: StartServer) -> None:
    with start_server(api_key=KEY, limits={"most_bytes": 50_000, "per_s": 0.01, "burst": 2}) as server:
        with pytest.raises(openai.AuthenticationError, match="API key"):
            client_of(server).models.list()
        client: Any = client_of(server, KEY)
        messages = [user("x")]
        with pytest.raises(openai.APIStatusError) as large:
            client.chat.completions.create(model="obedient", messages=[user("x" * 60_000)])
        assert large.value.status_code == 413
        with pytest.raises(openai.AuthenticationError, match="web pages"):
            client.models.list(extra_headers={"Origin": "https://example.org"})
        for _ in range(2):
            client.chat.completions.create(model="obedient", messages=messages)
        with pytest.raises(openai.RateLimitError) as limited:
            client.chat.completions.create(model="obedient", messages=messages)
        assert float(limited.value.response.headers["retry-after"]) > 0


def post(server: Server, path: str, body: bytes, content_type: str) -> httpx.Response:
    return httpx.post(server.http + path, content=body, headers={"Content-Type": content_type}, trust_env=False)


@pytest.fixture
def plan(server: Server, base: MobileBase, wall_ahead: Observation) -> Callable[[str], float]:
    """Plan as a robot; returns the seconds it took."""

    def plan(instruction: str) -> float:
        request = PlanRequest(
            "robot", base, PlannerConfig(), Task(instruction, "navigation"), wall_ahead, Memory(), 10.0, 10.0
        )
        body = pack_request(request)
        started = time.monotonic()
        assert isinstance(unpack_reply(post(server, PLAN_PATH, body, CONTENT_TYPE).content), Execute)
        return time.monotonic() - started

    return plan


def test_a_client_that_leaves_in_the_middle_of_a_stream_frees_the_model(server: Server) -> None:
    """Its answer would have taken a minute; the next client is answered at once."""
    stream = ask(server, "count 600 every 0.1", stream=True)
    next(iter(stream))
    stream.close()
    started = time.monotonic()
    assert said(ask(server, "hello")) == "user: hello"
    assert time.monotonic() - started < 5


def test_a_client_that_leaves_before_its_answer_frees_the_model(server: Server) -> None:
    with pytest.raises(openai.APITimeoutError):
        ask(server, "count 600 every 0.1", timeout=0.5)
    started = time.monotonic()
    assert said(ask(server, "hello")) == "user: hello"
    assert time.monotonic() - started < 5


def test_a_plan_interrupts_a_chat_which_loses_nothing(server: Server, plan: Callable[[str], float]) -> None:
    """The chat alone takes 2 s, or a minute if it started again at every plan."""
    stream = iter(ask(server, "count 20 every 0.1", stream=True))
    next(stream)
    took_s = [plan("turn 90") for _ in range(5)]
    assert max(took_s) < 1.0
    assert "".join(chunk.choices[0].delta.content or "" for chunk in stream).split() == [str(n) for n in range(1, 21)]


def test_eight_clients_and_a_robot_lose_nothing_and_plans_are_not_starved(
    server: Server, plan: Callable[[str], float]
) -> None:
    """Half of the plans take at most twice the quiet time; the benchmark below looks at the slowest ones."""
    quiet_s = [plan("wait 0.05") for _ in range(20)]
    client: Any = client_of(server)
    answers: dict[int, str] = {}

    def chat(number: int) -> None:
        messages = [user(f"count {100 + number} every 0.002")]
        answers[number] = said(client.chat.completions.create(model=ALIAS, messages=messages))

    threads = [threading.Thread(target=chat, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    busy_s = [plan("wait 0.05") for _ in range(20)]
    for thread in threads:
        thread.join()
    assert np.median(busy_s) < 2 * np.median(quiet_s)
    assert {number: len(answers[number].split()) for number in answers} == {n: 100 + n for n in range(8)}


@pytest.mark.slow
def test_the_slowest_plans_take_at_most_twice_the_time_beside_chats() -> None:
    """The 99th percentile, with si-nano and eight clients in another process."""
    pytest.importorskip("torch")
    script = Path(__file__).parents[2] / "benchmarks" / "bench_chat.py"
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr
    measured = json.loads(done.stdout.splitlines()[-1])
    assert measured["ratio"] <= 2, done.stdout
    assert measured["answers"] >= 8, done.stdout
