"""Follows an episode, and knows its latest moment."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from si_embodied.evaluation.episode import Watcher
from si_embodied.live.moment import Moment

if TYPE_CHECKING:
    from si_embodied.backends.tapped import Tap
    from si_embodied.embodiment import Embodiment
    from si_embodied.policies.base import Policy
    from si_embodied.types import Observation, Task


class Following(Watcher):
    """Keeps references to what acts and what it saw last, and where it has been."""

    def __init__(self, *, title: str, seed: int, tap: Tap | None = None) -> None:
        """Follow an episode.

        Args:
            title: policy, world and task.
            seed: of the episode.
            tap: keeps the prompts as the model sees them.
        """
        self._title, self._seed, self._tap = title, seed, tap
        self._robot: Embodiment | None = None  # what acts, if it is a robot of this package
        self._trail: list[tuple[float, float]] = []
        self._last: tuple[Policy, Task, Observation] | None = None

    def acted(self, env: Any, policy: Policy, task: Task, observation: Observation, step: int) -> None:
        """Take note of the step."""
        place = observation.T_map_base if observation.arm is None else observation.arm.T_map_tool
        self._trail.append((round(float(place.translation[0]), 3), round(float(place.translation[1]), 3)))
        self._robot = getattr(env.unwrapped, "embodiment", None)
        self._last = policy, task, observation

    def moment(self, status: str, step: int) -> Moment | None:
        """The latest moment; None before the first step."""
        if self._last is None:
            return None
        policy, task, observation = self._last
        return Moment(
            self._title, self._seed, task.instruction, step, status, observation, policy.decisions, policy.execution,
            None if self._tap is None else self._tap.prompt, self._robot, self._trail,
        )  # fmt: skip
