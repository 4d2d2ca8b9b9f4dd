"""Another Python as a process: starts in a clean environment, answers within a deadline, and always ends."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import signal
import socket
import subprocess
import tempfile
import weakref
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

import si_embodied
from si_embodied.envs.process.wire import Block, Channel
from si_embodied.errors import ConfigError, SimulatorError, SimulatorLost

_START = Path(__file__).with_name("start.py")
_LAST_LINES, _LAST_BYTES, _MOST_BYTES = 15, 4000, 1 << 20
_CLOSING_S = 5.0  # for a simulator to close its windows and files

# Variables that select this process's Python, ROS and OpenGL, and are wrong for another Python.
_NOT_INHERITED = re.compile(
    r"^(PYTHON|_?CONDA|MAMBA_|PYENV_|PIXI_|VIRTUAL_ENV|ROS_|RMW_|RCUTILS_|AMENT_|COLCON_|CMAKE_PREFIX_PATH$"
    r"|PKG_CONFIG_PATH$|MUJOCO_GL$|PYOPENGL_PLATFORM$)"
)
_PREFIXES = ("AMENT_PREFIX_PATH", "COLCON_PREFIX_PATH", "CONDA_PREFIX", "VIRTUAL_ENV")


def clean_environment(inherited: Mapping[str, str], python: Path) -> dict[str, str]:
    """This process's environment variables without those of its own Python, ROS and OpenGL.

    The search paths for programs and libraries lose their entries inside this process's ROS, conda or virtual
    environments. The folder of `python` comes first in PATH.
    """
    prefixes = [entry for name in _PREFIXES for entry in inherited.get(name, "").split(os.pathsep) if entry]

    def kept(paths: str) -> list[str]:
        return [path for path in paths.split(os.pathsep) if path and not any(_inside(path, p) for p in prefixes)]

    clean = {name: value for name, value in inherited.items() if not _NOT_INHERITED.match(name)}
    for name in ("LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH"):
        if name in clean:
            clean[name] = os.pathsep.join(kept(clean[name]))
            if not clean[name]:
                del clean[name]
    clean["PATH"] = os.pathsep.join([str(python.parent), *kept(inherited.get("PATH", os.defpath))])
    return clean


def _inside(path: str, folder: str) -> bool:
    return Path(path).is_relative_to(folder)


class Interpreter:
    """A process of another Python. It ends with this object and with this process, however they end.

    Use it from one thread at a time: each request waits for its answer.
    """

    def __init__(self, python: str | os.PathLike[str], environ: Mapping[str, str] | None = None) -> None:
        """Start the process; only the first answer tells whether it works.

        Args:
            python: path of its executable.
            environ: variables to set in addition to `clean_environment`.

        Raises:
            ConfigError: the executable does not exist or cannot run.
        """
        # Not resolved: a virtual environment's Python is a link, and finds the environment through the link's location.
        self.python = Path(os.path.abspath(Path(python).expanduser()))  # noqa: PTH100
        if not (self.python.is_file() and os.access(self.python, os.X_OK)):
            raise ConfigError(
                f"no Python at {str(python)!r}; give the path of its executable, for example "
                "~/miniconda3/envs/habitat/bin/python"
            )
        self._output: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115  (unnamed, so nothing is left behind)
        flags = fcntl.fcntl(self._output.fileno(), fcntl.F_GETFL)
        fcntl.fcntl(self._output.fileno(), fcntl.F_SETFL, flags | os.O_APPEND)  # so that it can be truncated
        block = Block.create()
        ours, theirs = socket.socketpair()
        self._channel = Channel(ours, block)
        with theirs:
            try:
                self._process = self._popen(theirs.fileno(), block.descriptor, environ or {})
            except OSError as error:
                self._channel.close()
                self._output.close()
                raise ConfigError(f"cannot run {str(self.python)!r}: {error.strerror or error}") from error
        self._end = weakref.finalize(self, _end, os.getpid(), self._process, self._channel, self._output)

    def _popen(self, connection: int, memory: int, environ: Mapping[str, str]) -> subprocess.Popen[bytes]:
        package = Path(si_embodied.__file__).parent
        return subprocess.Popen(
            [str(self.python), str(_START), str(package), str(connection), str(memory)],
            stdin=subprocess.PIPE,  # never written to: end of file means that this process has ended
            stdout=self._output,
            stderr=self._output,
            pass_fds=(connection, memory),
            env={**clean_environment(os.environ, self.python), **environ},
            start_new_session=True,  # Ctrl-C reaches only this process; and its children form one group to kill
        )

    @property
    def alive(self) -> bool:
        """Whether the process can take requests."""
        return self._end.alive

    def ask(self, verb: str, *arguments: Any, deadline_s: float) -> Any:
        """Send a request and wait for the answer.

        Raises:
            SimulatorLost: the process crashed, or did not answer in time and was ended.
            SimulatorError: the request raised an exception; the process goes on.
            MessageError: an argument has a type that cannot be sent.
        """
        if not self.alive:
            raise SimulatorLost(f"the Python at {self.python} was ended")
        self._truncate_output()
        request = self._channel.pack([verb, list(arguments)])  # rejects an unsupported type before anything is sent
        try:
            self._channel.send(request, deadline_s)
            kind, *answer = self._channel.receive(deadline_s)
        except TimeoutError as error:
            self.end()
            raise SimulatorLost(
                f"no answer to {verb!r} from {self.python} within {deadline_s:g} s; it was ended"
            ) from error
        except (EOFError, ConnectionError) as error:
            raise SimulatorLost(self._obituary(verb)) from error
        except BaseException:
            self.end()  # otherwise its answer would be taken for the next request's
            raise
        if kind == "error":
            name, message, trace = answer
            raise SimulatorError(f"{name}: {message} (in {self.python})", name) from SimulatorError(trace, name)
        return answer[0]

    def close(self) -> None:
        """Let the process close its environment, and end it, by force if it takes too long."""
        with contextlib.suppress(SimulatorError):
            if self.alive:
                self.ask("close", deadline_s=_CLOSING_S)
        self.end()

    def end(self) -> None:
        """End the process and its children at once; idempotent."""
        self._end()

    def _obituary(self, verb: str) -> str:
        """How the process ended, and its last output."""
        try:
            code = self._process.wait(_CLOSING_S)
            how = f"ended with signal {signal.Signals(-code).name}" if code < 0 else f"ended with exit status {code}"
        except subprocess.TimeoutExpired:
            how = "disconnected"
        output = os.pread(self._output.fileno(), _LAST_BYTES, max(0, self._output_size() - _LAST_BYTES))
        self.end()
        last = "\n".join(output.decode(errors="replace").strip().splitlines()[-_LAST_LINES:])
        return f"the Python at {self.python} {how} during {verb!r}; its last output:\n{last or '(none)'}"

    def _output_size(self) -> int:
        return os.fstat(self._output.fileno()).st_size

    def _truncate_output(self) -> None:
        """Truncate the captured output: a simulator that prints at every step must not fill the disk."""
        if self._output_size() > _MOST_BYTES:
            os.ftruncate(self._output.fileno(), 0)


def _end(owner: int, process: subprocess.Popen[bytes], channel: Channel, output: IO[bytes]) -> None:
    if os.getpid() != owner:  # a forked copy of this process must not end it
        return
    channel.close()
    # The process may have ended while its children have not.
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(_CLOSING_S)
    if process.stdin is not None:
        process.stdin.close()
    output.close()
