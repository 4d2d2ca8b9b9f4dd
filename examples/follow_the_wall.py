"""A skill of one's own: `follow` drives along the wall on one side. Its description, its goal and its controller."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field

from si_embodied.embodiment import MobileBase
from si_embodied.policies.skills import register_executor
from si_embodied.policies.skills.navigation import BaseCommands
from si_embodied.skills import Goal, Subgoal, register_skill
from si_embodied.types import Code, Observation, Outcome

ANSWER = '{"subgoals": [{"skill": "follow", "side": "right", "centimetres": 100}], "done": false}'
CLEAR_M = 0.7  # nearer than this ahead, turn away from the wall


@dataclass(frozen=True, slots=True)
class FollowWall(Goal):
    side: float  # +1 the wall is on the left, -1 on the right
    distance_m: float

    @property
    def words(self) -> str:
        return f"follow the wall on the {'left' if self.side > 0 else 'right'} for {self.distance_m:.2f} m"


@register_skill
class Follow(Subgoal):
    prompt = {"navigation": "follow the wall on the left or right for centimetres."}
    goals = (FollowWall,)
    skill: Literal["follow"] = "follow"
    side: Literal["left", "right"]
    centimetres: Annotated[int, Field(ge=25, le=300)]

    def ground(self, observation: Observation, grounder: Any) -> FollowWall:
        return FollowWall(1.0 if self.side == "left" else -1.0, self.centimetres / 100)


class FollowWallSkill:
    def __init__(self, goal: FollowWall, base: MobileBase) -> None:
        self._goal, self._commands, self._driven_m = goal, BaseCommands(base), 0.0

    def step(self, observation: Observation) -> Any:
        if self._driven_m >= self._goal.distance_m:
            return Outcome(Code.OK)
        depth_m = observation.frames[0].depth_m
        assert depth_m is not None  # a base without depth cannot follow a wall
        ahead = depth_m[:, depth_m.shape[1] // 3 : -(depth_m.shape[1] // 3)]
        if float(np.min(ahead, where=ahead > 0, initial=math.inf)) < CLEAR_M:
            return self._commands.turn_towards(-self._goal.side * math.radians(30))
        self._driven_m += self._commands.base.forward_step_m
        return self._commands.drive(self._commands.base.forward_step_m)


register_executor(FollowWall, FollowWallSkill)
