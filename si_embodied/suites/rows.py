"""From a suite to its rows: the evaluations that it consists of."""

from __future__ import annotations

import itertools
import re
import typing
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from si_embodied.backends.config import BackendConfig
from si_embodied.backends.opening import backend_config, checkpoint_name, located
from si_embodied.errors import ConfigError, UnknownNameError
from si_embodied.evaluation.config import EvaluationConfig
from si_embodied.evaluation.registry import describe_environment, environments, find_policy, make_env
from si_embodied.sensor_noise.profiles import noise_profile

if TYPE_CHECKING:
    from si_embodied.suites.settings import Suite, SuiteWorld
    from si_embodied.types import Latency


@dataclass(frozen=True, slots=True)
class SuiteRow:
    """One policy on one task under one condition, and the controls that run beside it."""

    name: str  # unique within its suite; rows of two runs with the same name are compared
    config: EvaluationConfig
    controls: tuple[str, ...] = ()

    @property
    def folder(self) -> str:
        """The name of its folder."""
        return re.sub(r"[^A-Za-z0-9.]+", "-", self.name).strip("-").lower()


def models_of(suite: Suite, given: BackendConfig = BackendConfig()) -> tuple[BackendConfig, ...]:  # noqa: B008
    """The suite's models, found on this machine.

    Args:
        suite: names models.
        given: a model that replaces them, or without a name how to open those that are checkpoints (device, weights).

    Raises:
        CheckpointError: there is no such checkpoint.
    """
    if given.kind != "local" or given.model:
        return (located(given),)
    models = (backend_config(name) if "://" in name else replace(given, model=name) for name in suite.models)
    return tuple(located(model) for model in models)


def rows_of(suite: Suite, models: Sequence[BackendConfig], *, python: Path | None = None) -> tuple[SuiteRow, ...]:
    """All rows of a suite, grouped by task.

    Args:
        suite: what to run.
        models: of the policies that plan with one.
        python: runs the worlds; None for this one.

    Raises:
        UnknownNameError: there is no such world, task, policy or noise profile.
        ConfigError: two rows have the same name.
        MissingExtraError: gymnasium is not installed.
    """
    environments()
    rows = tuple(
        SuiteRow(row.name, replace(row.config, python=python), row.controls)
        for world in suite.worlds
        for row in (_protocol_rows if suite.protocol else _own_rows)(suite, world, models)
    )
    folders = [row.folder for row in rows]
    for row in rows:
        if folders.count(row.folder) > 1:
            raise ConfigError(f"two rows of the suite {suite.name!r} are called {row.name!r}; name each thing once")
    return rows


def check_rows(rows: Iterable[SuiteRow]) -> None:
    """Make each world once, so that a suite fails before its first episode rather than in its last row.

    Raises:
        UnknownNameError: there is no such task, or no such control.
        ConfigError: a world does not take an argument.
        MissingExtraError: a world needs an extra that is not installed.
    """
    made: set[object] = set()
    for row in rows:
        config = row.config
        for control in row.controls:
            if control != "blank":
                find_policy(control)
        what = (config.env, config.task, config.image_size, config.action_mode, repr(config.env_args), config.python)
        if what not in made:
            made.add(what)
            make_env(config).close()


def _own_rows(suite: Suite, world: SuiteWorld, models: Sequence[BackendConfig]) -> Iterator[SuiteRow]:
    ours = describe_environment(world.env).tasks if world.env in environments() else ()
    tasks: tuple[str | None, ...] = world.tasks or ours or (None,)  # None: the world's own
    for task, policy in itertools.product(tasks, suite.policies):
        planning = find_policy(policy).needs_model
        backends = models if planning else (None,)
        for backend, noise, latency in itertools.product(backends, suite.noise, suite.latency):
            config = EvaluationConfig(
                world.env, policy, task, backend, latency=latency, image_size=world.image_size,
                action_mode=world.action_mode, noise=noise_profile(noise), planner=suite.planner,
                episodes=suite.episodes, seed=suite.seed, env_args=tuple(world.args.items()),
            )  # fmt: skip
            model = "" if backend is None or len(models) == 1 else _label(backend)
            name = row_name(config, policy, model, noise, latency)
            controls = tuple(each for each in suite.controls if planning and each != policy)
            yield SuiteRow(name, config, controls)


def _protocol_rows(suite: Suite, world: SuiteWorld, models: Sequence[BackendConfig]) -> Iterator[SuiteRow]:
    """The subsets of `si-embodied benchmark embodied`."""
    from si_embodied.benchmarking.embodied.registration import ORACLE
    from si_embodied.benchmarking.embodied.settings import EmbodiedRun, World

    known = typing.get_args(World)
    if world.env not in known:
        raise UnknownNameError("world of EmbodiedBench's protocol", world.env, known)
    for backend in models:
        run = EmbodiedRun(
            backend, typing.cast("World", world.env), subset=world.tasks, episodes=suite.episodes, seed=suite.seed,
            image_size=world.image_size or EmbodiedRun().image_size,
        )  # fmt: skip
        for subset in run.subset or run.subsets():
            config = run.evaluation(subset)
            name = row_name(config, suite.protocol, _label(backend) if len(models) > 1 else "", "none", 0.0)
            controls = tuple(ORACLE if each == "oracle" else each for each in suite.controls)
            yield SuiteRow(name, config, controls)


def row_name(config: EvaluationConfig, policy: str, model: str, noise: str, latency: Latency) -> str:
    """What tells a row from the others of its suite, whatever model it is run with."""
    world = config.env.rpartition("/")[2].partition("-v")[0]
    said = [f"{world} {config.task or 'default'}", policy]
    said += [model] if model else []
    said += [Path(noise).stem] if noise != "none" else []
    said += ["measured"] if latency == "measured" else [f"{latency:g} s"] if latency else []
    return ", ".join(said)


def _label(backend: BackendConfig) -> str:
    """A model's name among several."""
    return checkpoint_name(Path(backend.model)) if backend.kind == "local" else backend.model or backend.url
