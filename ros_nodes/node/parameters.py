"""Settings as ROS parameters: declared from the dataclasses, and read back through the one loader."""

from __future__ import annotations

from array import array
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor, SetParametersResult

from si_embodied.config import Setting, from_mapping, settings_of
from si_embodied.errors import SiEmbodiedError

T = TypeVar("T")

LIVE = (
    "planner.guard.",
    "planner.grounding.",
    "planner.deadline_s",
    "planner.memory.entries",
    "planner.min_probability",
)
"""Parameters that may be set while the node runs; it reads all others when it is configured."""

_SHARE, _POSITIVE = (0.0, 1.0), (0.0, 1e6)


def declare(node: Any, cls: type[Any]) -> None:
    """Declare every setting on a node, with its type, description and range."""
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
    """Read the settings from the node's parameters, with `changes` (by name) on top.

    Raises:
        ConfigError: if the values are invalid or contradict each other.
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


def declare_leniently(node: Any, cls: type[T]) -> tuple[T, list[str]]:
    """Declare and read the settings of a node that must come up whatever it is given.

    Returns:
        The settings, and why values were refused: each of those keeps its default.
    """
    values: dict[str, Any] = {}
    refused: list[str] = []
    for setting in settings_of(cls):
        default = list(setting.default) if isinstance(setting.default, tuple) else setting.default
        descriptor = ParameterDescriptor(description=setting.description, dynamic_typing=True)
        given = node.declare_parameter(setting.name, default, descriptor).value
        tried = _with(values, setting.name, list(given) if isinstance(given, array) else given)
        try:
            from_mapping(cls, tried)
        except SiEmbodiedError as error:
            refused.append(f"{setting.name} keeps its default {default!r}: {error}")
        else:
            values = tried
    return from_mapping(cls, values), refused


def _with(values: Mapping[str, Any], name: str, given: Any) -> dict[str, Any]:
    """Nested values with the one of a dotted name added."""
    group, _, rest = name.partition(".")
    return {**values, group: _with(values.get(group, {}), rest, given) if rest else given}


def check(node: Any, cls: type[Any], parameters: Sequence[Any], *, configured: bool) -> SetParametersResult:
    """Check whether parameters may be set now; the result's reason says what to do instead.

    Before the node is configured, any parameter may be set: all of them are checked together when it is configured.
    """
    if not configured:
        return SetParametersResult(successful=True)
    ours = {setting.name for setting in settings_of(cls)}
    changes = {parameter.name: parameter.value for parameter in parameters if parameter.name in ours}
    fixed = [name for name in changes if not name.startswith(LIVE)]
    if fixed:
        reason = (
            f"{', '.join(fixed)} is read when the node is configured: clean the node up, set it and configure again"
        )
        return SetParametersResult(successful=False, reason=reason)
    try:
        read(node, cls, changes)
    except SiEmbodiedError as error:
        return SetParametersResult(successful=False, reason=str(error))
    return SetParametersResult(successful=True)
