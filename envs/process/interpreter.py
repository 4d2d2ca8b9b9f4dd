"""Another Python as a process: started in a clean environment, asked with a deadline, and ended whatever happens."""

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
_CLOSING_S = 5.0  # that a simulator has to close its windows and files

# Whose Python, whose ROS and whose OpenGL it is: what this process was told is wrong for another one.
_NOT_INHERITED = re.compile(
    r"^(PYTHON|_?CONDA|MAMBA_|PYENV_|PIXI_|VIRTUAL_ENV|ROS_|RMW_|RCUTILS_|AMENT_|COLCON_|CMAKE_PREFIX_PATH$"
    r"|PKG_CONFIG_PATH$|MUJOCO_GL$|PYOPENGL_PLATFORM$)"
)
_PREFIXES = ("AMENT_PREFIX_PATH", "COLCON_PREFIX_PATH", "CONDA_PREFIX", "VIRTUAL_ENV")


def clean_environment(inherited: Mapping[str, str], python: Path) -> dict[str, str]:
    """The variables of this process without those of its own Python, ROS and choice of OpenGL.

    Of the search paths for programs and libraries, entries inside this process's ROS, conda or virtual environments are
    left out; the folder of `python` comes first among the programs.
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
    """One process of another Python. It ends with this object and with this process, by whatever either is ended.

    For one thread at a time: requests and answers take turns.
    """

    def __init__(self, python: str | os.PathLike[str], environ: Mapping[str, str] | None = None) -> None:
        """Start it; the first answer says whether it works.

        Args:
            python: path of its executable.
            environ: variables to set there, beside those of `clean_environment`.

        Raises:
            ConfigError: there is no such program.
        """
        # Not resolved: a virtual environment's Python is a link, and is known by where the link lies.
        self.python = Path(os.path.abspath(Path(python).expanduser()))  # noqa: PTH100
        if not (self.python.is_file() and os.access(self.python, os.X_OK)):
            raise ConfigError(
                f"no Python at {str(python)!r}; give the path of its executable, for example "
                "~/miniconda3/envs/habitat/bin/python"
            )
        self._words: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115  (without a name: nothing is left behind)
        flags = fcntl.fcntl(self._words.fileno(), fcntl.F_GETFL)
        fcntl.fcntl(self._words.fileno(), fcntl.F_SETFL, flags | os.O_APPEND)  # so that it can be shortened
        block = Block.create()
        ours, theirs = socket.socketpair()
        self._channel = Channel(ours, block)
        with theirs:
            try:
                self._process = self._popen(theirs.fileno(), block.descriptor, environ or {})
            except OSError as error:
                self._channel.close()
                self._words.close()
                raise ConfigError(f"cannot run {str(self.python)!r}: {error.strerror or error}") from error
        self._end = weakref.finalize(self, _end, os.getpid(), self._process, self._channel, self._words)

    def _popen(self, connection: int, memory: int, environ: Mapping[str, str]) -> subprocess.Popen[bytes]:
        package = Path(si_embodied.__file__).parent
        return subprocess.Popen(
            [str(self.python), str(_START), str(package), str(connection), str(memory)],
            stdin=subprocess.PIPE,  # never written to: that it ends says that this process has
            stdout=self._words,
            stderr=self._words,
            pass_fds=(connection, memory),
            env={**clean_environment(os.environ, self.python), **environ},
            start_new_session=True,  # Ctrl-C is this process's to answer; and what it starts is ended with it
        )

    @property
    def alive(self) -> bool:
        """Whether it can be asked."""
        return self._end.alive

    def ask(self, verb: str, *arguments: Any, deadline_s: float) -> Any:
        """Have something done there, and wait for the answer.

        Raises:
            SimulatorLost: it crashed, or has not answered in time; it is ended then.
            SimulatorError: what was asked raised an exception there; it lives on.
            MessageError: an argument is of no type that crosses.
        """
        if not self.alive:
            raise SimulatorLost(f"the Python at {self.python} was ended")
        self._shorten()
        request = self._channel.pack([verb, list(arguments)])  # what cannot cross is refused before anything is sent
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
            self.end()  # its answer would be taken for that to the next question
            raise
        if kind == "error":
            name, message, trace = answer
            raise SimulatorError(f"{name}: {message} (in {self.python})", name) from SimulatorError(trace, name)
        return answer[0]

    def close(self) -> None:
        """Have it close what it has, and end it, by force where it takes too long."""
        with contextlib.suppress(SimulatorError):
            if self.alive:
                self.ask("close", deadline_s=_CLOSING_S)
        self.end()

    def end(self) -> None:
        """End it and everything that it has started, now; calling it again does nothing."""
        self._end()

    def _obituary(self, verb: str) -> str:
        """How it ended, and its last words."""
        try:
            code = self._process.wait(_CLOSING_S)
            how = f"ended with signal {signal.Signals(-code).name}" if code < 0 else f"ended with exit status {code}"
        except subprocess.TimeoutExpired:
            how = "hung up"
        words = os.pread(self._words.fileno(), _LAST_BYTES, max(0, self._said() - _LAST_BYTES))
        self.end()
        last = "\n".join(words.decode(errors="replace").strip().splitlines()[-_LAST_LINES:])
        return f"the Python at {self.python} {how} when asked to {verb}; its last words:\n{last or '(none)'}"

    def _said(self) -> int:
        return os.fstat(self._words.fileno()).st_size

    def _shorten(self) -> None:
        """A simulator that prints at every step must not fill the disk."""
        if self._said() > _MOST_BYTES:
            os.ftruncate(self._words.fileno(), 0)


def _end(owner: int, process: subprocess.Popen[bytes], channel: Channel, words: IO[bytes]) -> None:
    if os.getpid() != owner:  # a fork's copy is not the one to end it
        return
    channel.close()
    # The process may be gone while what it started is not.
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(_CLOSING_S)
    if process.stdin is not None:
        process.stdin.close()
    words.close()
