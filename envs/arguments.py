"""Checks of the environments' arguments: known names, and numbers in range."""

from __future__ import annotations

import inspect
import math
from typing import TYPE_CHECKING, Any

import gymnasium

from si_embodied.errors import ConfigError, UnknownNameError

if TYPE_CHECKING:
    from collections.abc import Iterable

IMAGE_SIZES_PX = 16, 4096


def check_names(*asked: tuple[str, object, Iterable[object]]) -> None:
    """Reject an unknown name.

    Args:
        asked: for each name, what it names ("task"), the name, and the known names.

    Raises:
        UnknownNameError: the first unknown name; the message suggests the closest known one.
    """
    for what, name, known in asked:
        names = list(known)
        if name not in names:
            raise UnknownNameError(what, name, [str(k) for k in names])


def check_number(name: str, value: float | None, low: float, high: float = math.inf, unit: str = "") -> None:
    """Reject a number outside its range; None means that the environment chooses.

    Raises:
        ConfigError: the number is below `low` or above `high`.
    """
    if value is None or low <= value <= high:
        return
    wanted = f"at least {low:g}" if math.isinf(high) else f"from {low:g} to {high:g}"
    raise ConfigError(f"expected {name} to be {wanted}{unit and ' ' + unit}, got: {value}")


def check_step(space: gymnasium.Space[Any], action: object, *, over: bool) -> None:
    """Reject a step after the end of the episode, and an action that is not in the action space.

    Raises:
        gymnasium.error.ResetNeeded: the episode is over.
        gymnasium.error.InvalidAction: the action is not in the action space.
    """
    if over:
        raise gymnasium.error.ResetNeeded("the episode is over; call reset() first")
    if not space.contains(action):
        raise gymnasium.error.InvalidAction(f"expected an action in {space}, got: {action!r}")


def refuse_unknown(env_id: str, given: Iterable[str]) -> None:
    """Say which argument a world does not take, and which it does.

    Raises:
        ConfigError: it does not take one, as far as that can be known.
    """
    known = _arguments(env_id)
    for name in given:
        if known and name not in known:
            raise ConfigError(str(UnknownNameError(f"argument of {env_id}:", name, known)))


def _arguments(env_id: str) -> tuple[str, ...]:
    """The names of a registered world's arguments; none if they cannot be known."""
    from si_embodied.envs import Maker

    if env_id.rpartition(":")[2] not in gymnasium.registry:
        return ()
    entry: Any = gymnasium.spec(env_id.rpartition(":")[2]).entry_point
    world = entry.world() if isinstance(entry, Maker) else entry
    if isinstance(world, str):
        world = gymnasium.envs.registration.load_env_creator(world)
    parameters = inspect.signature(world).parameters.values()
    if any(each.kind is inspect.Parameter.VAR_KEYWORD for each in parameters):
        return ()
    return tuple(each.name for each in parameters)
