"""The names of a world's arguments, for an error that suggests the right one."""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from typing import Any

from si_embodied.errors import ConfigError, UnknownNameError


def check_arguments(env_id: str, given: Iterable[str]) -> None:
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
    import gymnasium

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
