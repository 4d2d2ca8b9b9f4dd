"""The last look at a goal before the robot moves: bounds, reach, age, repetition, progress."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from si_embodied.config import GuardConfig
from si_embodied.embodiment import SkillRobot, TableArm
from si_embodied.geometry import wrap_angle
from si_embodied.skill_calls import distance_to_area
from si_embodied.types import (
    CallSkill,
    Code,
    Drive,
    Finish,
    Grasp,
    NavigateTo,
    PushAlong,
    Refusal,
    Release,
    Rotate,
    TiltCamera,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from si_embodied.embodiment import Embodiment
    from si_embodied.geometry import Pose
    from si_embodied.memory import Attempt, Memory
    from si_embodied.types import Goal, Observation

_SAME_PLACE_M = {"navigation": 0.25, "manipulation": 0.02, "rearrangement": 0.25}
_SAME_HEADING_RAD = math.radians(10)


@dataclass(frozen=True, slots=True)
class Guard:
    """Refuses goals; never changes one."""

    embodiment: Embodiment
    config: GuardConfig = GuardConfig()

    def check_observation(self, observation: Observation, now_s: float) -> Refusal | None:
        """Refuse to plan on what is no longer so."""
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
        """Refuse a plan made from an image that is too old by now."""
        age = now_s - stamp_s
        if age > self.config.max_plan_age_s:
            limit = self.config.max_plan_age_s
            return Refusal(Code.STALE_PLAN, f"planned on an image that is {age:.2f} s old by now, more than {limit} s")
        return None

    def check_memory(self, memory: Memory) -> Refusal | None:
        """Refuse to go on when nothing has worked for long."""
        recent = memory.attempts[-self.config.max_failures :]
        if len(recent) >= self.config.max_failures and not any(attempt.outcome.succeeded for attempt in recent):
            return Refusal(Code.NO_PROGRESS, f"the last {len(recent)} attempts all failed")
        return None

    def check_goal(self, goal: Goal, observation: Observation, memory: Memory) -> Refusal | None:
        """Refuse a goal out of bounds, out of reach, or tried again and again from the same place."""
        return self._check_place(goal, observation) or self._check_repetition(goal, observation.T_map_base, memory)

    def _check_place(self, goal: Goal, observation: Observation) -> Refusal | None:
        if isinstance(goal, NavigateTo):
            distance = float(np.hypot(*(goal.T_map_base.translation - observation.T_map_base.translation)[:2]))
            if distance > self.config.max_goal_distance_m:
                limit = self.config.max_goal_distance_m
                return Refusal(Code.TOO_FAR, f"the goal is {distance:.1f} m away, more than {limit} m")
        if isinstance(goal, CallSkill) and isinstance(self.embodiment, SkillRobot):
            return _check_skill(goal, observation.T_map_base, self.embodiment)
        if not isinstance(self.embodiment, TableArm):
            return None
        for name, point in _tool_points(goal):
            low, high = self.embodiment.workspace_m
            if not ((point >= low).all() and (point <= high).all()):
                return Refusal(
                    Code.OUT_OF_WORKSPACE, f"{name} {_xyz(point)} is outside the workspace {_xyz(low)} to {_xyz(high)}"
                )
            reach = float(np.linalg.norm(point - np.asarray(self.embodiment.shoulder_m)))
            if reach > self.embodiment.reach_m:
                return Refusal(
                    Code.OUT_OF_REACH, f"{name} {_xyz(point)} is {reach:.2f} m from the shoulder, whose reach is "
                    f"{self.embodiment.reach_m:.2f} m"
                )  # fmt: skip
        return None

    def _check_repetition(self, goal: Goal, T_map_base: Pose, memory: Memory) -> Refusal | None:
        if isinstance(goal, Finish):
            return None
        recent = memory.attempts[-self.config.max_repeats :]
        if len(recent) < self.config.max_repeats:
            return None
        if all(_same_attempt(attempt, goal, T_map_base, _SAME_PLACE_M[self.embodiment.kind]) for attempt in recent):
            return Refusal(Code.REPETITION, f"the same goal was tried {len(recent)} times from the same place")
        return None


def _check_skill(goal: CallSkill, T_map_base: Pose, robot: SkillRobot) -> Refusal | None:
    """Refuse to handle what is not near; driving there is for that."""
    distance = distance_to_area(T_map_base.translation[:2], goal.area_m)
    if goal.option.verb == "navigate" or distance <= robot.reach_m:
        return None
    return Refusal(
        Code.OUT_OF_REACH,
        f"{goal.option.text}: that is {distance:.2f} m from the base, whose reach is {robot.reach_m} m",
    )


def _tool_points(goal: Goal) -> list[tuple[str, NDArray[np.float64]]]:
    """Where a goal brings the tool, each point with its name."""
    if isinstance(goal, Grasp):
        return [("the grasp", goal.T_map_tool.translation)]
    if isinstance(goal, Release):
        return [("the place", goal.surface_m)]
    if isinstance(goal, PushAlong):
        return [("the push's start", goal.start_m), ("the push's end", goal.end_m)]
    return []


def _anchor(goal: Goal) -> NDArray[np.float64]:
    """What makes two goals of one type the same, in metres or radians."""
    if isinstance(goal, NavigateTo):
        return goal.target_m
    if isinstance(goal, Rotate | TiltCamera):
        return np.array([goal.angle_rad])
    if isinstance(goal, Drive):
        return np.array([goal.distance_m])
    if isinstance(goal, CallSkill):
        return np.array([float(goal.number)])
    points = [point for _, point in _tool_points(goal)]
    return np.concatenate(points) if points else np.zeros(0)


def _same_attempt(attempt: Attempt, goal: Goal, T_map_base: Pose, tolerance_m: float) -> bool:
    if type(attempt.goal) is not type(goal) or attempt.goal is None:
        return False
    moved = attempt.T_map_base.translation - T_map_base.translation
    turned = abs(wrap_angle(attempt.T_map_base.yaw - T_map_base.yaw))
    if float(np.linalg.norm(moved)) > tolerance_m or turned > _SAME_HEADING_RAD:
        return False
    return float(np.linalg.norm(_anchor(attempt.goal) - _anchor(goal))) <= tolerance_m


def _xyz(point: NDArray[np.float64] | tuple[float, float, float]) -> str:
    return "(" + ", ".join(f"{value:.2f}" for value in point) + ")"
