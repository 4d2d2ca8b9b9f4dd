"""The planner's settings as frozen dataclasses, and the one loader for YAML, command line and ROS parameters.

A setting's description is written once, as a `Doc` (PEP 727) beside its field: `--help`, the descriptions of ROS
parameters and the files in `config/` show that text.
"""

from __future__ import annotations

import collections.abc
import dataclasses
import difflib
import math
import re
import types
import typing
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

from typing_extensions import Doc

from si_embodied.errors import ConfigError, shown

if TYPE_CHECKING:
    from si_embodied.embodiment import TaskKind

T = TypeVar("T")

MOST_KEYFRAMES, MOST_OBJECTS = 8, 64

CHECKPOINT_SETTINGS = "planner.yaml"
"""File in a checkpoint's directory that names the prompts it was trained with."""


@dataclass(frozen=True, slots=True)
class GroundingConfig:
    """How a pixel becomes a metric goal."""

    depth_patch_radius_px: Annotated[int, Doc("the depth of a pixel is read from the patch this far around it")] = 2
    min_valid_depth_ratio: Annotated[float, Doc("share of the patch that must have a depth")] = 0.4
    min_surface_ratio: Annotated[
        float, Doc("share of the patch that must lie on the pixel's own surface; less means an edge")
    ] = 0.5
    preferred_standoff_m: Annotated[float, Doc("distance of the base's centre from the point, for goto")] = 0.6
    max_standoff_m: Annotated[float, Doc("largest such distance; a wide bed is pointed at in its middle")] = 1.6
    min_approach_m: Annotated[float, Doc("least progress of a goto that has to stop at the edge of the map")] = 0.5
    max_view_age_s: Annotated[float, Doc("a remembered view or object older than this is not driven to")] = 300.0
    object_radius_m: Annotated[float, Doc("largest half extent of an object to pick, from the point")] = 0.06
    max_miss_m: Annotated[float, Doc("a pick whose point misses the only object nearby by this much takes it")] = 0.03
    surface_step_m: Annotated[float, Doc("neighbouring pixels farther apart than this belong to two objects")] = 0.012
    min_object_height_m: Annotated[float, Doc("an object lower than this above its support cannot be grasped")] = 0.012
    grasp_depth_m: Annotated[float, Doc("how far below the object's top the gripper closes")] = 0.025


@dataclass(frozen=True, slots=True)
class GuardConfig:
    """Limits on every plan, however confident the model is."""

    max_goal_distance_m: Annotated[float, Doc("largest distance of a navigation goal from the base")] = 12.0
    max_drive_m: Annotated[float, Doc("longest drive straight ahead")] = 3.0
    max_push_m: Annotated[float, Doc("longest push of an arm")] = 0.5
    max_instruction_characters: Annotated[int, Doc("a longer instruction is refused before the model sees it")] = 2000
    max_observation_age_s: Annotated[float, Doc("an older observation is not planned from")] = 1.0
    max_plan_age_s: Annotated[float, Doc("counted from the image's stamp; an older plan is not executed")] = 10.0
    max_repeats: Annotated[int, Doc("how often the same goals may be tried from the same places in turn")] = 3
    circle_window: Annotated[
        int, Doc("attempts that are compared: circles of up to circle_window / max_repeats goals are found")
    ] = 120
    min_map_gain_m2: Annotated[
        float, Doc("floor that the map must gain for repeated goals not to count as going round in circles")
    ] = 0.5
    max_failures: Annotated[int, Doc("outcomes in a row without a success after which the guard refuses")] = 8

    def __post_init__(self) -> None:
        """Raise `ConfigError` if a limit is not positive."""
        for bound in dataclasses.fields(self):
            if not getattr(self, bound.name) > 0:
                raise ConfigError(f"expected guard.{bound.name} to be positive, got: {getattr(self, bound.name)}")


