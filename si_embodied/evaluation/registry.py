"""The names that a user gives to worlds and policies, and how each is made.

This module alone knows environments and policies, and imports each when it is asked for.
"""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

from si_embodied.backends.base import SharedBackend
from si_embodied.backends.config import BackendConfig
from si_embodied.backends.controls import BlankImages
from si_embodied.backends.opening import open_backend, open_planner
from si_embodied.config import PlannerConfig
from si_embodied.errors import ConfigError, SimulatorError, UnknownNameError, extra
from si_embodied.planner import Planner

if TYPE_CHECKING:
    import gymnasium

    from si_embodied.backends import Backend
    from si_embodied.backends.tapped import Tap
    from si_embodied.embodiment import Embodiment
    from si_embodied.evaluation.config import Control, EvaluationConfig
    from si_embodied.evaluation.observation_files import Scene
    from si_embodied.planner import AnyPlanner
    from si_embodied.policies.base import Policy
    from si_embodied.policies.comparing import Compared
    from si_embodied.types import Latency, Observation

    Env: TypeAlias = gymnasium.Env[Any, Any]

NAMESPACE = "si_embodied"


@dataclass(frozen=True, slots=True)
class PolicySettings:
    """What a policy may be made with."""

    backend: BackendConfig = BackendConfig()  # the model, for policies that plan with one
    control: Control | None = None
    latency: Latency = 0.0
    planner: PlannerConfig = PlannerConfig()
    args: Mapping[str, Any] = field(default_factory=dict)  # of a policy that takes some
    tap: Tap | None = None  # keeps the prompts as the model sees them

    def tapped(self, backend: Backend) -> Backend:
        """The backend, with the tap on it if there is one."""
        return backend if self.tap is None else self.tap.on(backend)


MakePolicy: TypeAlias = Callable[["Env", int], "Policy"]
"""A policy for one episode, from the environment and the episode's seed."""


@dataclass(frozen=True, slots=True)
class PolicySpec:
    """A policy that can be named."""

    name: str
    description: str
    needs_model: bool
    prepare: Callable[[PolicySettings], MakePolicy]  # does what is done once a run: loading a model


_POLICIES: dict[str, PolicySpec] = {}


def register_policy(spec: PolicySpec) -> None:
    """Make a policy known by its name; a name is given once.

    Raises:
        ConfigError: the name is taken.
    """
    if spec.name in _POLICIES:
        raise ConfigError(f"a policy named {spec.name!r} is registered already; choose another name")
    _POLICIES[spec.name] = spec


def policies() -> Mapping[str, PolicySpec]:
    """The registered policies by name."""
    return dict(_POLICIES)


def find_policy(name: str) -> PolicySpec:
    """The policy of that name.

    Raises:
        UnknownNameError: there is none.
    """
    if name not in _POLICIES:
        raise UnknownNameError("policy", name, _POLICIES)
    return _POLICIES[name]


def _random(_: PolicySettings) -> MakePolicy:
    from si_embodied.policies.random import RandomPolicy

    return lambda env, seed: RandomPolicy(env.action_space, seed=seed)


def _oracle(_: PolicySettings) -> MakePolicy:
    from si_embodied.policies.oracle import OraclePolicy

    return lambda env, _: OraclePolicy(env)


def _perfect_pixels(settings: PolicySettings) -> MakePolicy:
    from si_embodied.policies.perfect_pixels import perfect_pixels_backend

    return _planning(lambda env: settings.tapped(perfect_pixels_backend(env)), settings)


def _planner(settings: PolicySettings) -> MakePolicy:
    if settings.backend.kind == "remote":
        return _planning_remotely(settings)
    opened = opened_for_episodes(settings)
    return _planning(lambda _: opened(), settings)


def opened_for_episodes(settings: PolicySettings) -> Callable[[], Backend]:
    """Open the model of a policy; returns what gives it to each episode, without anything of earlier ones.

    A model that continues the cache of an earlier prompt rounds otherwise, so that the last digits of its probabilities
    would depend on which episodes a process has played before.
    """
    backend = open_backend(settings.backend)
    tapped = settings.tapped(backend)
    shown = BlankImages(tapped) if settings.control == "blank" else tapped

    def fresh() -> Backend:
        if isinstance(backend, SharedBackend):
            backend.forget()
        return shown

    return fresh


def beside_perfect_pixels(backend: Backend, env: Env) -> tuple[Policy, Compared]:
    """A planner with a model, and the comparison of its answers with those of perfect pixels, which grows as it plays.

    Every answer counts: the planner does what the model says, however unsure it is.

    Raises:
        ConfigError: environments of this kind have no ground truth.
    """
    from si_embodied.policies.comparing import Compared

    compared = Compared(backend, env)
    settings = PolicySettings(planner=PlannerConfig(min_done_probability=0.0))
    return _planning(lambda _: compared, settings)(env, 0), compared


def _planning(backend_for: Callable[[Env], Backend], settings: PolicySettings) -> MakePolicy:
    from si_embodied.policies.planner_policy import SpatialPlannerPolicy, embodiment_of

    def make(env: Env, _: int) -> Policy:
        planner = Planner(backend_for(env), embodiment_of(env), settings.planner)
        return SpatialPlannerPolicy(planner, latency=settings.latency)

    return make


def _planning_remotely(settings: PolicySettings) -> MakePolicy:
    from si_embodied.policies.planner_policy import SpatialPlannerPolicy, embodiment_of

    planners: dict[Embodiment, AnyPlanner] = {}

    def make(env: Env, _: int) -> Policy:
        robot = embodiment_of(env)
        if robot not in planners:  # one connection for all episodes
            planners[robot] = open_planner(settings.backend, robot, settings.planner)
        return SpatialPlannerPolicy(planners[robot], latency=settings.latency)

    return make


