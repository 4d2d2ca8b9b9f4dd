"""Every setting of the planner, as frozen dataclasses, and the one loader for YAML, command line and ROS parameters."""

from __future__ import annotations

import dataclasses
import difflib
import math
import typing
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from si_embodied.errors import ConfigError

if TYPE_CHECKING:
    from si_embodied.embodiment import TaskKind

T = TypeVar("T")

CHECKPOINT_SETTINGS = "planner.yaml"
"""In a checkpoint's directory: the prompts it was trained with."""


@dataclass(frozen=True, slots=True)
class GroundingConfig:
    """From a pixel to a metric goal."""

    depth_patch_radius_px: int = 2
    min_valid_depth_ratio: float = 0.4
    min_surface_ratio: float = 0.5  # share of the patch that must lie on the pixel's own surface; less means an edge
    preferred_standoff_m: float = 0.6  # distance of the base's centre from the point, for goto
    max_standoff_m: float = 1.6  # largest such distance; a wide bed is pointed at in its middle
    min_approach_m: float = 0.5  # a goto that ends where the map does must come at least this much nearer
    object_radius_m: float = 0.06  # largest half extent of an object to pick, from the point
    surface_step_m: float = 0.012  # neighbouring pixels farther apart than this belong to two objects
    min_object_height_m: float = 0.012  # an object lower than this above its support cannot be grasped
    grasp_depth_m: float = 0.025  # how far below the object's top the gripper closes


@dataclass(frozen=True, slots=True)
class GuardConfig:
    """What is refused however sure the model is."""

    max_goal_distance_m: float = 12.0  # largest distance of a navigation goal from the base
    max_drive_m: float = 3.0  # longest drive straight ahead
    max_push_m: float = 0.5  # longest push of an arm
    max_instruction_characters: int = 2000  # a longer instruction is refused before it reaches the model
    max_observation_age_s: float = 1.0  # an older observation is not planned from
    max_plan_age_s: float = 10.0  # counted from the image's stamp; an older plan is not carried out
    max_repeats: int = 3  # how often in a row the same goal may be tried from the same place
    circle_window: int = 12  # attempts within which repeating the same few goals counts as going round in circles
    max_failures: int = 8  # outcomes in a row without a success after which the guard refuses

    def __post_init__(self) -> None:
        """Raise `ConfigError` if a limit is not positive."""
        for bound in dataclasses.fields(self):
            if not getattr(self, bound.name) > 0:
                raise ConfigError(f"expected guard.{bound.name} to be positive, got: {getattr(self, bound.name)}")


@dataclass(frozen=True, slots=True)
class Prompts:
    """What a model is asked with. An empty version stands for the checkpoint's own, or else for `DEFAULT_PROMPTS`."""

    navigation: str = ""  # empty: the checkpoint's own, otherwise nav/v1
    manipulation: str = ""  # empty: the checkpoint's own, otherwise manip/v1
    rearrangement: str = ""  # empty: the checkpoint's own, otherwise rearrange/v1
    reasoning: bool = False  # let the model reason in a short text before the plan

    def or_else(self, other: Prompts) -> Prompts:
        """These prompts, with the other's where these are empty; reasoning if either asks for it."""
        return Prompts(
            self.navigation or other.navigation,
            self.manipulation or other.manipulation,
            self.rearrangement or other.rearrangement,
            self.reasoning or other.reasoning,
        )

    def version(self, kind: TaskKind) -> str:
        """The prompt version for a kind of task."""
        return {
            "navigation": self.navigation,
            "manipulation": self.manipulation,
            "rearrangement": self.rearrangement,
        }[kind]


DEFAULT_PROMPTS = Prompts("nav/v1", "manip/v1", "rearrange/v1")


@dataclass(frozen=True, slots=True)
class PlannerConfig:
    """One planner."""

    prompts: Prompts = field(default_factory=Prompts)
    deadline_s: float = 20.0  # for one plan, including a second answer if the first was invalid
    memory_entries: int = 12  # how many past outcomes the prompt shows
    grounding: GroundingConfig = field(default_factory=GroundingConfig)
    guard: GuardConfig = field(default_factory=GuardConfig)

    def __post_init__(self) -> None:
        """Check ranges."""
        if not self.deadline_s > 0:
            raise ConfigError(f"expected deadline_s to be positive, got: {self.deadline_s}")
        if self.memory_entries < 1:
            raise ConfigError(f"expected memory_entries to be at least 1, got: {self.memory_entries}")


