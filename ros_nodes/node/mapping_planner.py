"""Planner wrappers: one that can be replaced between plans, and one that adds an occupancy map to the observations."""

from __future__ import annotations

import dataclasses
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

from si_embodied.policies.mapping import OccupancyMapper
from si_embodied.policies.skills.exploration import Explorer
from si_embodied.skills import ExploreFrontier, ExploreView
from si_embodied.types import Execute

if TYPE_CHECKING:
    from si_embodied.backends.base import BackendInfo
    from si_embodied.config import PlannerConfig
    from si_embodied.embodiment import Embodiment, MobileBase
    from si_embodied.geometry import Pose
    from si_embodied.guard import Guard
    from si_embodied.memory import Memory
    from si_embodied.planner import AnyPlanner
    from si_embodied.types import Decision, NavigationMap, Observation, Task

MOST_UNMAPPED = 12
"""Observations kept for the map between two plans. Mapping them takes a fraction of the planning time."""


@dataclass(frozen=True, slots=True, eq=False)
class PlanInputs:
    """The inputs of a decision, besides its task, its observation and the settings."""

    memory: Memory
    now_s: float  # start of planning, on the observation's clock
    unmapped: tuple[Observation, ...] = ()  # mapped after the last plan and before the plan's own observation
    fresh: bool = False  # whether the map was empty before them
    navigation_map: NavigationMap | None = None  # what a mobile robot knew of the floor


class ReplaceablePlanner:
    """Wraps a planner that may be replaced between plans when settings change."""

    def __init__(self, planner: AnyPlanner) -> None:
        """Start with `planner`."""
        self.inner = planner
        self.inputs: PlanInputs | None = None  # of the last decision

    @property
    def config(self) -> PlannerConfig:
        """The wrapped planner's settings."""
        return self.inner.config

    @property
    def embodiment(self) -> Embodiment:
        """The wrapped planner's robot."""
        return self.inner.embodiment

    @property
    def guard(self) -> Guard:
        """The wrapped planner's guard."""
        return self.inner.guard

    @property
    def info(self) -> BackendInfo:
        """The wrapped planner's model."""
        return self.inner.info

    def cancel(self) -> None:
        """Abort the wrapped planner's plan."""
        self.inner.cancel()

    def close(self) -> None:
        """Close the wrapped planner."""
        self.inner.close()

    def plan(
        self, task: Task, observation: Observation, memory: Memory, *, now_s: float | None = None
    ) -> Decision:  # fmt: skip
        """Make a decision with the wrapped planner, and keep its inputs."""
        started_s = observation.stamp_s if now_s is None else now_s
        self.inputs = PlanInputs(memory, started_s, navigation_map=observation.navigation_map)
        return self.inner.plan(task, observation, memory, now_s=now_s)


class MappingPlanner(ReplaceablePlanner):
    """Adds a map to the observations of the wrapped planner, and chooses the place to explore.

    The worker's thread calls `plan`. The control thread calls the other methods, `take_pose` only after polling a plan.
    """

    def __init__(self, planner: AnyPlanner, base: MobileBase) -> None:
        """Start with an empty map."""
        super().__init__(planner)
        self._pose: Pose | None = None  # to explore from, of the last plan that explores
        self._base = base
        self._unmapped: deque[Observation] = deque(maxlen=MOST_UNMAPPED)
        self._fresh = True
        self._mapper = OccupancyMapper(base)
        self._explorer = Explorer(base, self._mapper)

    def reset(self) -> None:
        """Clear the map before the next plan, because a new task starts or the map frame has jumped."""
        self._unmapped.clear()
        self._fresh = True

    def add(self, observation: Observation) -> None:
        """Add an observation to the map before the next plan."""
        self._unmapped.append(observation)

    def plan(
        self, task: Task, observation: Observation, memory: Memory, *, now_s: float | None = None
    ) -> Decision:  # fmt: skip
        """Map the unmapped observations and this one, then plan on this one with the map."""
        fresh, self._fresh = self._fresh, False
        if fresh:
            self._mapper = OccupancyMapper(self._base)
            self._explorer = Explorer(self._base, self._mapper)
        unmapped = []
        while self._unmapped:
            unmapped.append(self._unmapped.popleft())
            self._mapper.update(unmapped[-1])
        self._mapper.update(observation)
        base = observation.T_map_base
        observation = dataclasses.replace(observation, navigation_map=self._mapper.navigation_map(base))
        decision = super().plan(task, observation, memory, now_s=now_s)
        assert self.inputs is not None  # set by super().plan
        self.inputs = dataclasses.replace(self.inputs, unmapped=tuple(unmapped), fresh=fresh)
        goals = decision.goals if isinstance(decision, Execute) else ()
        exploring = next((goal for goal in goals if isinstance(goal, ExploreFrontier | ExploreView)), None)
        if exploring is not None:
            view = exploring if isinstance(exploring, ExploreView) else None
            self._pose = self._explorer.next_pose(observation, view)
        return decision

    def take_pose(self) -> Pose | None:
        """Where to stand for the next image of an exploration; None if nothing is left to see. Call it to go there."""
        self._explorer.set_out()
        return self._pose
