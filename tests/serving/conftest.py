"""Planning servers in their own processes."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

SCRIPT = Path(__file__).parents[1] / "servers" / "planning_server.py"


@dataclass(frozen=True)
class Server:
    """A running server."""

    url: str  # ws://…
    process: subprocess.Popen[str]

    @property
    def http(self) -> str:
        return self.url.replace("ws", "http", 1)

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])


@contextlib.contextmanager
def run_server(**options: Any) -> Iterator[Server]:
    command = [sys.executable, str(SCRIPT), json.dumps(options)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield Server(process.stdout.readline().strip(), process)
        finally:
            process.kill()


StartServer = Callable[..., AbstractContextManager[Server]]


@pytest.fixture
def start_server() -> StartServer:
    """Start tests/servers/planning_server.py with the given options."""
    return run_server


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """One server per module, whose model has an alias."""
    pytest.importorskip("uvicorn")
    pytest.importorskip("websockets")
    with run_server(alias=["OpenGVLab/InternVL3-8B"]) as server:
        yield server