@dataclass(frozen=True, slots=True)
class MemoryConfig:
    """What a planner remembers of its task, and shows to the model if the prompt has a place for it."""

    entries: Annotated[int, Doc("how many past outcomes the prompt shows")] = 12
    keyframes: Annotated[int, Doc("how many earlier views are remembered; 0: none")] = 4
    min_view_gain_m2: Annotated[
        float, Doc("ground that a view must show and no remembered view does, for it to be remembered")
    ] = 2.0
    objects: Annotated[int, Doc("how many objects that the model pointed at are remembered; 0: none")] = 16
    localise_goal: Annotated[
        bool, Doc("find out from the views where a goal picture was taken, if the prompt shows known objects")
    ] = True

    def __post_init__(self) -> None:
        """Check ranges."""
        if self.entries < 1:
            raise ConfigError(f"expected memory.entries to be at least 1, got: {self.entries}")
        if not 0 <= self.keyframes <= MOST_KEYFRAMES:
            raise ConfigError(f"expected memory.keyframes from 0 to {MOST_KEYFRAMES}, got: {self.keyframes}")
        if not 0 <= self.objects <= MOST_OBJECTS:
            raise ConfigError(f"expected memory.objects from 0 to {MOST_OBJECTS}, got: {self.objects}")
        if not self.min_view_gain_m2 > 0:
            raise ConfigError(f"expected memory.min_view_gain_m2 to be positive, got: {self.min_view_gain_m2}")


@dataclass(frozen=True, slots=True)
class Prompts:
    """The prompt version for each kind of task; empty: the checkpoint's own, or else that of `DEFAULT_PROMPTS`."""

    navigation: Annotated[str, Doc("empty: the checkpoint's own, otherwise nav/v2")] = ""
    manipulation: Annotated[str, Doc("empty: the checkpoint's own, otherwise manip/v2")] = ""
    rearrangement: Annotated[str, Doc("empty: the checkpoint's own, otherwise rearrange/v2")] = ""
    reasoning: Annotated[bool, Doc("let the model reason in a short text before the plan")] = False

    def or_else(self, other: Prompts) -> Prompts:
        """These prompts, with `other` filling in the empty ones; reasoning if either asks for it."""
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


DEFAULT_PROMPTS = Prompts("nav/v2", "manip/v2", "rearrange/v2")


@dataclass(frozen=True, slots=True)
class PlannerConfig:
    """Settings of one planner."""

    prompts: Prompts = field(default_factory=Prompts)
    deadline_s: Annotated[float, Doc("for one plan, including a second answer if the first was invalid")] = 20.0
    confirm_done: Annotated[
        bool,
        Doc(
            "end a task only by a plan that has nothing left to do, made from a look after the last goal, "
            "as far as the prompt shows what was tried"
        ),
    ] = True
    look_around: Annotated[
        bool, Doc("offer the skill look_around, as far as the prompt shows the views that it takes")
    ] = True
    first_camera_only: Annotated[bool, Doc("show the model the first camera's present view, and no others")] = False
    memory: MemoryConfig = field(default_factory=MemoryConfig)
    grounding: GroundingConfig = field(default_factory=GroundingConfig)
    guard: GuardConfig = field(default_factory=GuardConfig)
    min_probability: Annotated[
        float, Doc("probability of a decision below which the planner looks again instead of going; 0: go anyway")
    ] = 0.0
    min_done_probability: Annotated[
        float,
        Doc("probability of `done` below which the model is asked what it would do instead; 0: end the task anyway"),
    ] = 0.7

    def __post_init__(self) -> None:
        """Check ranges."""
        for name in ("min_probability", "min_done_probability"):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(f"expected {name} to be from 0 to 1, got: {getattr(self, name)}")
        if not self.deadline_s > 0:
            raise ConfigError(f"expected deadline_s to be positive, got: {self.deadline_s}")


