"""Statistics of columns and images, which LeRobot normalises with: exact, over all steps and pixels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

Statistics: TypeAlias = Mapping[str, list[Any]]
"""min, max, mean, std, count and quantiles, each a list with a number for each of the column's."""

QUANTILES = {"q01": 0.01, "q10": 0.10, "q50": 0.50, "q90": 0.90, "q99": 0.99}
_LEVELS = 256


def describe(values: NDArray[np.generic]) -> Statistics:
    """Statistics of a column's values (T, n)."""
    numbers = values.astype(np.float64)
    found = {
        "min": numbers.min(axis=0).tolist(),
        "max": numbers.max(axis=0).tolist(),
        "mean": numbers.mean(axis=0).tolist(),
        "std": numbers.std(axis=0).tolist(),
        "count": [len(numbers)],
    }
    return found | {name: np.quantile(numbers, share, axis=0).tolist() for name, share in QUANTILES.items()}


@dataclass(slots=True)
class PixelCounts:
    """How often each level of each colour occurs: enough for all statistics, and they add up over episodes."""

    counts: NDArray[np.int64] = field(default_factory=lambda: np.zeros((3, _LEVELS), np.int64))
    frames: int = 0

    def add(self, rgb: NDArray[np.uint8]) -> None:
        """Count the pixels of an image (H, W, 3)."""
        for channel in range(3):
            self.counts[channel] += np.bincount(rgb[..., channel].ravel(), minlength=_LEVELS)
        self.frames += 1

    def merge(self, other: PixelCounts) -> None:
        """Add what another has counted."""
        self.counts += other.counts
        self.frames += other.frames

    def describe(self) -> Statistics:
        """Statistics of colours in 0..1, with shape (3, 1, 1); the count is that of images, as LeRobot has it."""
        levels = np.arange(_LEVELS) / (_LEVELS - 1)
        shares = self.counts / self.counts.sum(axis=1, keepdims=True)
        mean = shares @ levels
        below = np.cumsum(shares, axis=1)
        found = {
            "min": levels[np.argmax(self.counts > 0, axis=1)],
            "max": levels[_LEVELS - 1 - np.argmax(self.counts[:, ::-1] > 0, axis=1)],
            "mean": mean,
            "std": np.sqrt(np.maximum(shares @ levels**2 - mean**2, 0.0)),
            **{name: levels[np.argmax(below >= share - 1e-12, axis=1)] for name, share in QUANTILES.items()},
        }
        return {name: value.reshape(3, 1, 1).tolist() for name, value in found.items()} | {"count": [self.frames]}
