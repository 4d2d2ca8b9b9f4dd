"""What a planner remembers while the robot moves, from one task to the next, and until it no longer holds. Pure."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from si_embodied.memory import Memory

if TYPE_CHECKING:
    from si_embodied.config import PlannerConfig
    from si_embodied.embodiment import TaskKind
    from si_embodied.types import Observation

_MOVED_M, _MOVED_RAD = 0.1, 0.1
"""A camera that has moved less still shows the same view."""


def memory_for(config: PlannerConfig, kind: TaskKind, last: Memory | None) -> Memory:
    """The memory for a new task, with the views and objects of the last one, which was in the same place."""
    fresh = Memory.for_planner(config, kind)
    if last is None:
        return fresh
    return replace(last.next_task(), limit=fresh.limit, kept=fresh.kept, config=fresh.config)


def forgetting(memory: Memory) -> Memory:
    """The memory without views, objects and goal, because they are no longer where, or when, they were."""
    return replace(memory.without_views(), objects=(), goal=None)


class PassedViews:
    """Holds back the newest view until the camera has left it.

    A robot that has arrived stands still for a moment before the next plan. Its last view would be remembered, and then
    shown beside the plan's own image, which shows the same. In simulation both are one observation.
    """

    def __init__(self) -> None:
        """Start without a view."""
        self._newest: Observation | None = None

    def add(self, observation: Observation) -> Observation | None:
        """Take the newest observation. Returns the one before it, if its first camera has moved since."""
        last, self._newest = self._newest, observation
        return last if last is not None and camera_moved(last, observation) else None


def camera_moved(before: Observation, after: Observation) -> bool:
    """Whether the first camera shows another view, because it has moved or turned."""
    if not before.frames or not after.frames:
        return False
    return before.frames[0].T_map_camera.differs(after.frames[0].T_map_camera, by_m=_MOVED_M, by_rad=_MOVED_RAD)
