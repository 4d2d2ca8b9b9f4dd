"""What a policy needs for one kind of robot: its skills, its additions to an observation, and how it holds still."""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING, Protocol

from si_embodied.embodiment import Embodiment, MobileBase, SkillRobot, TableArm
from si_embodied.policies.mapping import OccupancyMapper
from si_embodied.policies.skills import registered_skill
from si_embodied.policies.skills.arm import ArmSkills
from si_embodied.policies.skills.calling import CallOnce, ExplorePlace, PlaceExplorer, skills_in
from si_embodied.policies.skills.exploration import Explorer, ExploreSkill
from si_embodied.policies.skills.navigation import (
    BaseCommands,
    CameraLevel,
    DriveSkill,
    GoToSkill,
    RotateSkill,
    TiltSkill,
)
from si_embodied.skills import CallSkill, Drive, ExploreFrontier, ExploreView, NavigateTo, Rotate, TiltCamera

if TYPE_CHECKING:
    from si_embodied.policies.skills import Action, Skill
    from si_embodied.skills import Goal
    from si_embodied.types import Observation

EXPLORE_ACTIONS = 3
"""Commands of an exploration before the planner looks again: up to 0.75 m, or a turn by 45 degrees.

With four commands, a turn by 60 degrees, the target showed between two plans only in 4 of 60 episodes.
"""

_LONGER = (1, 4, 16)
"""How much longer an exploration is after the first, second and third drive to about the same target."""
_SAME_TARGET_M = 0.5
"""Points of one piece of furniture are about this far apart."""


class Controller(Protocol):
    """Controls one robot during one episode."""

    def reset(self) -> None:
        """Forget the last episode."""

    def update(self, observation: Observation) -> None:
        """Take in an observation; called once per action."""

    def prepare(self, observation: Observation) -> Observation:
        """Add to an observation what only planning needs."""

    def skill(self, goal: Goal) -> Skill:
        """The skill for a goal.

        Raises:
            ConfigError: this kind of robot has no skill for the goal.
        """

    def wait(self, observation: Observation) -> Action:
        """Hold still for one step."""

    def finished(self, observation: Observation) -> Action:
        """Declare the task done."""


class MobileController:
    """Controls a base that maps as it drives."""

    def __init__(self, base: MobileBase) -> None:
        """Start with an empty map."""
        self._base = base
        self._commands = BaseCommands(base)
        self._mapper = OccupancyMapper(base)
        self.reset()

    def reset(self) -> None:
        """Clear the map."""
        self._mapper.reset()
        self._explorer, self._level = Explorer(self._base, self._mapper), CameraLevel(self._base)
        self._targets: list[tuple[float, float]] = []  # map xy of what was driven to, in order
        self._explored = False  # since the last of them

    def update(self, observation: Observation) -> None:
        """Add the depth images to the map."""
        self._level.update(observation)
        self._mapper.update(observation)

    def prepare(self, observation: Observation) -> Observation:
        """Add the path lengths that the map knows."""
        return dataclasses.replace(observation, navigation_map=self._mapper.navigation_map(observation.T_map_base))

    def skill(self, goal: Goal) -> Skill:
        """The skill for a navigation goal."""
        match goal:
            case NavigateTo():
                x, y, _ = goal.target_m.tolist()
                self._targets.append((x, y))
                self._explored = False
                return GoToSkill(goal, self._base, self._mapper, self._level)
            case Rotate():
                return RotateSkill(goal, self._base)
            case Drive():
                return DriveSkill(goal, self._base)
            case TiltCamera():
                return TiltSkill(goal, self._base)
            case ExploreFrontier():
                return ExploreSkill(self._explorer, self._level, actions=self._explore_actions())
            case ExploreView():
                return ExploreSkill(self._explorer, self._level, actions=self._explore_actions(), view=goal)
            case _:
                return registered_skill(goal, self._base)

    def _explore_actions(self) -> int:
        """Commands of the next exploration: more after each further drive to about the same target.

        A model that drives to a thing, explores for a moment, sees it again and drives back goes round in circles.
        """
        again = sum(math.dist(target, self._targets[-1]) < _SAME_TARGET_M for target in self._targets[:-1])
        if self._explored:
            again = 0
        self._explored = True
        return EXPLORE_ACTIONS * _LONGER[min(again, len(_LONGER) - 1)]

    def wait(self, observation: Observation) -> Action:
        """Stand still."""
        return self._commands.wait()

    def finished(self, observation: Observation) -> Action:
        """Stop for good."""
        return self._commands.stop()


class ArmController:
    """Controls an arm and remembers what is in its gripper."""

    def __init__(self, arm: TableArm) -> None:
        """Start with an empty gripper."""
        self._skills = ArmSkills(arm)

    def reset(self) -> None:
        """Forget the held object."""
        self._skills.reset()

    def update(self, observation: Observation) -> None:
        """Do nothing: an arm keeps no map."""

    def prepare(self, observation: Observation) -> Observation:
        """The observation, unchanged."""
        return observation

    def skill(self, goal: Goal) -> Skill:
        """The skill for a manipulation goal."""
        return self._skills.skill(goal)

    def wait(self, observation: Observation) -> Action:
        """Keep the tool where it is."""
        return self._skills.wait(observation)

    def finished(self, observation: Observation) -> Action:
        """Keep the tool where it is: an arm's episode ends by itself."""
        return self._skills.wait(observation)


class SkillController:
    """Controls a robot that executes whole skills by number."""

    def __init__(self, robot: SkillRobot) -> None:
        """Start with no place visited."""
        self._robot = robot
        self._explorer = PlaceExplorer()

    def reset(self) -> None:
        """Forget the visited places."""
        self._explorer = PlaceExplorer()

    def update(self, observation: Observation) -> None:
        """Reject an observation without a list of skills."""
        skills_in(observation)

    def prepare(self, observation: Observation) -> Observation:
        """The observation, unchanged."""
        return observation

    def skill(self, goal: Goal) -> Skill:
        """The skill for a goal: one call."""
        match goal:
            case ExploreFrontier():
                return ExplorePlace(self._explorer)
            case CallSkill():
                if goal.option.verb == "navigate":
                    self._explorer.visited(goal.option.target)
                return CallOnce(goal.number)
            case _:
                return registered_skill(goal, self._robot)

    def wait(self, observation: Observation) -> Action:
        """The first number beyond the list: it changes nothing, and counts as invalid, as in EB-Habitat."""
        return len(skills_in(observation).options)

    def finished(self, observation: Observation) -> Action:
        """Wait: the episode ends by itself when the task is done."""
        return self.wait(observation)


def make_controller(embodiment: Embodiment) -> Controller:
    """The controller for a robot."""
    match embodiment:
        case SkillRobot():
            return SkillController(embodiment)
        case MobileBase():
            return MobileController(embodiment)
        case TableArm():
            return ArmController(embodiment)
