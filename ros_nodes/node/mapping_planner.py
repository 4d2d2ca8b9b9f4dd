"""A planner that knows where its base can go: it maps what it is shown, in the thread that plans."""

from __future__ import annotations

import dataclasses
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

from si_embodied.policies.mapping import OccupancyMapper
from si_embodied.policies.skills.navigation import Explorer
from si_embodied.skills import ExploreFrontier
from si_embodied.types import Execute

if TYPE_CHECKING:
    from si_embodied.backends.base import BackendInfo
    from si_embodied.config import PlannerConfig
    from si_embodied.embodiment import Embodiment, MobileBase
    from si_embodied.geometry import Pose
    from si_embodied.guard import Guard
    from si_embodied.memory import Memory
    from si_embodied.planner import AnyPlanner
    from si_embodied.types import Decision, Observation, Task

KEYFRAMES = 12
"""Observations on the way that are kept until the next plan; mapping them takes a fraction of planning."""


@dataclass(frozen=True, slots=True, eq=False)
class Asked:
    """What a decision rests on beside its task, its observation and the settings."""

    memory: Memory
    now_s: float  # when planning began, by the observation's clock
    keyframes: tuple[Observation, ...] = ()  # mapped since the last plan, before the plan's own observation
    fresh: bool = False  # whether the map was new before them


class ReplaceablePlanner:
    """Another planner, which may be replaced between plans: settings have changed."""

    def __init__(self, planner: AnyPlanner) -> None:
        """Begin with `planner`."""
        self.inner = planner
        self.asked: Asked | None = None  # for the last decision

    @property
    def config(self) -> PlannerConfig:
        """The other planner's."""
        return self.inner.config

    @property
    def embodiment(self) -> Embodiment:
        """The other planner's."""
        return self.inner.embodiment

    @property
    def guard(self) -> Guard:
        """The other planner's."""
        return self.inner.guard

    @property
    def info(self) -> BackendInfo:
        """The other planner's."""
        return self.inner.info

    def close(self) -> None:
        """Close the other planner."""
        self.inner.close()

    def plan(
        self, task: Task, observation: Observation, memory: Memory, *, now_s: float | None = None
    ) -> Decision:  # fmt: skip
        """The other planner's decision."""
        self.asked = Asked(memory, observation.stamp_s if now_s is None else now_s)
        return self.inner.plan(task, observation, memory, now_s=now_s)


class MappingPlanner(ReplaceablePlanner):
    """Adds the map to the observations of another planner, and says what to explore.

    `plan` runs in the worker's thread; `keyframe` and `spot` are the control thread's, `spot` after a plan was polled.
    """

    def __init__(self, planner: AnyPlanner, base: MobileBase) -> None:
        """An empty map."""
        super().__init__(planner)
        self.spot: tuple[float, float] | None = None  # map xy, of the last plan that explores
        self._base = base
        self._keyframes: deque[Observation] = deque(maxlen=KEYFRAMES)
        self._fresh = True
        self._mapper = OccupancyMapper(base)
        self._explorer = Explorer(base, self._mapper)

    def reset(self) -> None:
        """Forget the map before the next plan: a new task, or the map frame has jumped."""
        self._keyframes.clear()
        self._fresh = True

    def keyframe(self, observation: Observation) -> None:
        """Keep what was seen on the way for the map."""
        self._keyframes.append(observation)

    def plan(
        self, task: Task, observation: Observation, memory: Memory, *, now_s: float | None = None
    ) -> Decision:  # fmt: skip
        """The other planner's decision, on the observation with the map."""
        fresh, self._fresh = self._fresh, False
        if fresh:
            self._mapper = OccupancyMapper(self._base)
            self._explorer = Explorer(self._base, self._mapper)
        keyframes = []
        while self._keyframes:
            keyframes.append(self._keyframes.popleft())
            self._mapper.update(keyframes[-1])
        self._mapper.update(observation)
        base = observation.T_map_base
        observation = dataclasses.replace(observation, navigation_map=self._mapper.navigation_map(base))
        decision = super().plan(task, observation, memory, now_s=now_s)
        assert self.asked is not None  # just now
        self.asked = dataclasses.replace(self.asked, keyframes=tuple(keyframes), fresh=fresh)
        if isinstance(decision, Execute) and any(isinstance(goal, ExploreFrontier) for goal in decision.goals):
            self.spot = self._next_spot(base)
        return decision

    def _next_spot(self, T_map_base: Pose) -> tuple[float, float] | None:
        spot = self._explorer.next_spot(T_map_base)
        if spot is None:
            self._explorer = Explorer(self._base, self._mapper)  # asked again, it goes around again
        return spot

    def take_spot(self) -> tuple[float, float] | None:
        """What to explore now, if there is anything; it will not be said again, so only who goes there may ask."""
        if self.spot is not None:
            self._explorer.looked_around(*self.spot)
        return self.spot