_EXPONENT = re.compile(r"[-+]?\d+(\.\d*)?[eE][-+]?\d+")
_OLD_NAMES = {
    "navigation_prompt": ("prompts", "navigation"),
    "manipulation_prompt": ("prompts", "manipulation"),
    "rearrangement_prompt": ("prompts", "rearrangement"),
    "reasoning": ("prompts", "reasoning"),
    "memory_entries": ("memory", "entries"),
}
"""Settings of 0.1.0 that have moved into a group."""


def _regrouped(values: typing.Mapping[str, Any]) -> dict[str, Any]:
    """Convert settings of 0.1.0, which had fewer groups; what is set in a group already is kept."""
    new = {key: value for key, value in values.items() if key not in _OLD_NAMES}
    for key, (group, name) in _OLD_NAMES.items():
        if key in values and isinstance(new.setdefault(group, {}), typing.Mapping):
            new[group] = {name: values[key], **new[group]}
    return new


_UPGRADES: typing.Mapping[type[Any], typing.Callable[[typing.Mapping[str, Any]], dict[str, Any]]] = {
    PlannerConfig: _regrouped,
}
"""Conversions that keep files written for an older version readable."""


def descriptions(cls: type[Any]) -> dict[str, str]:
    """The description of every field of a settings dataclass that has one, by the field's name."""
    hints = typing.get_type_hints(cls, include_extras=True)
    notes = ((name, note) for name, hint in hints.items() for note in getattr(hint, "__metadata__", ()))
    return {name: note.documentation for name, note in notes if isinstance(note, Doc)}


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting of a tree of settings dataclasses."""

    name: str  # "planner.guard.max_plan_age_s"
    default: Any
    description: str


def settings_of(cls: type[Any], prefix: str = "") -> typing.Iterator[Setting]:
    """Every setting of a dataclass and of those nested in it."""
    described, hints, defaults = descriptions(cls), typing.get_type_hints(cls), cls()
    for each in dataclasses.fields(cls):
        name = f"{prefix}{each.name}"
        if dataclasses.is_dataclass(hints[each.name]):
            yield from settings_of(typing.cast("type[Any]", hints[each.name]), f"{name}.")
        else:
            yield Setting(name, getattr(defaults, each.name), described.get(each.name, ""))


def from_mapping(cls: type[T], values: typing.Mapping[str, Any], *, path: str = "") -> T:
    """Build a settings dataclass from nested plain values, as read from YAML or ROS parameters.

    Raises:
        ConfigError: for an unknown key (with a suggestion) and a value of the wrong type or out of range.
        UnknownNameError: for a name that the settings class does not know.
    """
    hints = typing.get_type_hints(cls)
    known = {f.name for f in dataclasses.fields(cls)}  # type: ignore[arg-type]
    arguments: dict[str, Any] = {}
    for key, value in _UPGRADES.get(cls, dict)(values).items():
        where = f"{path}{key}"
        if key not in known:
            close = difflib.get_close_matches(str(key), known, n=1)
            hint = f" Did you mean {close[0]!r}?" if close else ""
            raise ConfigError(f"unknown setting {shown(where)}.{hint} Known here: {', '.join(sorted(known))}.")
        arguments[key] = _checked(hints[key], value, where)
    missing = [
        each.name
        for each in dataclasses.fields(cls)  # type: ignore[arg-type]
        if each.name not in arguments and each.default is each.default_factory is dataclasses.MISSING
    ]
    if missing:
        raise ConfigError(f"expected {shown(f'{path}{missing[0]}')} to be set; it has no default")
    return cls(**arguments)


def _checked(expected: Any, value: Any, where: str) -> Any:
    """Return `value` as the type `expected`: an int is accepted for a float, a list for a tuple."""
    if dataclasses.is_dataclass(expected):
        if not isinstance(value, typing.Mapping):
            raise ConfigError(f"expected {where!r} to be a group of settings, got: {shown(value)}")
        return from_mapping(typing.cast("type[Any]", expected), value, path=f"{where}.")
    origin, inner = typing.get_origin(expected), typing.get_args(expected)
    if origin is tuple:
        if isinstance(value, str) or not isinstance(value, typing.Sequence):
            raise ConfigError(f"expected {where!r} to be a list, got: {shown(value)}")
        return tuple(_checked(inner[0], item, f"{where}[{i}]") for i, item in enumerate(value))
    if origin in (typing.Union, types.UnionType):
        return _one_of(inner, value, where)
    if origin is typing.Literal:
        if value not in inner:
            raise ConfigError(f"expected {where!r} to be one of {', '.join(map(repr, inner))}, got: {shown(value)}")
        return value
    if origin is collections.abc.Mapping:
        expected = dict
    if expected is float and isinstance(value, str) and _EXPONENT.fullmatch(value):
        value = float(value)  # YAML 1.1 takes 1e-3 for text, and YAML 1.2 for a number
    if expected is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value) if abs(value) < 1 << 1000 else math.inf
    if not isinstance(value, expected) or (isinstance(value, bool) and expected is not bool):
        raise ConfigError(f"expected {where!r} to be {expected.__name__}, got: {shown(value)}")
    if isinstance(value, float) and not math.isfinite(value):
        raise ConfigError(f"expected {where!r} to be finite, got: {value}")
    return value


def _one_of(choices: tuple[Any, ...], value: Any, where: str) -> Any:
    """Return `value` as the first of several types that it fits."""
    reasons = []
    for choice in choices:
        if choice is types.NoneType:
            if value is None:
                return None
            continue
        try:
            return _checked(choice, value, where)
        except ConfigError as error:
            reasons.append(str(error))
    raise ConfigError("; or ".join(reasons))


def load_planner_config(path: Path | None) -> PlannerConfig:
    """Read a `PlannerConfig` from a YAML file; settings not in the file keep their defaults, as all do without a file.

    Raises:
        ConfigError: if the file is missing or not YAML, or `from_mapping` rejects its settings.
    """
    return PlannerConfig() if path is None else read_settings(PlannerConfig, path)


def read_settings(cls: type[T], path: Path) -> T:
    """Read a settings dataclass from a YAML file.

    Raises:
        ConfigError: if the file is missing or not YAML, or `from_mapping` rejects its settings; the message names the
            file.
    """
    values = load_yaml(path)
    try:
        return from_mapping(cls, values)
    except ConfigError as error:
        raise ConfigError(f"{str(path)!r}: {error}") from error


def checkpoint_prompts(directory: Path) -> Prompts:
    """Read the prompts that a checkpoint was trained with from its planner.yaml; empty if it names none.

    A checkpoint sets nothing but its prompts: limits and deadlines belong to the robot.

    Raises:
        ConfigError: if the file cannot be read or has other settings.
    """
    path = directory / CHECKPOINT_SETTINGS
    try:
        if not path.is_file():
            return Prompts()
    except OSError as error:
        raise ConfigError(f"cannot read the settings file {str(path)!r}: {error.strerror}") from error
    values = load_yaml(path)
    others = sorted(map(str, _regrouped(values).keys() - {"prompts"}))
    if others:
        raise ConfigError(
            f"{str(path)!r}: a checkpoint may only set its prompts, got: {', '.join(others)}; remove them"
        )
    return from_mapping(PlannerConfig, values).prompts


def load_yaml(path: Path) -> dict[str, Any]:
    """Read a YAML file that maps names to values; an empty file has none.

    Raises:
        ConfigError: if the file is missing, not YAML, or something else than a mapping.
    """
    import yaml

    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except OSError as error:
        raise ConfigError(f"cannot read the settings file {str(path)!r}: {error.strerror}") from error
    except Exception as error:  # PyYAML passes on whatever fails in its constructors: "!!int ''", "!!timestamp x"
        raise ConfigError(f"{str(path)!r} is not valid YAML: {error}") from error
    if not isinstance(values, dict):
        raise ConfigError(f"expected {str(path)!r} to map names to settings, got: {type(values).__name__}")
    return values
