"""The child process: creates one environment and executes the parent's requests until the parent disconnects."""

from __future__ import annotations

import contextlib
import faulthandler
import fcntl
import os
import signal
import socket
import threading
import traceback
from typing import Any

import gymnasium

from si_embodied.envs.process.spaces import to_values
from si_embodied.envs.process.wire import Block, Channel


def serve(connection: int, memory: int) -> None:
    """Answer requests `[verb, arguments]` with `["value", …]` or `["error", type, message, trace]` to the end."""
    end_with_parent()
    faulthandler.enable()  # a crashing simulator prints where; the parent shows it
    for descriptor in (connection, memory):
        os.set_inheritable(descriptor, False)
    channel = Channel(socket.socket(fileno=connection), Block(memory))
    world = World()
    with contextlib.suppress(EOFError, ConnectionError):
        while True:
            verb, arguments = channel.receive()
            try:
                answer = channel.pack(["value", getattr(world, f"do_{verb}")(*arguments)])
            except Exception as error:  # noqa: BLE001 - sent to the parent, which raises it
                answer = channel.pack(["error", type(error).__name__, str(error), traceback.format_exc()])
            channel.send(answer)
    world.do_close()


class World:
    """The environment, with a method `do_VERB` for each request."""

    def __init__(self) -> None:
        self._env: gymnasium.Env[Any, Any] | None = None

    @property
    def env(self) -> gymnasium.Env[Any, Any]:
        """The environment.

        Raises:
            gymnasium.error.Error: the environment has not been created.
        """
        if self._env is None:
            raise gymnasium.error.Error("the environment has not been created")
        return self._env

    def do_make(self, env_id: str, arguments: dict[str, Any]) -> dict[str, Any]:
        """Create the environment of an id; returns its spaces and metadata."""
        import si_embodied.envs  # noqa: F401 - registers ours

        self._env = gymnasium.make(env_id, disable_env_checker=True, **arguments)
        return {
            "action_space": to_values(self._env.action_space),
            "observation_space": to_values(self._env.observation_space),
            "metadata": dict(self._env.metadata),
        }

    def do_reset(self, seed: int | None, options: dict[str, Any] | None) -> Any:
        """Gymnasium's `reset`."""
        return self.env.reset(seed=seed, options=options)

    def do_step(self, action: Any) -> Any:
        """Gymnasium's `step`."""
        return self.env.step(action)

    def do_render(self) -> Any:
        """Gymnasium's `render`."""
        return self.env.render()

    def do_get(self, names: list[str]) -> Any:
        """The attribute of the unwrapped environment at a path of names."""
        value: Any = self.env.unwrapped
        for name in names:
            value = getattr(value, name)
        return value

    def do_call(self, names: list[str], arguments: tuple[Any, ...], named: dict[str, Any]) -> Any:
        """Call the method at a path of names."""
        return self.do_get(names)(*arguments, **named)

    def do_close(self) -> None:
        """Gymnasium's `close`."""
        if self._env is not None:
            env, self._env = self._env, None
            env.close()


def end_with_parent() -> None:
    """End this process and its children when the parent ends, which closes our standard input.

    On Linux the kernel does this, even while a simulator holds the interpreter's lock; elsewhere a thread does. Linux's
    parent-death signal is unsuitable, because it fires when the parent's *thread* ends.
    """
    lifeline = os.dup(0)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    if hasattr(fcntl, "F_SETSIG"):
        fcntl.fcntl(lifeline, fcntl.F_SETOWN, -os.getpgrp())
        fcntl.fcntl(lifeline, fcntl.F_SETSIG, signal.SIGKILL)
        fcntl.fcntl(lifeline, fcntl.F_SETFL, fcntl.fcntl(lifeline, fcntl.F_GETFL) | os.O_ASYNC)
    # The thread also covers a parent that ended before the kernel was asked.
    threading.Thread(target=_end_at_eof, args=(lifeline,), name="end-with-parent", daemon=True).start()


def _end_at_eof(lifeline: int) -> None:
    while os.read(lifeline, 1):
        pass
    os.killpg(os.getpgrp(), signal.SIGKILL)
