"""Python processes forked from one that has imported what nodes need: a start takes 0.1 s of the processor, not 2.

What a user starts with `ros up`, `ros check` or a launch file is started so in its own tests.
"""

from __future__ import annotations

import importlib.util
import multiprocessing
import os
import runpy
import subprocess
import sys
import threading
import time
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

NODES = [f"si_embodied.ros_nodes.{name}_node" for name in ("planner", "watchdog", "recorder", "sim")]
_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload(
    [*NODES, *(name for name in ("cv2", "mujoco", "si_embodied.backends.opening") if importlib.util.find_spec(name))]
)


class Forked:
    """A process that runs a command like `python …`; what is used of `subprocess.Popen`."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str]) -> None:
        """Start it: a file, or -m and a module, and its arguments."""
        output, its_output = _FORKS.Pipe(duplex=False)
        self._process = _FORKS.Process(target=_run, args=(list(command), dict(environment), its_output))
        self._process.start()
        its_output.close()
        self._said = bytearray()
        self._reader = threading.Thread(target=self._read, args=(output,), daemon=True)
        self._reader.start()
        assert self._process.pid is not None  # it was started
        self.pid = self._process.pid

    def _read(self, output: Connection) -> None:
        while some := os.read(output.fileno(), 65536):
            self._said += some
        output.close()

    @property
    def returncode(self) -> int | None:
        """Its exit status, or the negative of the signal that killed it; None while it runs."""
        return self._process.exitcode

    def poll(self) -> int | None:
        """The same."""
        return self._process.exitcode

    def send_signal(self, number: int) -> None:
        """Send it a signal."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """Kill it."""
        self._process.kill()

    def communicate(self, timeout: float | None = None) -> tuple[str, None]:
        """What it printed until its end; raises `subprocess.TimeoutExpired`."""
        until = None if timeout is None else time.monotonic() + timeout
        self._process.join(timeout)
        self._reader.join(None if until is None else max(0.1, until - time.monotonic()))
        if self.poll() is None or self._reader.is_alive():
            raise subprocess.TimeoutExpired(self._process.name, timeout or 0.0)
        return self._said.decode(), None


def _run(command: list[str], environment: dict[str, str], output: Connection) -> None:
    """In the new process: become `python command`."""
    for stream in (1, 2):
        os.dup2(output.fileno(), stream)
    output.close()
    os.environ.clear()
    os.environ.update(environment)
    if command[0] == "-m":
        _, module, *arguments = command
        sys.argv = [module, *arguments]
        sys.modules.pop(module, None)
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    else:
        sys.argv = command
        sys.path.insert(0, str(Path(command[0]).parent))
        runpy.run_path(command[0], run_name="__main__")
