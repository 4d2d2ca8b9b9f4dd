"""Converts Gymnasium's spaces to values that can be sent to another process, and back."""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium import spaces

from si_embodied.errors import MessageError


def to_values(space: spaces.Space[Any]) -> list[Any]:
    """A space's kind and its parameters.

    Raises:
        MessageError: this kind of space is not supported.
    """
    if isinstance(space, spaces.Box):
        return ["Box", space.low, space.high, space.dtype.str]
    if isinstance(space, spaces.Discrete):
        return ["Discrete", int(space.n), int(space.start), space.dtype.str]
    if isinstance(space, spaces.MultiBinary):
        return ["MultiBinary", space.n if isinstance(space.n, int) else list(space.shape)]
    if isinstance(space, spaces.MultiDiscrete):
        return ["MultiDiscrete", space.nvec, space.start, space.dtype.str]
    if isinstance(space, spaces.Text):
        return ["Text", space.min_length, space.max_length, "".join(space.character_list)]
    if isinstance(space, spaces.Dict):
        return ["Dict", [[key, to_values(inner)] for key, inner in space.items()]]
    if isinstance(space, spaces.Tuple):
        return ["Tuple", [to_values(inner) for inner in space]]
    if isinstance(space, spaces.Sequence):
        return ["Sequence", to_values(space.feature_space), bool(space.stack)]
    raise MessageError(
        f"a space of kind {type(space).__name__} cannot be sent to another process; wrap the environment so that it "
        "has Box, Discrete, MultiBinary, MultiDiscrete, Text, Dict, Tuple or Sequence"
    )


def from_values(values: list[Any]) -> spaces.Space[Any]:
    """The inverse of `to_values`."""
    kind, *parts = values
    if kind == "Box":
        low, high, dtype = parts
        return spaces.Box(low, high, dtype=_dtype(dtype))
    if kind == "Discrete":
        n, start, dtype = parts
        return spaces.Discrete(n, start=start, dtype=_dtype(dtype))
    if kind == "MultiBinary":
        return spaces.MultiBinary(parts[0])
    if kind == "MultiDiscrete":
        nvec, start, dtype = parts
        return spaces.MultiDiscrete(nvec, start=start, dtype=_dtype(dtype))
    if kind == "Text":
        shortest, longest, characters = parts
        return spaces.Text(longest, min_length=shortest, charset=characters)
    if kind == "Dict":
        return spaces.Dict({key: from_values(inner) for key, inner in parts[0]})
    if kind == "Tuple":
        return spaces.Tuple([from_values(inner) for inner in parts[0]])
    if kind == "Sequence":
        inner, stack = parts
        return spaces.Sequence(from_values(inner), stack=stack)
    raise MessageError(f"unknown kind of space {kind!r}; use the same version of si_embodied on both sides")


def _dtype(name: str) -> Any:
    return np.dtype(name).type
