"""What a suite's file may say, and the suites that come with the package."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias

from typing_extensions import Doc

from si_embodied.config import PlannerConfig, read_settings
from si_embodied.errors import ConfigError, UnknownNameError
from si_embodied.types import Latency

OFFICIAL_SEED = 100_000
"""Nothing was trained on, or tuned with, seeds from here on."""
SHIPPED = Path(__file__).parent / "shipped"

Protocol: TypeAlias = Literal["", "embodiedbench"]


@dataclass(frozen=True, slots=True)
class SuiteWorld:
    """Tasks of one world."""

    env: Annotated[str, Doc("the world; `si-embodied envs` lists them")]
    tasks: Annotated[tuple[str, ...], Doc("its tasks; empty: all of them")] = ()
    image_size: Annotated[int | None, Doc("pixels; empty: the world's own")] = None
    action_mode: Annotated[str | None, Doc("how the policy acts; empty: the world's own")] = None
    args: Annotated[Mapping[str, Any], Doc("other arguments of the world, by name")] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Suite:
    """Every policy on every task, with every noise and latency, on the same seeds."""

    worlds: Annotated[tuple[SuiteWorld, ...], Doc("worlds and their tasks")]
    name: Annotated[str, Doc("as tables show it; empty: the file's name")] = ""
    description: Annotated[str, Doc("what it measures, in a line")] = ""
    policies: Annotated[tuple[str, ...], Doc("policies by name")] = ("planner",)
    models: Annotated[
        tuple[str, ...], Doc("for policies that plan with one: directories, names or addresses; empty: si-nano")
    ] = ("",)
    noise: Annotated[tuple[str, ...], Doc("of the sensors: profiles or YAML files")] = ("none",)
    latency: Annotated[tuple[Latency, ...], Doc("simulated time per plan: seconds or `measured`")] = (0.0,)
    controls: Annotated[
        tuple[str, ...], Doc("also run these on the seeds of each policy with a model: blank, or policies by name")
    ] = ()
    episodes: Annotated[int, Doc("of each row, one per seed")] = 100
    seed: Annotated[int, Doc("of the first episode; each next episode has the next seed")] = OFFICIAL_SEED
    planner: Annotated[PlannerConfig, Doc("the planner's settings")] = field(default_factory=PlannerConfig)
    protocol: Annotated[Protocol, Doc("embodiedbench: its answers, limits and subsets; empty: ours")] = ""

    def __post_init__(self) -> None:
        """Check ranges, and that nothing is empty."""
        for name in ("worlds", "policies", "models", "noise", "latency"):
            if not getattr(self, name):
                raise ConfigError(f"expected {name} of a suite to name at least one, got none")
        if self.episodes < 1 or self.seed < 0:
            raise ConfigError(
                f"expected at least 1 episode and a seed of 0 or more, got: {self.episodes} and {self.seed}"
            )
        for value in self.latency:
            if value != "measured" and not value >= 0:
                raise ConfigError(f"expected a latency of 0 s or more, or 'measured', got: {value}")
        ours = (self.policies, self.noise, self.latency) == (("planner",), ("none",), (0.0,))
        if self.protocol and not ours:
            raise ConfigError(
                f"the protocol {self.protocol} brings its own policy and no noise or latency; leave out policies, "
                f"noise and latency, got: {self.policies}, {self.noise}, {self.latency}"
            )


def shipped_suites() -> dict[str, Path]:
    """The files of the suites that come with the package, by name."""
    return {path.stem: path for path in sorted(SHIPPED.glob("*.yaml"))}


def load_suite(which: str | Path) -> Suite:
    """Read a suite.

    Args:
        which: a YAML file, or the name of a suite that comes with the package.

    Raises:
        UnknownNameError: there is no suite of that name.
        ConfigError: the file cannot be read, or has unknown or invalid settings.
    """
    path = Path(which)
    if path.suffix not in (".yaml", ".yml") and not path.is_file():
        known = shipped_suites()
        if str(which) not in known:
            raise UnknownNameError("suite", str(which), known)
        path = known[str(which)]
    suite = read_settings(Suite, path)
    return suite if suite.name else replace(suite, name=path.stem)
