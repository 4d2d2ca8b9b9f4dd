"""Random actions: the control that every policy must beat."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import numpy as np

from si_embodied.policies.base import Policy

if TYPE_CHECKING:
    import gymnasium

    from si_embodied.policies.skills import Action
    from si_embodied.types import Observation, Task


class RandomPolicy(Policy):
    """Samples an action space and ignores the observations."""

    def __init__(self, action_space: gymnasium.Space[Any], seed: int) -> None:
        """Sample `action_space`; the same seed gives the same actions."""
        self._space = action_space
        self._space.seed(seed)

    def reset(self, task: Task) -> None:
        """Do nothing: the samples continue."""

    def act(self, observation: Observation) -> Action:
        """The next sample."""
        drawn = self._space.sample()
        return int(drawn) if np.ndim(drawn) == 0 else cast("Action", drawn)
