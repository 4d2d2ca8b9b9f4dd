"""`si-embodied serve`, and evaluating on what it serves."""

from __future__ import annotations

import base64
import io
import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from si_embodied.cli.main import main

pytest.importorskip("uvicorn")
pytest.importorskip("websockets")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--host", "0.0.0.0"), ("'0.0.0.0'", "SI_EMBODIED_API_KEY", "127.0.0.1")),
        (("--api-key-file", "/no/such/file"), ("/no/such/file",)),
        (("--server", "http://127.0.0.1:9"), ("--model NAME",)),
        (("--server", "http://127.0.0.1:9", "--model", "m"), ("cannot connect", "is the server running")),
        (("--server", "localhost:9", "--model", "m"), ("http://127.0.0.1:8000", "'localhost:9'")),
    ],
)
def test_what_cannot_be_served_is_one_line_with_the_fix(
    arguments: tuple[str, ...],
    words: tuple[str, ...],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("SI_EMBODIED_API_KEY", raising=False)
    assert main(["serve", *arguments]) == 2
    shown = capsys.readouterr().err
    assert shown.startswith("error: ")
    assert all(word in shown for word in words), shown


def test_the_shipped_planner_is_served_and_evaluated_on_and_stops_on_ctrl_c(
    fake_world: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The whole way: a model in one process, an episode in another."""
    pytest.importorskip("torch")
    command = [sys.executable, "-m", "si_embodied.cli.main", "serve", "--port", "0", "--max-rate", "1000"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        try:
            line = server.stdout.readline()
            url = next(word for word in line.split() if word.startswith("ws://"))
            out = ("--out", str(tmp_path / "run"), "--episodes", "1", "--json")
            assert main(["eval", "--env", fake_world, "--policy", "planner", "--planner", url, *out]) == 0
            row: dict[str, Any] = json.loads(capsys.readouterr().out.splitlines()[-1])
            assert row["episodes"] == 1
            assert "nano" in row["model"]
            assert "BACKEND_FAILED" not in row["holds"]
            server.send_signal(signal.SIGINT)
            assert server.wait(timeout=30) == 0
            assert server.stdout.read() == "stopped\n"
        finally:
            server.kill()


@pytest.mark.slow
def test_the_shipped_planner_answers_as_embodiedbench_asks() -> None:
    """Its client chooses the request by the model's name, and sends a schema without `strict`; PNG is labelled JPEG."""
    pytest.importorskip("torch")
    openai = pytest.importorskip("openai")
    stream = io.BytesIO()
    Image.new("RGB", (500, 500), (200, 30, 30)).save(stream, "PNG")
    image = {"url": "data:image/jpeg;base64," + base64.b64encode(stream.getvalue()).decode()}
    actions = {"type": "array", "items": {"enum": ["[1,2,3,4,5,6,0]", "[1,2,3,4,5,6,1]"]}, "minItems": 1, "maxItems": 3}
    properties = {"reasoning_and_reflection": {"type": "string", "maxLength": 20}, "executable_plan": actions}
    schema = {"type": "object", "properties": properties, "required": [*properties], "additionalProperties": False}
    asked: dict[str, Any] = {
        "model": "Qwen2.5-VL-7B-Instruct",
        "messages": [{"role": "user", "content": [{"type": "text", "text": "Pick the star."}] + 2 * [
            {"type": "image_url", "image_url": image}
        ]}],
        "response_format": {"type": "json_schema", "json_schema": {"name": "embodied_planning", "schema": schema}},
        "temperature": 0,
        "max_tokens": 2048,
    }  # fmt: skip
    command = [sys.executable, "-m", "si_embodied.cli.main", "serve", "--port", "0", "--max-rate", "1000"]
    aliases = ["--alias", "OpenGVLab/InternVL3-8B", "--alias", "Qwen2.5-VL-7B-Instruct"]
    with subprocess.Popen([*command, *aliases], stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        try:
            url = next(word for word in server.stdout.readline().split() if word.startswith("ws://"))
            client = openai.OpenAI(base_url=url.replace("ws", "http", 1) + "/v1", api_key="unused", max_retries=0)
            assert [model.id for model in client.models.list()][1:] == aliases[1::2]
            whole = client.chat.completions.create(**asked).choices[0]
            assert whole.finish_reason == "stop"
            answer = json.loads(whole.message.content)
            assert set(answer) == set(properties)
            assert 1 <= len(answer["executable_plan"]) <= 3
            pieces = client.chat.completions.create(**asked, stream=True)
            assert "".join(piece.choices[0].delta.content or "" for piece in pieces) == whole.message.content
        finally:
            server.kill()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--planner", "ws://127.0.0.1:9", "--model", "m"), ("--planner", "model of its own")),
        (("--planner", "127.0.0.1:9"), ("ws://127.0.0.1:8421",)),
        (("--planner", "ws://127.0.0.1:9"), ("cannot reach ws://127.0.0.1:9", "si-embodied serve")),
        (("--planner", "ws://127.0.0.1:9", "--control", "blank"), ("--control blank",)),
        (("--server", "http://127.0.0.1:9"), ("--model NAME",)),
    ],
)
def test_an_evaluation_on_a_server_that_cannot_be_is_refused(
    fake_world: str,
    tmp_path: Path,
    arguments: tuple[str, ...],
    words: tuple[str, ...],
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert (
        main(
            ["eval", "--env", fake_world, "--policy", "planner", "--episodes", "1", "--out", str(tmp_path), *arguments]
        )
        == 2
    )
    shown = capsys.readouterr().err
    assert all(word in shown for word in words), shown
