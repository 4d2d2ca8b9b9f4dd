"""What a policy needs of a kind of robot: its skills, what it adds to an observation, and how it holds still."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Protocol

from si_embodied.embodiment import Embodiment, MobileBase, SkillRobot, TableArm
from si_embodied.errors import ConfigError
from si_embodied.policies.mapping import OccupancyMapper
from si_embodied.policies.skills.arm import ArmSkills
from si_embodied.policies.skills.calling import CallOnce, ExplorePlace, PlaceExplorer, skills_in
from si_embodied.policies.skills.navigation import (
    BaseCommands,
    DriveSkill,
    Explorer,
    ExploreSkill,
    GoToSkill,
    RotateSkill,
    TiltSkill,
)
from si_embodied.skills import CallSkill, Drive, ExploreFrontier, NavigateTo, Rotate, TiltCamera

if TYPE_CHECKING:
    from si_embodied.policies.base import Action, Skill
    from si_embodied.skills import Goal
    from si_embodied.types import Observation

EXPLORE_ACTIONS = 4
"""Commands between two looks of the planner while exploring: a metre, or less of a turn than a camera is wide."""


class Controller(Protocol):
    """One robot during one episode."""

    def reset(self) -> None:
        """Forget the last episode."""

    def update(self, observation: Observation) -> None:
        """Take in what was observed; called once for every action."""

    def prepare(self, observation: Observation) -> Observation:
        """The observation with what only planning needs."""

    def skill(self, goal: Goal) -> Skill:
        """The skill that carries a goal out."""

    def wait(self, observation: Observation) -> Action:
        """Hold still for one step."""

    def finished(self, observation: Observation) -> Action:
        """Say that the task is over."""


class MobileController:
    """A base that maps as it goes."""

    def __init__(self, base: MobileBase) -> None:
        """An empty map."""
        self._base = base
        self._commands = BaseCommands(base)
        self._mapper = OccupancyMapper(base)
        self._explorer = Explorer(base, self._mapper)

    def reset(self) -> None:
        """A new map."""
        self._mapper.reset()
        self._explorer = Explorer(self._base, self._mapper)

    def update(self, observation: Observation) -> None:
        """Enter the depth images."""
        self._mapper.update(observation)

    def prepare(self, observation: Observation) -> Observation:
        """Add the ways that the map knows."""
        return dataclasses.replace(observation, navigation_map=self._mapper.navigation_map(observation.T_map_base))

    def skill(self, goal: Goal) -> Skill:
        """The skill for a navigation goal."""
        if isinstance(goal, NavigateTo):
            return GoToSkill(goal, self._base, self._mapper)
        if isinstance(goal, Rotate):
            return RotateSkill(goal, self._base)
        if isinstance(goal, Drive):
            return DriveSkill(goal, self._base)
        if isinstance(goal, TiltCamera):
            return TiltSkill(goal, self._base)
        if isinstance(goal, ExploreFrontier):
            return ExploreSkill(self._explorer, actions=EXPLORE_ACTIONS)
        raise ConfigError(f"a mobile base has no skill for {type(goal).__name__}")

    def wait(self, observation: Observation) -> Action:
        """Stand."""
        return self._commands.wait()

    def finished(self, observation: Observation) -> Action:
        """Stop for good."""
        return self._commands.stop()


class ArmController:
    """An arm, and what is in its gripper."""

    def __init__(self, arm: TableArm) -> None:
        """An empty gripper."""
        self._skills = ArmSkills(arm)

    def reset(self) -> None:
        """Forget what was held."""
        self._skills.reset()

    def update(self, observation: Observation) -> None:
        """Nothing to take in: an arm keeps no map."""

    def prepare(self, observation: Observation) -> Observation:
        """The observation as it is."""
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
    """A robot that is told whole skills by their numbers."""

    def __init__(self) -> None:
        """No place visited."""
        self.reset()

    def reset(self) -> None:
        """Forget the places."""
        self._explorer = PlaceExplorer()

    def update(self, observation: Observation) -> None:
        """Nothing to take in; refuses an observation without skills."""
        skills_in(observation)

    def prepare(self, observation: Observation) -> Observation:
        """The observation as it is."""
        return observation

    def skill(self, goal: Goal) -> Skill:
        """The skill for a goal: one call."""
        if isinstance(goal, ExploreFrontier):
            return ExplorePlace(self._explorer)
        if isinstance(goal, CallSkill):
            if goal.option.verb == "navigate":
                self._explorer.visited(goal.option.target)
            return CallOnce(goal.number)
        raise ConfigError(f"a robot of skills has none for {type(goal).__name__}")

    def wait(self, observation: Observation) -> Action:
        """The first number that is no skill: it changes nothing, and counts as invalid, as in EB-Habitat."""
        return len(skills_in(observation).options)

    def finished(self, observation: Observation) -> Action:
        """As waiting: the episode ends by itself when the task is done."""
        return self.wait(observation)


def make_controller(embodiment: Embodiment) -> Controller:
    """The body for a robot."""
    if isinstance(embodiment, SkillRobot):
        return SkillController()
    return MobileController(embodiment) if isinstance(embodiment, MobileBase) else ArmController(embodiment)
