"""A policy of one's own, known to `si-embodied eval --policy cautious` once this module is imported (see plugin/)."""

from __future__ import annotations

import numpy as np

from si_embodied.embodiment import BaseAction
from si_embodied.evaluation.registry import PolicySpec, register_policy
from si_embodied.policies.base import Policy
from si_embodied.types import Observation, Task


class CautiousPolicy(Policy):
    """Drives while the way ahead is clear for a metre, and turns left where it is not."""

    def reset(self, task: Task) -> None:
        """Nothing to forget."""

    def act(self, observation: Observation) -> int:
        """One discrete action of a mobile base."""
        depth_m = observation.frames[0].depth_m
        if depth_m is None:
            return int(BaseAction.WAIT)
        ahead = depth_m[:, depth_m.shape[1] // 3 : -(depth_m.shape[1] // 3)]
        clear = float(np.min(ahead, where=ahead > 0, initial=np.inf)) > 1.0
        return int(BaseAction.FORWARD if clear else BaseAction.TURN_LEFT)


def register() -> None:
    """Make the policy known by name."""
    make = lambda settings: lambda env, seed: CautiousPolicy()  # noqa: E731
    register_policy(PolicySpec("cautious", "drives while the way is clear", False, make))
