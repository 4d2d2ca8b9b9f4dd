"""What an environment may be asked for: names among those that are known, numbers in their range."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from si_embodied.errors import ConfigError, UnknownNameError

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["IMAGE_SIZES_PX", "check_names", "check_number"]

IMAGE_SIZES_PX = 16, 4096


def check_names(*asked: tuple[str, object, Iterable[object]]) -> None:
    """Refuse a name that is not known.

    Args:
        asked: what it names ("task"), the name, and those that are known.

    Raises:
        UnknownNameError: the first that is not known, with the nearest that is.
    """
    for what, name, known in asked:
        names = list(known)
        if name not in names:
            raise UnknownNameError(what, name, [str(k) for k in names])


def check_number(name: str, value: float | None, low: float, high: float = math.inf, unit: str = "") -> None:
    """Refuse a number outside its range; None is left to the environment.

    Raises:
        ConfigError: it is below `low` or above `high`.
    """
    if value is None or low <= value <= high:
        return
    wanted = f"of at least {low:g}" if math.isinf(high) else f"from {low:g} to {high:g}"
    raise ConfigError(f"expected {name} {wanted}{unit and ' ' + unit}, got: {value}")