def _with_nested_prompts(values: typing.Mapping[str, Any]) -> dict[str, Any]:
    """Settings of 0.1.0, which had `navigation_prompt` and the like beside the bounds, as they are now."""
    kinds = ("navigation", "manipulation", "rearrangement")
    old = {f"{kind}_prompt": kind for kind in kinds} | {"reasoning": "reasoning"}
    moved = {old[key]: value for key, value in values.items() if key in old}
    kept = {key: value for key, value in values.items() if key not in old}
    return kept | {"prompts": {**moved, **kept.get("prompts", {})}} if moved else kept


_UPGRADES: typing.Mapping[type[Any], typing.Callable[[typing.Mapping[str, Any]], dict[str, Any]]] = {
    PlannerConfig: _with_nested_prompts,
}
"""What was written by an older version stays readable."""


def from_mapping(cls: type[T], values: typing.Mapping[str, Any], *, path: str = "") -> T:
    """Build a config dataclass from nested plain values, as YAML and ROS parameters give them.

    Raises:
        ConfigError: an unknown key (with a did-you-mean), a value of the wrong type, or out of range.
    """
    hints = typing.get_type_hints(cls)
    known = {f.name for f in dataclasses.fields(cls)}  # type: ignore[arg-type]
    arguments: dict[str, Any] = {}
    for key, value in _UPGRADES.get(cls, dict)(values).items():
        where = f"{path}{key}"
        if key not in known:
            close = difflib.get_close_matches(str(key), known, n=1)
            hint = f" Did you mean {close[0]!r}?" if close else ""
            raise ConfigError(f"unknown setting {where!r}.{hint} Known here: {', '.join(sorted(known))}.")
        hint_type = hints[key]
        if dataclasses.is_dataclass(hint_type):
            if not isinstance(value, typing.Mapping):
                raise ConfigError(f"expected {where!r} to be a group of settings, got: {value!r}")
            arguments[key] = from_mapping(typing.cast("type[Any]", hint_type), value, path=f"{where}.")
        else:
            arguments[key] = _checked(hint_type, value, where)
    return cls(**arguments)


def _checked(expected: Any, value: Any, where: str) -> Any:
    """`value` if it is of the scalar type `expected`; an int is taken for a float, a list for a tuple of one type."""
    if typing.get_origin(expected) is tuple:
        if isinstance(value, str) or not isinstance(value, typing.Sequence):
            raise ConfigError(f"expected {where!r} to be a list, got: {value!r}")
        return tuple(_checked(typing.get_args(expected)[0], item, f"{where}[{i}]") for i, item in enumerate(value))
    if expected is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if not isinstance(value, expected) or (isinstance(value, bool) and expected is not bool):
        raise ConfigError(f"expected {where!r} to be {expected.__name__}, got: {value!r}")
    if isinstance(value, float) and not math.isfinite(value):
        raise ConfigError(f"expected {where!r} to be finite, got: {value}")
    return value


def load_planner_config(path: Path | None) -> PlannerConfig:
    """Read a `PlannerConfig` from a YAML file; what the file does not name keeps its default. No path, the defaults.

    Raises:
        ConfigError: no such file, not YAML, or settings that `from_mapping` refuses.
    """
    return PlannerConfig() if path is None else from_mapping(PlannerConfig, _load_yaml(path))


def checkpoint_prompts(directory: Path) -> Prompts:
    """The prompts that a checkpoint was trained with, from its planner.yaml; empty where it names none.

    A checkpoint chooses its prompts and nothing else: bounds and deadlines are the robot's.

    Raises:
        ConfigError: the file cannot be read, or holds other settings.
    """
    path = directory / CHECKPOINT_SETTINGS
    if not path.is_file():
        return Prompts()
    values = _load_yaml(path)
    others = sorted(_with_nested_prompts(values).keys() - {"prompts"})
    if others:
        raise ConfigError(f"{str(path)!r}: a checkpoint sets its prompts alone, got: {', '.join(others)}; remove them")
    return from_mapping(PlannerConfig, values).prompts


def _load_yaml(path: Path) -> dict[str, Any]:
    import yaml

    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except OSError as error:
        raise ConfigError(f"cannot read the settings file {str(path)!r}: {error.strerror}") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"{str(path)!r} is not valid YAML: {error}") from error
    if not isinstance(values, dict):
        raise ConfigError(f"expected {str(path)!r} to hold named settings, got: {type(values).__name__}")
    return values
