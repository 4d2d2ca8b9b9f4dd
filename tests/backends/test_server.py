"""A model on an external server: correct requests, and no wait beyond the deadline."""

from __future__ import annotations

import base64
import io
import itertools
import json
import logging
import math
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("httpx")
from PIL import Image

from si_embodied import Prompt
from si_embodied.backends.breaker import CircuitBreaker
from si_embodied.backends.config import ServerOptions
from si_embodied.backends.logprobs import tokens_of
from si_embodied.backends.retries import Retries
from si_embodied.backends.server import ServerBackend
from si_embodied.certainty import Token
from si_embodied.errors import BackendError, ConfigError, DeadlineExceeded, PromptTooLong, UnknownNameError
from si_embodied.plan import plan_schema
from si_embodied.thinking import REQUEST

TURN = '{"subgoals":[{"skill":"turn","degrees":90}],"done":false}'
AT_ONCE = Retries(attempts=3, first_wait_s=0.0, longest_wait_s=0.0)

Make = Callable[..., ServerBackend]


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """Runs tests/servers/misbehaving_server.py in its own process."""
    script = Path(__file__).parents[1] / "servers" / "misbehaving_server.py"
    with subprocess.Popen(
        [sys.executable, str(script)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as server:
        assert server.stdout is not None
        yield f"http://127.0.0.1:{server.stdout.readline().strip()}"
        server.kill()


_names = (f"test-{number}" for number in itertools.count())


@pytest.fixture
def make(address: str) -> Iterator[Make]:
    """Creates backends of a server that handles their requests with the given behaviours, in order."""
    made: list[ServerBackend] = []

    def make(*ways: str, model: str = "model", **settings: Any) -> ServerBackend:
        url = f"{address}/{next(_names)}/{','.join(ways)}"
        made.append(ServerBackend(url, model, **{"retries": AT_ONCE, "api_key": "", **settings}))
        return made[-1]

    yield make
    for backend in made:
        backend.close()


def seen(backend: ServerBackend) -> list[Any]:
    """The requests that the server has received from this backend."""
    url = backend._url.rpartition("/")[0] + "/seen"
    with urllib.request.urlopen(url, timeout=5) as reply:
        return json.load(reply)  # type: ignore[no-any-return]


def prompt(*sizes: tuple[int, int]) -> Prompt:
    """One about images of these (width, height), each of another grey."""
    content: list[Any] = ["Find the chair. "]
    for view, (width, height) in enumerate(sizes):
        content += [f"View {view}: ", np.full((height, width, 3), 50 + view, np.uint8), "\n"]
    return Prompt("nav/v1", "You drive a robot.", tuple(content), plan_schema("navigation", max(1, len(sizes))))


def goto(view: int, x: int, y: int) -> str:
    return json.dumps(
        {"subgoals": [{"skill": "goto", "object": "chair", "view": view, "point": [x, y]}], "done": False}
    )


# --- what is asked --------------------------------------------------------------------------------------------------


def test_the_answer_includes_tokens_and_latency(make: Make) -> None:
    completion = make("ok").generate(prompt((8, 8)), deadline_s=5)
    assert completion.text == TURN
    assert (completion.prompt_tokens, completion.completion_tokens) == (21, 13)
    assert set(completion.latency_s) == {"encode", "request"}


def test_a_model_that_is_to_think_is_asked_to_and_gets_the_tokens_for_it(make: Make) -> None:
    """The sentence that SenseNova-SI 1.5 was trained with comes last; the limit of tokens is for both parts."""
    backend = make("ok", thinking_tokens=300, options=ServerOptions(max_tokens=200))
    backend.generate(prompt((8, 8)), deadline_s=5)
    (request,) = seen(backend)
    assert request["body"]["max_tokens"] == 500
    assert request["body"]["messages"][-1]["content"][-1]["text"].endswith(REQUEST)


def test_a_prompt_beyond_the_servers_context_is_told_apart_from_a_failure(make: Make) -> None:
    """Not asked again as it is, and not counted by the circuit breaker: the planner shows less instead."""
    backend = make("context", "context", "context", "ok")
    for _ in range(3):
        with pytest.raises(PromptTooLong, match=r"context length is 8192 .*; show fewer or smaller images"):
            backend.generate(prompt((8, 8)), deadline_s=5)
    assert len(seen(backend)) == 3
    assert backend.generate(prompt((8, 8)), deadline_s=5).text == TURN


def test_text_and_images_are_sent_in_reading_order(make: Make) -> None:
    backend = make("ok", model="sensenova-si")
    backend.generate(prompt((8, 6), (4, 4)), deadline_s=5)
    (request,) = seen(backend)
    body = request["body"]
    assert request["path"].endswith("/v1/chat/completions")
    assert (body["model"], body["temperature"], body["stream"]) == ("sensenova-si", 0, False)
    system, user = body["messages"]
    assert system == {"role": "system", "content": "You drive a robot."}
    assert [part["type"] for part in user["content"]] == [
        "text", "text", "image_url", "text", "text", "image_url", "text"
    ]  # fmt: skip
    assert picture(user["content"][2]).shape == (6, 8, 3)
    assert (picture(user["content"][5]) == 51).all()


def picture(part: dict[str, Any]) -> Any:
    head, data = part["image_url"]["url"].split(",")
    assert head in ("data:image/png;base64", "data:image/jpeg;base64")
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(data))))