for _spec in (
    PolicySpec("random", "actions drawn from the action space", False, _random),
    PolicySpec("oracle", "privileged: knows the scene and does the shortest thing", False, _oracle),
    PolicySpec("perfect-pixels", "the planner with pixels pointed out by the simulator", False, _perfect_pixels),
    PolicySpec("planner", "the planner with a vision-language checkpoint", True, _planner),
):
    register_policy(_spec)


# --- environments ---------------------------------------------------------------------------------------------------


def environments() -> list[str]:
    """The ids of the worlds that come with the package.

    Raises:
        MissingExtraError: gymnasium is not installed.
    """
    with extra("sim"):
        import gymnasium
    import si_embodied.envs  # noqa: F401 - registers them

    return sorted(name for name, spec in gymnasium.registry.items() if spec.namespace == NAMESPACE)


def make_env(config: EvaluationConfig, *, render: bool = False) -> Env:
    """The environment of an evaluation, with its noise.

    Any Gymnasium id with the contract of docs/evaluation.md will do, and a place of the user's own (docs/own_world.md).

    Raises:
        UnknownNameError: no such environment or task.
        ConfigError: the environment's module cannot be imported, or it rejects an argument.
        SimulatorError: the environment cannot be made in the other Python.
    """
    env = _made(config, render=render)
    if config.noise is None or config.noise.silent:
        return env
    from si_embodied.envs.noisy import NoisySensors

    return NoisySensors(env, config.noise)


def _made(config: EvaluationConfig, *, render: bool) -> Env:
    """The environment without noise."""
    known = environments()
    import gymnasium

    from si_embodied.envs.arguments import refuse_unknown

    asked = {"task": config.task, "image_size": config.image_size, "action_mode": config.action_mode}
    kwargs: dict[str, Any] = {key: value for key, value in asked.items() if value is not None} | dict(config.env_args)
    if render:
        kwargs["render_mode"] = "rgb_array"
    env_id = config.env
    if config.place is not None:
        from si_embodied.envs import OWN_WORLD_ID

        env_id, kwargs["world"] = OWN_WORLD_ID, str(config.place)
    if config.python is not None:
        from si_embodied.envs.process import ProcessEnv

        try:
            return ProcessEnv(env_id, python=config.python, **kwargs)
        except SimulatorError as error:
            if error.exception == "TypeError":
                refuse_unknown(env_id, kwargs)
            raise
    if ":" not in env_id and env_id not in gymnasium.registry:
        raise UnknownNameError("environment", env_id, known)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", category=UserWarning, module=r"gymnasium\..*")
            return gymnasium.make(env_id, disable_env_checker=True, **kwargs)
    except gymnasium.error.UnregisteredEnv as error:
        raise UnknownNameError("environment", config.env, known) from error
    except ModuleNotFoundError as error:
        cause = error.__cause__ or error  # gymnasium appends its own advice to the original error
        raise ConfigError(
            f"cannot import {config.env!r}: {cause}; install the missing module or add its folder to PYTHONPATH"
        ) from error
    except TypeError as error:
        refuse_unknown(env_id, kwargs)
        raise ConfigError(f"{config.env!r} does not take {sorted(kwargs)}: {error}") from error


def observe(raw: Mapping[str, Any], cameras: Sequence[str]) -> Observation:
    """The core's observation of an environment's dict."""
    from si_embodied.policies.observation import from_gymnasium

    return from_gymnasium(raw, tuple(cameras))


@dataclass(frozen=True, slots=True)
class EnvironmentInfo:
    """What `si-embodied envs` says of a world."""

    id: str
    tasks: tuple[str, ...]
    action_modes: tuple[str, ...]
    arguments: tuple[str, ...]  # "image_size=224"
    summary: str  # first line of its class's docstring
    needs_place: bool  # it has no episodes without a file or folder of the user's (docs/own_world.md)


def describe_environment(env_id: str) -> EnvironmentInfo:
    """Read off a world's class and its own or its module's `TASKS` and `ACTION_MODES`, without making one."""
    import gymnasium

    from si_embodied.envs import OWN_WORLD_ID, Maker

    entry = gymnasium.spec(env_id).entry_point
    if not isinstance(entry, Maker):
        raise ConfigError(f"{env_id!r} is no world of this package, so that it cannot be described")
    world = entry.world()
    module = inspect.getmodule(world)
    parameters = list(inspect.signature(world).parameters.values())
    return EnvironmentInfo(
        id=env_id,
        tasks=tuple(getattr(world, "TASKS", getattr(module, "TASKS", ()))),
        action_modes=tuple(getattr(module, "ACTION_MODES", ())),
        arguments=tuple(_argument(parameter) for parameter in parameters),
        summary=(inspect.getdoc(world) or "").partition("\n")[0],
        needs_place=env_id == OWN_WORLD_ID,
    )


def _argument(parameter: inspect.Parameter) -> str:
    default = parameter.default
    if default is inspect.Parameter.empty:
        return parameter.name
    # An angle that was converted from radians is not 14.999999999999998.
    return f"{parameter.name}={f'{default:.12g}' if isinstance(default, float) else repr(default)}"


def first_observation(config: EvaluationConfig) -> Scene:
    """The first observation of the episode with the configuration's seed."""
    from si_embodied.policies.controllers import make_controller
    from si_embodied.types import Task

    env = make_env(config)
    try:
        raw, _ = env.reset(seed=config.seed)
        world: Any = env.unwrapped
        body = make_controller(world.embodiment)
        body.reset()
        observation = observe(raw, world.embodiment.cameras)
        body.update(observation)
        return Task(str(raw["instruction"]), world.kind), body.prepare(observation), world.embodiment
    finally:
        env.close()
