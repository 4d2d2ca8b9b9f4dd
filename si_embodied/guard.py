"""The final check of a goal before the robot moves: bounds, reach, age, repetition, progress."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from si_embodied.config import GuardConfig
from si_embodied.geometry import wrap_angle
from si_embodied.skills import Drive, Finish, Goal, skills_of
from si_embodied.skills.bounds import is_finite
from si_embodied.types import Code, Refusal

if TYPE_CHECKING:
    from si_embodied.embodiment import Embodiment
    from si_embodied.geometry import Pose
    from si_embodied.memory import Attempt, Memory
    from si_embodied.types import Observation, Task

_SAME_PLACE_M = {"navigation": 0.25, "manipulation": 0.02, "rearrangement": 0.25}
_SAME_HEADING_RAD = math.radians(10)
_REFUSED_AS_REPEATED = (Code.REPETITION, Code.NO_PROGRESS)


@dataclass(frozen=True, slots=True)
class Guard:
    """Rejects goals; never changes one."""

    embodiment: Embodiment
    config: GuardConfig = GuardConfig()

    def check_task(self, task: Task) -> Refusal | None:
        """Reject an instruction longer than `max_instruction_characters`."""
        length, limit = len(task.instruction), self.config.max_instruction_characters
        if length <= limit:
            return None
        return Refusal(Code.INSTRUCTION_TOO_LONG, f"the instruction has {length} characters, more than {limit}")

    def check_observation(self, observation: Observation, now_s: float) -> Refusal | None:
        """Reject an observation that has no image, or one that is too old or too new at `now_s`."""
        if not observation.frames:
            return Refusal(Code.NO_IMAGE, "the observation has no image")
        limit = self.config.max_observation_age_s
        for stamp_s in (observation.stamp_s, *(frame.stamp_s for frame in observation.frames)):
            age = now_s - stamp_s
            if age < -limit:
                return Refusal(
                    Code.STALE_OBSERVATION, f"the image is {-age:.2f} s ahead of the clock; synchronise clocks"
                )
            if not age <= limit:  # also if it is NaN
                return Refusal(Code.STALE_OBSERVATION, f"the image is {age:.2f} s old, more than {limit} s")
        return None

    def check_plan_age(self, stamp_s: float, now_s: float) -> Refusal | None:
        """Reject a plan whose image, stamped `stamp_s`, is too old at `now_s`, or later than a clock set back."""
        age, limit = now_s - stamp_s, self.config.max_plan_age_s
        if age < -self.config.max_observation_age_s:
            return Refusal(Code.STALE_PLAN, f"the plan's image is {-age:.2f} s ahead of the clock, which was set back")
        if not age <= limit:  # also if it is NaN
            return Refusal(Code.STALE_PLAN, f"the plan's image is {age:.2f} s old by now, more than {limit} s")
        return None

    def check_memory(self, memory: Memory) -> Refusal | None:
        """Refuse to continue after `max_failures` failures in a row, or if the model insists on repeating itself.

        That is, if `max_repeats` of the last `circle_window` attempts were refused as repetitions.
        """
        recent = memory.attempts[-self.config.max_failures :]
        if len(recent) >= self.config.max_failures and not any(attempt.outcome.succeeded for attempt in recent):
            return Refusal(Code.NO_PROGRESS, f"the last {len(recent)} attempts all failed")
        window = memory.attempts[-self.config.circle_window :]
        refusals = sum(attempt.goal is None and attempt.outcome.code in _REFUSED_AS_REPEATED for attempt in window)
        if refusals >= self.config.max_repeats and len(self._distinct(window)) <= self._few:
            return Refusal(Code.NO_PROGRESS, f"{refusals} of the last {len(window)} plans were repetitions")
        return None

    def check_goal(
        self, goal: Goal, observation: Observation, memory: Memory, earlier: Sequence[Goal] = ()
    ) -> Refusal | None:  # fmt: skip
        """Reject a goal that is out of the robot's bounds, or that repeats what was tried from the same place.

        Args:
            goal: of any kind, also from a planning server.
            observation: the plan's own.
            memory: earlier attempts in this episode.
            earlier: goals of the same plan that run before this one; they determine where it starts.
        """
        kinds = {kind for skill in skills_of(self.embodiment.kind) for kind in skill.goals} | {Finish}
        if type(goal) not in kinds:
            words = f"a {type(self.embodiment).__name__} has no skill with the goal {type(goal).__name__}"
            return Refusal(Code.GOAL_INVALID, words)
        if not (is_finite(goal) and is_finite(goal.anchor()) and is_finite(goal.amount)):
            return Refusal(Code.GOAL_INVALID, f"{type(goal).__name__} has a number that is not finite: {goal}")
        start = _start(observation.T_map_base, earlier)
        if start is None and isinstance(goal, Drive):
            return Refusal(Code.OBSTRUCTED, "it is not known yet where the drive would start; plan it from there")
        if start is not None and earlier:
            observation = replace(observation, T_map_base=start)
        refusal = goal.check(observation, self.embodiment, self.config)
        return refusal or self._check_repetition(goal, observation.T_map_base, memory)

    @property
    def _few(self) -> int:
        """Number of different attempts in a window that count as going round in circles."""
        return max(1, self.config.circle_window // self.config.max_repeats)

    def _check_repetition(self, goal: Goal, T_map_base: Pose, memory: Memory) -> Refusal | None:
        """Reject a goal tried `max_repeats` times in a row, or again and again among the same few attempts."""
        if isinstance(goal, Finish):
            return None
        tried = [attempt for attempt in memory.attempts if attempt.goal is not None][-self.config.max_repeats :]
        if len(tried) == self.config.max_repeats and all(self._same(each, goal, T_map_base) for each in tried):
            return Refusal(Code.REPETITION, f"the same goal was tried {len(tried)} times from the same place")
        size = min(self.config.circle_window, memory.limit)
        window = memory.attempts[-size:]
        distinct = self._distinct(window)
        circling = len(window) == size and len(distinct) <= self._few
        if circling and any(self._same(each, goal, T_map_base) for each in distinct):
            words = f"the last {size} attempts were the same {len(distinct)} goals from the same places"
            return Refusal(Code.REPETITION, f"going round in circles: {words}")
        return None

    def _distinct(self, attempts: Sequence[Attempt]) -> list[Attempt]:
        """The executed attempts without repetitions of the same goal from the same place."""
        found: list[Attempt] = []
        for attempt in attempts:
            goal = attempt.goal
            if goal is not None and not any(self._same(each, goal, attempt.T_map_base) for each in found):
                found.append(attempt)
        return found

    def _same(self, attempt: Attempt, goal: Goal, T_map_base: Pose) -> bool:
        """Whether an attempt had the same goal and started from the same place and heading."""
        if type(attempt.goal) is not type(goal) or attempt.goal is None:
            return False
        tolerance_m = _SAME_PLACE_M[self.embodiment.kind]
        moved = attempt.T_map_base.translation - T_map_base.translation
        turned = abs(wrap_angle(attempt.T_map_base.yaw - T_map_base.yaw))
        if float(np.linalg.norm(moved)) > tolerance_m or turned > _SAME_HEADING_RAD:
            return False
        return float(np.linalg.norm(attempt.goal.anchor() - goal.anchor())) <= tolerance_m


def _start(T_map_base: Pose, earlier: Sequence[Goal]) -> Pose | None:
    """Where the base is after the goals that run before; None if that cannot be predicted."""
    start: Pose | None = T_map_base
    for goal in earlier:
        start = None if start is None else goal.after(start)
    return start
