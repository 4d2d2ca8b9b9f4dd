"""Static robot descriptions (geometry, limits, action modes) shared by planner, policies and environments."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal, TypeAlias

TaskKind: TypeAlias = Literal["navigation", "manipulation", "rearrangement"]

SkillVerb: TypeAlias = Literal["navigate", "pick", "place", "open", "close"]
SKILL_WORDS: Mapping[SkillVerb, str] = {
    "navigate": "navigate to the {}",
    "pick": "pick up the {}",
    "place": "place at the {}",
    "open": "open the {}",
    "close": "close the {}",
}
"""The wording of a skill robot's list of skills, taken from EmbodiedBench's EB-Habitat."""


class BaseAction(enum.IntEnum):
    """Discrete actions of a mobile base. The first six are Habitat's, in Habitat's order."""

    STOP = 0  # declare the task done and end the episode
    FORWARD = 1
    TURN_LEFT = 2
    TURN_RIGHT = 3
    LOOK_UP = 4
    LOOK_DOWN = 5
    WAIT = 6  # hold still for one step, while the planner is busy or holds


@dataclass(frozen=True, slots=True)
class MobileBase:
    """A mobile base with a tilting camera, driven by discrete steps or by velocities (`continuous`)."""

    kind: ClassVar[TaskKind] = "navigation"

    cameras: tuple[str, ...]  # in the order of the observation's leading axis
    action_mode: Literal["discrete", "continuous"]
    radius_m: float  # footprint radius that must stay clear of obstacles
    height_m: float  # obstacles above this height are ignored
    forward_step_m: float  # one discrete step
    turn_step_rad: float  # one discrete step
    tilt_step_rad: float  # one discrete step
    tilt_range_rad: tuple[float, float]  # lowest and highest tilt, up positive
    max_speed_m_s: float  # continuous mode
    max_turn_rate_rad_s: float  # continuous mode
    control_period_s: float  # duration of one action, in simulated or real time
    success_distance_m: float  # the goal is reached within this distance of the object


@dataclass(frozen=True, slots=True)
class TableArm:
    """A fixed arm with a two-finger gripper, commanded by tool poses (`pose`) or EmbodiedBench's 7 integers."""

    kind: ClassVar[TaskKind] = "manipulation"

    cameras: tuple[str, ...]  # in the order of the observation's leading axis
    action_mode: Literal["pose", "discrete"]
    workspace_m: tuple[tuple[float, float, float], tuple[float, float, float]]  # lowest and highest corner, map
    shoulder_m: tuple[float, float, float]  # map position from which reach is measured
    reach_m: float
    max_opening_m: float  # between the finger pads
    finger_depth_m: float  # distance of the fingertips below the tool centre point
    home_m: tuple[float, float, float]  # map position of the tool at which the arm does not occlude the scene
    control_period_s: float  # longest simulated duration of one action


@dataclass(frozen=True, slots=True)
class SkillRobot:
    """A robot commanded by skill numbers, as in EmbodiedBench's EB-Habitat."""

    kind: ClassVar[TaskKind] = "rearrangement"

    cameras: tuple[str, ...]  # in the order of the observation's leading axis
    action_mode: Literal["skill"]
    reach_m: float  # largest distance from the base to the furniture it manipulates
    control_period_s: float  # simulated duration of one skill


Embodiment: TypeAlias = MobileBase | TableArm | SkillRobot
