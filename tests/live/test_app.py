"""The stream of news, from a server in a thread, as a browser reads it."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator

import pytest

pytest.importorskip("fastapi")
pytest.importorskip("httpx")

import httpx

from si_embodied.errors import ConfigError
from si_embodied.live.address import PageAddress
from si_embodied.live.app import PageApp
from si_embodied.live.board import Board
from si_embodied.live.frame import Frame
from si_embodied.live.server import PageServer


@pytest.fixture
def board() -> Board:
    return Board()


@pytest.fixture
def page(board: Board) -> Iterator[PageServer]:
    with PageServer(PageApp(board, "watch"), PageAddress(port=0)) as server:
        yield server


def events(lines: Iterator[str], count: int) -> list[tuple[str, object]]:
    found: list[tuple[str, object]] = []
    topic = ""
    while len(found) < count:
        line = next(lines)
        if line.startswith("event: "):
            topic = line.removeprefix("event: ")
        elif line.startswith("data: "):
            found.append((topic, json.loads(line.removeprefix("data: "))))
    return found


def until(condition, seconds: float = 5.0) -> bool:
    end_s = time.monotonic() + seconds
    while not condition() and time.monotonic() < end_s:
        time.sleep(0.02)
    return bool(condition())


def test_a_page_gets_the_latest_and_what_comes_after(board: Board, page: PageServer) -> None:
    for number in range(5):
        board.show(Frame(f"frame {number}", 0, "go", number, 0.0, "acting"))
    assert not board.wanted()
    with httpx.stream("GET", f"{page.url}events", timeout=5.0) as reply:
        assert reply.headers["content-type"].startswith("text/event-stream")
        lines = reply.iter_lines()
        ((topic, frame),) = events(lines, 1)
        assert (topic, frame["title"]) == ("frame", "frame 4"), "latest wins"
        assert board.wanted()
        board.put("state", json.dumps({"status": "ready"}))
        assert events(lines, 1) == [("state", {"status": "ready"})]
    assert until(lambda: not board.wanted()), "a closed page is noticed, and nothing is made for it"


def test_a_server_ends_while_a_page_is_open(board: Board) -> None:
    server = PageServer(PageApp(board, "watch"), PageAddress(port=0)).start()
    board.show(Frame("a", 0, "go", 0, 0.0, "acting"))
    with httpx.stream("GET", f"{server.url}events", timeout=5.0) as reply:
        events(reply.iter_lines(), 1)
        started_s = time.monotonic()
        server.close()
        assert time.monotonic() - started_s < 4.0
    with pytest.raises(httpx.HTTPError):
        httpx.get(server.url, timeout=1.0)


def test_a_page_is_for_this_machine_alone_and_a_taken_port_is_named() -> None:
    with PageServer(PageApp(Board(), "watch"), PageAddress(port=0)) as server:
        assert server.url.startswith("http://127.0.0.1:")
        port = int(server.url.split(":")[2].split("/")[0])
        with pytest.raises(ConfigError, match="--port"):
            PageServer(PageApp(Board(), "watch"), PageAddress(port=port))
        own = socket.gethostbyname(socket.gethostname())
        if not own.startswith("127."):
            with pytest.raises(OSError, match=""), socket.create_connection((own, port), timeout=1.0):
                pass