def test_images_are_sent_as_jpeg_on_request(make: Make) -> None:
    backend = make("ok", options=ServerOptions(image_format="jpeg", jpeg_quality=80))
    backend.generate(prompt((64, 48)), deadline_s=5)
    url = seen(backend)[0]["body"]["messages"][1]["content"][2]["image_url"]["url"]
    assert url.startswith("data:image/jpeg;base64,")
    image = Image.open(io.BytesIO(base64.b64decode(url.split(",")[1])))
    assert (image.format, image.size) == ("JPEG", (64, 48))


@pytest.mark.parametrize(
    ("answer_format", "where"),
    [
        ("json_schema", ("response_format", "json_schema", "schema")),
        ("json_object", ("response_format", "schema")),
        ("guided_json", ("guided_json",)),
    ],
)
def test_the_schema_is_sent_in_the_servers_format(make: Make, answer_format: str, where: tuple[str, ...]) -> None:
    backend = make("ok", options=ServerOptions(answer_format=answer_format))  # type: ignore[arg-type]
    asked = prompt((8, 8))
    backend.generate(asked, deadline_s=5)
    found = seen(backend)[0]["body"]
    for key in where:
        found = found[key]
    assert found == json.loads(json.dumps(asked.schema))


def test_a_server_without_schema_support_gets_none(make: Make) -> None:
    backend = make("ok", options=ServerOptions(answer_format="none"))
    backend.generate(prompt((8, 8)), deadline_s=5)
    asked = {"model", "messages", "temperature", "max_tokens", "stream", "logprobs", "top_logprobs"}
    assert set(seen(backend)[0]["body"]) == asked


