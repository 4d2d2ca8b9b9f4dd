"""Settings as ROS parameters: declared from the dataclasses, read back through the one loader."""

from __future__ import annotations

import dataclasses
import inspect
import re
import typing
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor, SetParametersResult

from si_embodied.config import from_mapping
from si_embodied.errors import SiEmbodiedError

T = TypeVar("T")

LIVE = ("planner.guard.", "planner.grounding.", "planner.deadline_s", "planner.memory_entries")
"""What may be set while the node runs; all else is read when it is configured."""

_COMMENT = re.compile(r"^ {4}(\w+): .*?#\s*(.+?)\s*$", re.MULTILINE)
_SHARE, _POSITIVE = (0.0, 1.0), (0.0, 1e6)


@dataclass(frozen=True, slots=True)
class Setting:
    """One parameter."""

    name: str  # "planner.guard.max_plan_age_s"
    default: Any
    description: str  # the comment beside the field


def settings_of(cls: type[Any], prefix: str = "") -> Iterator[Setting]:
    """Every leaf of a tree of settings dataclasses."""
    comments = dict(_COMMENT.findall(inspect.getsource(cls)))
    hints, defaults = typing.get_type_hints(cls), cls()
    for each in dataclasses.fields(cls):
        name = f"{prefix}{each.name}"
        if dataclasses.is_dataclass(hints[each.name]):
            yield from settings_of(typing.cast("type[Any]", hints[each.name]), f"{name}.")
        else:
            yield Setting(name, getattr(defaults, each.name), comments.get(each.name, ""))


def declare(node: Any, cls: type[Any]) -> None:
    """Declare every setting on a node, typed, with its description and its range."""
    for setting in settings_of(cls):
        default = list(setting.default) if isinstance(setting.default, tuple) else setting.default
        node.declare_parameter(setting.name, default, _descriptor(setting))


def _descriptor(setting: Setting) -> ParameterDescriptor:
    descriptor = ParameterDescriptor(description=setting.description)
    if isinstance(setting.default, float) and not setting.name.endswith("_rad"):
        low, high = _SHARE if setting.name.endswith("_ratio") else _POSITIVE
        descriptor.floating_point_range = [FloatingPointRange(from_value=low, to_value=high)]
    elif isinstance(setting.default, int) and not isinstance(setting.default, bool):
        descriptor.integer_range = [IntegerRange(from_value=0, to_value=1_000_000)]
    return descriptor


def read(node: Any, cls: type[T], changes: Mapping[str, Any] | None = None) -> T:
    """The settings as the node's parameters have them, with `changes` by name on top.

    Raises:
        ConfigError: values that do not go together.
    """
    values: dict[str, Any] = {}
    for setting in settings_of(cls):
        given = (changes or {}).get(setting.name, node.get_parameter(setting.name).value)
        if isinstance(setting.default, tuple):
            given = list(given)  # rclpy gives arrays
        *groups, leaf = setting.name.split(".")
        place = values
        for group in groups:
            place = place.setdefault(group, {})
        place[leaf] = given
    return from_mapping(cls, values)


def check(node: Any, cls: type[Any], parameters: Sequence[Any], *, configured: bool) -> SetParametersResult:
    """Whether parameters may be set now; the reason says what to do instead.

    Before the node is configured each may be set alone, whatever the others are: together they are judged then.
    """
    if not configured:
        return SetParametersResult(successful=True)
    ours = {setting.name for setting in settings_of(cls)}
    changes = {parameter.name: parameter.value for parameter in parameters if parameter.name in ours}
    fixed = [name for name in changes if not name.startswith(LIVE)]
    if fixed:
        reason = f"{', '.join(fixed)} is read when the node is configured: clean up, set it, configure again"
        return SetParametersResult(successful=False, reason=reason)
    try:
        read(node, cls, changes)
    except SiEmbodiedError as error:
        return SetParametersResult(successful=False, reason=str(error))
    return SetParametersResult(successful=True)
