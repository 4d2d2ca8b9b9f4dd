"""The final check of a goal before the robot moves: bounds, reach, age, repetition, progress."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from si_embodied.config import GuardConfig
from si_embodied.geometry import wrap_angle
from si_embodied.skills import Finish
from si_embodied.types import Code, Refusal

if TYPE_CHECKING:
    from si_embodied.embodiment import Embodiment
    from si_embodied.geometry import Pose
    from si_embodied.memory import Attempt, Memory
    from si_embodied.skills import Goal
    from si_embodied.types import Observation

_SAME_PLACE_M = {"navigation": 0.25, "manipulation": 0.02, "rearrangement": 0.25}
_SAME_HEADING_RAD = math.radians(10)


@dataclass(frozen=True, slots=True)
class Guard:
    """Rejects goals; never changes one."""

    embodiment: Embodiment
    config: GuardConfig = GuardConfig()

    def check_observation(self, observation: Observation, now_s: float) -> Refusal | None:
        """Reject an observation that has no image or whose image is too old at `now_s`."""
        if not observation.frames:
            return Refusal(Code.NO_IMAGE, "the observation has no image")
        age = now_s - observation.stamp_s
        limit = self.config.max_observation_age_s
        if age > limit:
            return Refusal(Code.STALE_OBSERVATION, f"the image is {age:.2f} s old, more than {limit} s")
        if age < -limit:
            return Refusal(Code.STALE_OBSERVATION, f"the image is {-age:.2f} s ahead of the clock; synchronise clocks")
        return None

    def check_plan_age(self, stamp_s: float, now_s: float) -> Refusal | None:
        """Reject a plan whose image, stamped `stamp_s`, is too old at `now_s`."""
        age = now_s - stamp_s
        if age > self.config.max_plan_age_s:
            limit = self.config.max_plan_age_s
            return Refusal(Code.STALE_PLAN, f"the plan's image is {age:.2f} s old by now, more than {limit} s")
        return None

    def check_memory(self, memory: Memory) -> Refusal | None:
        """Refuse to continue after `max_failures` failed attempts in a row."""
        recent = memory.attempts[-self.config.max_failures :]
        if len(recent) >= self.config.max_failures and not any(attempt.outcome.succeeded for attempt in recent):
            return Refusal(Code.NO_PROGRESS, f"the last {len(recent)} attempts all failed")
        return None

    def check_goal(self, goal: Goal, observation: Observation, memory: Memory) -> Refusal | None:
        """Reject a goal that is out of the robot's bounds, or was tried `max_repeats` times from the same place."""
        refusal = goal.check(observation, self.embodiment, self.config)
        return refusal or self._check_repetition(goal, observation.T_map_base, memory)

    def _check_repetition(self, goal: Goal, T_map_base: Pose, memory: Memory) -> Refusal | None:
        if isinstance(goal, Finish):
            return None
        recent = memory.attempts[-self.config.max_repeats :]
        if len(recent) < self.config.max_repeats:
            return None
        if all(_same_attempt(attempt, goal, T_map_base, _SAME_PLACE_M[self.embodiment.kind]) for attempt in recent):
            return Refusal(Code.REPETITION, f"the same goal was tried {len(recent)} times from the same place")
        return None


def _same_attempt(attempt: Attempt, goal: Goal, T_map_base: Pose, tolerance_m: float) -> bool:
    if type(attempt.goal) is not type(goal) or attempt.goal is None:
        return False
    moved = attempt.T_map_base.translation - T_map_base.translation
    turned = abs(wrap_angle(attempt.T_map_base.yaw - T_map_base.yaw))
    if float(np.linalg.norm(moved)) > tolerance_m or turned > _SAME_HEADING_RAD:
        return False
    return float(np.linalg.norm(attempt.goal.anchor() - goal.anchor())) <= tolerance_m
