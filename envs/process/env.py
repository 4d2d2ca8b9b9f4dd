"""A Gymnasium environment that runs in another Python."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, SupportsFloat

import gymnasium

from si_embodied import embodiment as embodiments
from si_embodied.envs.process.interpreter import Interpreter
from si_embodied.envs.process.spaces import from_values
from si_embodied.errors import ConfigError, SimulatorError, SimulatorLost

if TYPE_CHECKING:
    from si_embodied.embodiment import Embodiment

DEADLINE_S = 120.0


class ProcessEnv(gymnasium.Env[Any, Any]):
    """Any registered environment, run by another Python with its own conda environment and older packages.

    Observations arrive unchanged, arrays through shared memory. An exception in the other Python is raised here as a
    `SimulatorError` with its traceback. If the process crashes or does not answer in time, the episode is lost and
    `SimulatorLost` is raised; the next `reset` starts a new process. Other attributes and methods of the environment
    (`kind`, `ground_truth.next_action()`) are forwarded; a dataclass arrives as a namespace of its fields.

    Example:
        >>> env = ProcessEnv("si_embodied/Apartment-v0", python=sys.executable, task="objectnav")
        >>> observation, info = env.reset(seed=0)
        >>> env.close()
    """

    def __init__(
        self,
        env_id: str,
        *,
        python: str | os.PathLike[str],
        environ: Mapping[str, str] | None = None,
        deadline_s: float = DEADLINE_S,
        **arguments: Any,
    ) -> None:
        """Start the other Python and create the environment in it.

        Args:
            env_id: id for `gymnasium.make`, with an optional module to import first (`package.module:My-v0`).
            python: path of the other Python's executable; it needs numpy, gymnasium and what the environment needs.
            environ: variables to set there; it inherits this process's, except those of Python, conda and ROS.
            deadline_s: for every answer, including the start and the first images.
            arguments: the environment's own.

        Raises:
            ConfigError: there is no such Python.
            SimulatorError: the environment could not be created; the message says why.
        """
        if not deadline_s > 0:
            raise ConfigError(f"expected deadline_s to be above 0, got: {deadline_s}")
        self._made = env_id, arguments
        self._python, self._environ, self._deadline_s = python, environ, deadline_s
        self._interpreter: Interpreter | None = None
        self.render_mode = arguments.get("render_mode")
        made = self._start()
        self.action_space = from_values(made["action_space"])
        self.observation_space = from_values(made["observation_space"])
        self.metadata = made["metadata"]

    def _start(self) -> dict[str, Any]:
        interpreter = Interpreter(self._python, self._environ)
        try:
            made: dict[str, Any] = interpreter.ask("make", *self._made, deadline_s=self._deadline_s)
        except BaseException:
            interpreter.end()
            raise
        self._interpreter = interpreter
        return made

    def _ask(self, verb: str, *arguments: Any) -> Any:
        if self._interpreter is None or not self._interpreter.alive:
            raise SimulatorLost("no simulator is running: it was closed or lost; reset() starts a new one")
        return self._interpreter.ask(verb, *arguments, deadline_s=self._deadline_s)

    # --- Gymnasium's interface --------------------------------------------------------------------------------------

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Start an episode, in a new process if none is running.

        Raises:
            SimulatorLost: the process ended, or did not answer in time.
            SimulatorError: the environment raised an exception.
        """
        super().reset(seed=seed)
        if self._interpreter is None or not self._interpreter.alive:
            self._start()
        observation, info = self._ask("reset", seed, options)
        return observation, info

    def step(self, action: Any) -> tuple[Any, SupportsFloat, bool, bool, dict[str, Any]]:
        """Run one step; raises the same errors as `reset`."""
        observation, reward, terminated, truncated, info = self._ask("step", action)
        return observation, reward, terminated, truncated, info

    def render(self) -> Any:
        """The environment's `render()`."""
        return self._ask("render")

    def close(self) -> None:
        """End the process; `reset` starts a new one."""
        if self._interpreter is not None:
            self._interpreter.close()
            self._interpreter = None

    # --- forwarded attributes ----------------------------------------------------------------------------------------

    @property
    def embodiment(self) -> Embodiment:
        """The environment's robot (docs/evaluation.md).

        Raises:
            AttributeError: the environment has none.
        """
        fields = vars(_Remote(self, ("embodiment",)).value())
        name = _Remote(self, ("embodiment", "__class__", "__name__")).value()
        robot: Embodiment = getattr(embodiments, name)(**fields)
        return robot

    def __getattr__(self, name: str) -> Any:
        """An attribute of the remote environment: its value, or a proxy for its own attributes."""
        if name.startswith("_") or name in ("np_random", "spec", "action_space", "observation_space", "metadata"):
            raise AttributeError(f"{type(self).__name__} has no attribute {name!r}")
        return getattr(_Remote(self, ()), name)


class _Remote:
    """A proxy for an object or method of the remote environment that cannot be sent as a value."""

    def __init__(self, env: ProcessEnv, names: tuple[str, ...]) -> None:
        self._env, self._names = env, names

    def value(self) -> Any:
        """Fetch its value.

        Raises:
            AttributeError: the environment has no such attribute.
            SimulatorError: the value cannot be sent.
        """
        try:
            return self._env._ask("get", list(self._names))
        except SimulatorError as error:
            if error.exception == "AttributeError":
                raise AttributeError(str(error)) from error
            raise

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        inner = _Remote(self._env, (*self._names, name))
        try:
            return inner.value()
        except SimulatorError as error:
            if error.exception == "MessageError":
                return inner
            raise

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        return self._env._ask("call", list(self._names), arguments, named)
