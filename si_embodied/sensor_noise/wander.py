"""A quantity that wanders about zero."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

WANDER_S = 5.0
"""Time constant: after this long, a value is largely independent of what it was."""


class Wander:
    """An Ornstein-Uhlenbeck process: errors that change slowly, with a constant standard deviation."""

    def __init__(self, size: int) -> None:
        """Start with `size` zeros."""
        self.value: NDArray[np.float64] = np.zeros(size)

    def step(self, sigma: ArrayLike, period_s: float, rng: np.random.Generator) -> NDArray[np.float64]:
        """The value (size,) after a period; after an infinite one, it is independent of the value before.

        Args:
            sigma: standard deviation, one for all or one each.
            period_s: time since the last call.
            rng: draws the change.
        """
        keep = math.exp(-period_s / WANDER_S)
        change = math.sqrt(1 - keep**2) * np.asarray(sigma) * rng.normal(size=len(self.value))
        self.value = keep * self.value + change
        return self.value