def test_a_server_that_sends_token_probabilities_gives_a_certainty(make: Make) -> None:
    """The tokens are pairs of characters."""
    certainty = make("sure").generate(prompt((8, 8)), deadline_s=5).certainty
    spelled = ["{", '"turn"', "90}"]
    characters = [k for part in spelled for k in range(TURN.index(part, 12), TURN.index(part, 12) + len(part))]
    assert certainty is not None
    assert certainty.decision == pytest.approx(0.9 ** len({k // 2 for k in characters}))
    assert certainty.point is None


def test_the_point_is_measured_as_the_model_wrote_it_and_not_as_it_was_converted(make: Make) -> None:
    """322 of 644 pixels is 500 in thousandths."""
    backend = make("sure", model=goto(0, 322, 119), options=ServerOptions(family="qwen2_5_vl"))
    completion = backend.generate(prompt((640, 480)), deadline_s=5)
    assert "[500," in completion.text
    assert completion.certainty is not None
    assert completion.certainty.point is not None
    assert 0.9**8 < completion.certainty.point < 0.9**3


@pytest.mark.parametrize("status", [400, 422])
def test_a_server_that_refuses_to_send_probabilities_is_asked_without_them(make: Make, status: int) -> None:
    """Once; later requests do not ask for them."""
    backend = make(f"unsure:{status}")
    for _ in range(2):
        completion = backend.generate(prompt((8, 8)), deadline_s=5)
        assert (completion.text, completion.certainty) == (TURN, None)
    asked = [request["body"] for request in seen(backend)]
    assert ["logprobs" in body for body in asked] == [True, False, False]
    assert all(asked[1][key] == value for key, value in asked[0].items() if "logprobs" not in key)


@pytest.mark.parametrize(
    "logprobs",
    [
        None, 1, [], {}, {"content": None}, {"content": [1]}, {"content": [{}]}, {"content": [{"token": "a"}]},
        {"content": [{"token": "a", "logprob": None}]}, {"content": [{"token": "a", "logprob": float("nan")}]},
        {"content": [{"token": "a", "logprob": 10**400}]}, {"content": [{"bytes": [256], "logprob": 0}]},
    ],
)  # fmt: skip
def test_malformed_probabilities_are_no_probabilities(logprobs: Any) -> None:
    assert tokens_of({"logprobs": logprobs}) == ()


def test_tokens_are_read_by_their_bytes_and_impossible_probabilities_are_bounded() -> None:
    content = [
        {"token": "\ufffd", "bytes": [0xC3], "logprob": -math.inf},
        {"token": "b", "bytes": None, "logprob": 1e-7},
        {"token": "c", "logprob": -9999.0},
    ]
    assert tokens_of({"logprobs": {"content": content}}) == (Token(b"\xc3", 0.0), Token(b"b", 1.0), Token(b"c", 0.0))


def test_the_api_key_is_sent_but_never_logged(make: Make, caplog: pytest.LogCaptureFixture) -> None:
    backend = make("ok", "status:401", "status:500", api_key="very-secret")
    with caplog.at_level(logging.DEBUG):
        backend.generate(prompt((8, 8)), deadline_s=5)
        with pytest.raises(BackendError) as refused:
            backend.generate(prompt((8, 8)), deadline_s=5)
        with pytest.raises(BackendError) as failed:
            backend.generate(prompt((8, 8)), deadline_s=5)
    assert seen(backend)[0]["headers"]["authorization"] == "Bearer very-secret"
    assert "SI_EMBODIED_SERVER_KEY" in str(refused.value)
    assert "very-secret" not in str(refused.value) + str(failed.value) + caplog.text + repr(backend)


def test_the_key_comes_from_the_environment(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SI_EMBODIED_SERVER_KEY", "from-outside")
    backend = make("ok", api_key=None)
    backend.generate(prompt((8, 8)), deadline_s=5)
    assert seen(backend)[0]["headers"]["authorization"] == "Bearer from-outside"


# --- conventions ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", ["qwen3_vl", "internvl"])
def test_points_in_thousandths_are_not_converted(make: Make, family: str) -> None:
    backend = make("ok", model=goto(0, 512, 730), options=ServerOptions(family=family))  # type: ignore[arg-type]
    assert json.loads(backend.generate(prompt((640, 480)), deadline_s=5).text) == json.loads(goto(0, 512, 730))


def test_pixels_are_converted_to_thousandths_of_the_sent_image(make: Make) -> None:
    """640 x 480 is resized to 644 x 476, the nearest multiples of 28; 322 is the middle of 644."""
    backend = make("ok", model=goto(0, 322, 119), options=ServerOptions(family="qwen2_5_vl"))
    answer = json.loads(backend.generate(prompt((640, 480)), deadline_s=5).text)
    assert answer["subgoals"][0]["point"] == [500, 250]
    body = seen(backend)[0]["body"]
    assert picture(body["messages"][1]["content"][2]).shape == (476, 644, 3)
    assert "view 0 is 644 x 476" in body["messages"][0]["content"]


def test_internvl_gets_numbered_images_as_in_training(make: Make) -> None:
    backend = make("ok", options=ServerOptions(family="internvl"))
    backend.generate(prompt((8, 8), (8, 8)), deadline_s=5)
    content = seen(backend)[0]["body"]["messages"][1]["content"]
    shown = "".join(part.get("text", "<image>") for part in content)
    assert shown == "Find the chair. View 0: Image-1: <image>\n\nView 1: Image-2: <image>\n\n"


# --- a server that fails --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("behaviour", ["status:500", "status:503", "later:0", "reset", "truncated"])
def test_a_transient_failure_is_retried(make: Make, behaviour: str) -> None:
    backend = make(behaviour, behaviour, "ok")
    assert backend.generate(prompt((8, 8)), deadline_s=5).text == TURN
    assert len(seen(backend)) == 3


@pytest.mark.parametrize(
    ("behaviour", "words"),
    [
        ("status:500", ("500", "as asked for", "asked 3 times")),
        ("reset", ("closed the connection", "see its log", "asked 3 times")),
        ("truncated", ("closed the connection", "asked 3 times")),
        ("status:400", ("400", "as asked for")),
        ("status:401", ("API key", "SI_EMBODIED_SERVER_KEY")),
        ("status:404", ("no such model", "/v1/models")),
        ("status:413", ("too large", "smaller images")),
        ("status:302", ("302",)),
        ("words", ("not JSON", "<html>")),
        ("shape", ("choices[0].message.content",)),
        ("cut", ("max_tokens=512", "raise it")),
        ("huge", ("more than 1048576 bytes", "max_answer_bytes")),
    ],
)
def test_a_permanent_failure_names_the_cause_and_the_fix(make: Make, behaviour: str, words: tuple[str, ...]) -> None:
    with pytest.raises(BackendError) as error:
        make(behaviour).generate(prompt((8, 8)), deadline_s=5)
    assert all(word in str(error.value) for word in words), error.value
    assert not isinstance(error.value, DeadlineExceeded)


def test_a_client_error_is_not_retried(make: Make) -> None:
    backend = make("status:400")
    with pytest.raises(BackendError):
        backend.generate(prompt((8, 8)), deadline_s=5)
    assert len(seen(backend)) == 1


@pytest.mark.parametrize("behaviour", ["slow:30", "silent", "hang", "drip"])
def test_no_server_delays_beyond_the_deadline(make: Make, behaviour: str) -> None:
    started = time.monotonic()
    with pytest.raises(DeadlineExceeded, match="deadline_s"):
        make(behaviour).generate(prompt((8, 8)), deadline_s=0.4)
    assert 0.4 <= time.monotonic() - started < 1.5


def test_a_server_that_is_not_running_is_reported() -> None:
    with socket.create_server(("127.0.0.1", 0)) as unused:
        port = unused.getsockname()[1]
    backend = ServerBackend(f"http://127.0.0.1:{port}", "model", retries=AT_ONCE)
    with pytest.raises(BackendError, match=rf"cannot connect to .*:{port}.* is the server running"):
        backend.generate(prompt((8, 8)), deadline_s=5)
    backend.close()


def test_an_unanswered_connection_ends_at_the_deadline() -> None:
    """A full backlog: the kernel neither accepts nor refuses."""
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen(0)
        address = deaf.getsockname()
        crowd = [socket.socket() for _ in range(4)]
        for other in crowd:
            other.setblocking(False)
            other.connect_ex(address)
        backend = ServerBackend(f"http://127.0.0.1:{address[1]}", "model", retries=AT_ONCE)
        started = time.monotonic()
        with pytest.raises(DeadlineExceeded):
            backend.generate(prompt((8, 8)), deadline_s=0.4)
        assert time.monotonic() - started < 1.5
        backend.close()
        for other in crowd:
            other.close()


def test_retry_after_is_honoured(make: Make) -> None:
    backend = make("later:1", "ok")
    backend.generate(prompt((8, 8)), deadline_s=10)
    first, second = seen(backend)
    assert second["time"] - first["time"] >= 1.0


def test_a_wait_past_the_deadline_fails_at_once(make: Make) -> None:
    started = time.monotonic()
    with pytest.raises(DeadlineExceeded, match=r"429.*next retry is due in 30"):
        make("later:30").generate(prompt((8, 8)), deadline_s=5)
    assert time.monotonic() - started < 2


def test_a_request_can_be_canceled_from_another_thread(make: Make) -> None:
    backend = make("silent")
    threading.Timer(0.3, backend.cancel).start()
    started = time.monotonic()
    with pytest.raises(BackendError, match="canceled"):
        backend.generate(prompt((8, 8)), deadline_s=20)
    assert time.monotonic() - started < 5


def test_several_threads_share_a_backend(make: Make) -> None:
    backend = make("slow:0.4")
    started = time.monotonic()
    threads = [
        threading.Thread(target=backend.generate, args=(prompt((8, 8)),), kwargs={"deadline_s": 10}) for _ in range(5)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(seen(backend)) == 5
    assert time.monotonic() - started < 5 * 0.4


# --- the circuit breaker --------------------------------------------------------------------------------------------


def test_the_breaker_opens_on_repeated_failures_and_probes_later(make: Make) -> None:
    now_s = [0.0]
    breaker = CircuitBreaker(failures=2, rest_s=10.0, clock=lambda: now_s[0])
    backend = make("status:500", "status:500", "ok", retries=Retries(attempts=1), breaker=breaker)
    for _ in range(2):
        with pytest.raises(BackendError, match="answered 500"):
            backend.generate(prompt((8, 8)), deadline_s=5)
    with pytest.raises(BackendError, match=r"not asked: the last 2 requests failed.*10\.0 s.*answered 500"):
        backend.generate(prompt((8, 8)), deadline_s=5)
    assert len(seen(backend)) == 2
    now_s[0] = 10.5
    assert backend.generate(prompt((8, 8)), deadline_s=5).text == TURN
    assert backend.generate(prompt((8, 8)), deadline_s=5).text == TURN


def test_one_probe_tests_a_failed_server_and_its_failure_reopens_the_breaker() -> None:
    now_s = [0.0]
    breaker = CircuitBreaker(failures=3, rest_s=5.0, clock=lambda: now_s[0])
    for _ in range(3):
        breaker.enter()
        breaker.failed("dead")
    now_s[0] = 5.0
    breaker.enter()
    with pytest.raises(BackendError, match="a probe is in progress"):
        breaker.enter()
    breaker.failed("still dead")
    with pytest.raises(BackendError, match=r"5\.0 s.*still dead"):
        breaker.enter()


def test_a_probe_that_takes_longer_than_the_rest_counts_as_abandoned() -> None:
    now_s = [0.0]
    breaker = CircuitBreaker(failures=1, rest_s=5.0, clock=lambda: now_s[0])
    breaker.enter()
    breaker.failed("hung")
    now_s[0] = 5.0
    breaker.enter()  # never ends
    now_s[0] = 9.9
    with pytest.raises(BackendError, match="a probe is in progress"):
        breaker.enter()
    now_s[0] = 10.0
    breaker.enter()
    breaker.succeeded()
    breaker.enter()


def test_a_deadline_too_short_to_judge_the_server_by_does_not_count_as_its_failure(make: Make) -> None:
    breaker = CircuitBreaker(failures=1)
    backend = make("hang", "hang", "ok", "hang", breaker=breaker)
    for deadline_s in (0.001, 0.3):
        with pytest.raises(DeadlineExceeded):
            backend.generate(prompt((8, 8)), deadline_s=deadline_s)
    while len(seen(backend)) < 2:  # a request may be canceled before it is sent
        with pytest.raises(DeadlineExceeded):
            backend.generate(prompt((8, 8)), deadline_s=0.3)
    assert backend.generate(prompt((8, 8)), deadline_s=5).text == TURN
    with pytest.raises(DeadlineExceeded):
        backend.generate(prompt((8, 8)), deadline_s=1.1)
    with pytest.raises(BackendError, match="not asked: the last 1 requests failed"):
        backend.generate(prompt((8, 8)), deadline_s=5)


def test_a_short_deadline_does_not_excuse_a_server_that_answers_with_an_error(make: Make) -> None:
    backend = make("later:30", breaker=CircuitBreaker(failures=1))
    with pytest.raises(DeadlineExceeded, match="429"):
        backend.generate(prompt((8, 8)), deadline_s=0.9)
    with pytest.raises(BackendError, match="not asked"):
        backend.generate(prompt((8, 8)), deadline_s=5)


def test_requests_with_a_breaker_of_their_own_do_not_stop_the_others(make: Make) -> None:
    plans = make("status:500", "status:500", "status:500", "ok", retries=Retries(attempts=1))
    questions = plans.apart()
    for _ in range(3):
        with pytest.raises(BackendError, match="answered 500"):
            questions.generate(prompt((8, 8)), deadline_s=5)
    with pytest.raises(BackendError, match="not asked"):
        questions.generate(prompt((8, 8)), deadline_s=5)
    assert plans.generate(prompt((8, 8)), deadline_s=5).text == TURN


def test_only_consecutive_failures_open_the_breaker() -> None:
    breaker = CircuitBreaker(failures=2)
    for _ in range(5):
        breaker.enter()
        breaker.failed("once")
        breaker.enter()
        breaker.succeeded()


# --- whether it is ready --------------------------------------------------------------------------------------------


def test_a_ready_server_lists_its_models(make: Make) -> None:
    assert make("ok", "models:other+model").check() == ("other", "model")


def test_a_healthy_server_that_cannot_list_models_is_accepted(make: Make) -> None:
    """`transformers serve` does this before the first download from the hub."""
    assert make("ok", "status:500").check() == ()


def test_a_server_without_health_endpoint_is_asked_for_its_models(make: Make) -> None:
    assert make("status:404", "models:model").check() == ("model",)


@pytest.mark.parametrize(
    ("ways", "words"),
    [
        (("ok", "models:a+b"), ("does not serve 'model'", "a, b")),
        (("status:503",), ("not ready", "503")),
        (("status:404", "status:503"), ("not ready", "503")),
        (("ok", "words"), ("not JSON",)),
        (("ok", "shape"), ("not a list of models",)),
    ],
)
def test_a_server_that_is_not_ready_is_reported_with_the_reason(
    make: Make, ways: tuple[str, ...], words: tuple[str, ...]
) -> None:
    with pytest.raises(BackendError) as error:
        make(*ways).check()
    assert all(word in str(error.value) for word in words), error.value


# --- settings -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "url", ["127.0.0.1:8000", "ftp://host", "http://", "", "http://user:password@host:8000", "http://[::1"]
)
def test_an_invalid_url_is_rejected(url: str) -> None:
    with pytest.raises(ConfigError) as error:
        ServerBackend(url, "model")
    assert "password@" not in str(error.value)


def test_the_url_may_end_in_v1(address: str) -> None:
    backend = ServerBackend(f"{address}/{next(_names)}/ok/v1/", "model", api_key="")
    assert backend.generate(prompt((8, 8)), deadline_s=5).text == TURN
    backend.close()


@pytest.mark.parametrize(
    ("settings", "error"),
    [
        ({"family": "llava"}, UnknownNameError),
        ({"answer_format": "xml"}, UnknownNameError),
        ({"image_format": "gif"}, UnknownNameError),
        ({"max_tokens": 0}, ConfigError),
        ({"jpeg_quality": 100}, ConfigError),
        ({"connect_timeout_s": 0.0}, ConfigError),
    ],
)
def test_an_invalid_option_is_rejected(settings: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error):
        ServerOptions(**settings)


def test_a_closed_backend_raises(make: Make) -> None:
    backend = make("ok")
    backend.close()
    backend.close()
    with pytest.raises(RuntimeError, match="closed"):
        backend.generate(prompt((8, 8)), deadline_s=5)
