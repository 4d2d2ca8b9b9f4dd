"""What a body can do: the static facts about a robot that a planner, a policy and an environment share."""

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
"""How a robot of skills lists what it can do, as EmbodiedBench's EB-Habitat words it."""


class BaseAction(enum.IntEnum):
    """The discrete actions of a mobile base; the first six are Habitat's, in Habitat's order."""

    STOP = 0  # the episode ends here: the task is done
    FORWARD = 1
    TURN_LEFT = 2
    TURN_RIGHT = 3
    LOOK_UP = 4
    LOOK_DOWN = 5
    WAIT = 6  # hold still while time passes: the planner thinks, or is unsure


@dataclass(frozen=True, slots=True)
class MobileBase:
    """A base with a camera that tilts. Driven by steps (`discrete`) or by velocities (`continuous`)."""

    kind: ClassVar[TaskKind] = "navigation"

    cameras: tuple[str, ...]  # in the order of the observation's leading axis
    action_mode: Literal["discrete", "continuous"]
    radius_m: float  # of the disc that must stay clear of obstacles
    height_m: float  # nothing above this can be bumped into
    forward_step_m: float  # of one discrete step
    turn_step_rad: float  # of one discrete step
    tilt_step_rad: float  # of one discrete step
    tilt_range_rad: tuple[float, float]  # lowest and highest, up positive
    max_speed_m_s: float  # continuous
    max_turn_rate_rad_s: float  # continuous
    control_period_s: float  # simulated or real time that one action takes
    success_distance_m: float  # how near to an object counts as there


@dataclass(frozen=True, slots=True)
class TableArm:
    """A fixed arm with a two-finger gripper. Commanded by tool poses (`pose`) or EmbodiedBench's 7 integers."""

    kind: ClassVar[TaskKind] = "manipulation"

    cameras: tuple[str, ...]  # in the order of the observation's leading axis
    action_mode: Literal["pose", "discrete"]
    workspace_m: tuple[tuple[float, float, float], tuple[float, float, float]]  # lowest and highest corner, map
    shoulder_m: tuple[float, float, float]  # in the map; reach is measured from here
    reach_m: float
    max_opening_m: float  # between the finger pads
    finger_depth_m: float  # how far below the tool centre point the fingertips go
    home_m: tuple[float, float, float]  # tool position that does not hide the scene, in the map
    control_period_s: float  # longest simulated time that one action takes


@dataclass(frozen=True, slots=True)
class SkillRobot:
    """A robot that carries out whole skills by their numbers, as in EmbodiedBench's EB-Habitat."""

    kind: ClassVar[TaskKind] = "rearrangement"

    cameras: tuple[str, ...]  # in the order of the observation's leading axis
    action_mode: Literal["skill"]
    reach_m: float  # from the base to a piece of furniture that is handled
    control_period_s: float  # simulated time that one skill stands for


Embodiment: TypeAlias = MobileBase | TableArm | SkillRobot
