"""Actions drawn at random: the control that every policy must beat."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import numpy as np

if TYPE_CHECKING:
    import gymnasium

    from si_embodied.policies.base import Action
    from si_embodied.types import Observation, Task


class RandomPolicy:
    """Draws from an action space, whatever it sees."""

    def __init__(self, action_space: gymnasium.Space[Any], seed: int) -> None:
        """Draw from `action_space`; the same seed gives the same actions."""
        self._space = action_space
        self._space.seed(seed)

    def reset(self, task: Task) -> None:
        """Nothing to forget: the draws go on."""

    def act(self, observation: Observation) -> Action:
        """The next draw."""
        drawn = self._space.sample()
        return int(drawn) if np.ndim(drawn) == 0 else cast("Action", drawn)

    def close(self) -> None:
        """Nothing is held."""
