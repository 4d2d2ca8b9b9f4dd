"""The final check of a goal before the robot moves: bounds, reach, age, repetition, progress."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

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

        That is, if `max_repeats` of the last `2 * max_repeats` attempts were refused as repetitions while the map
        gained nothing.
        """
        recent = memory.attempts[-self.config.max_failures :]
        if len(recent) >= self.config.max_failures and not any(attempt.outcome.succeeded for attempt in recent):
            return Refusal(Code.NO_PROGRESS, f"the last {len(recent)} attempts all failed")
        window = self._since_gain(memory.attempts[-2 * self.config.max_repeats :], 0.0)
        refusals = sum(attempt.goal is None and attempt.outcome.code in _REFUSED_AS_REPEATED for attempt in window)
        if refusals >= self.config.max_repeats:
            words = f"{refusals} of the last {len(window)} attempts were refused as repetitions"
            return Refusal(Code.NO_PROGRESS, words)
        return None

    def check_goal(
        self, goal: Goal, observation: Observation, memory: Memory, earlier: Sequence[Goal] = ()
    ) -> Refusal | None:  # fmt: skip
        """Reject a goal that is out of the robot's bounds, or that goes round in circles.

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
        return refusal or self._check_repetition(goal, observation, memory)

    def _check_repetition(self, goal: Goal, observation: Observation, memory: Memory) -> Refusal | None:
        """Reject a goal that continues a circle.

        In a circle, the places and goals of the latest attempts have each come `max_repeats` times on average, and the
        map has gained less than `min_map_gain_m2` over these attempts. A goal continues it if it starts from one of the
        places and is one of the goals.
        """
        if isinstance(goal, Finish):
            return None
        grid = observation.navigation_map
        window = self._since_gain(memory.attempts, 0.0 if grid is None else grid.floor_m2)
        tried = [(_Place.of(each.T_map_base), _Aim.of(each.goal)) for each in reversed(window) if each.goal is not None]
        tried = tried[: self.config.circle_window]
        here, now = _Place.of(observation.T_map_base), _Aim.of(goal)
        near_m = _SAME_PLACE_M[self.embodiment.kind]
        if not (here.among([place for place, _ in tried], near_m) and now.among([aim for _, aim in tried], near_m)):
            return None
        visited: list[_Place] = []
        given: list[_Aim] = []
        for count, (place, aim) in enumerate(tried, 1):
            if not place.among(visited, near_m):
                visited.append(place)
            if not aim.among(given, near_m):
                given.append(aim)
            circle = count >= self.config.max_repeats * max(len(visited), len(given))
            if circle and here.among(visited, near_m) and now.among(given, near_m):
                grown = "" if grid is None else ", and the map has not grown"
                return Refusal(Code.REPETITION, f"{_circle(count, len(given), len(visited))}{grown}")
        return None

    def _since_gain(self, attempts: Sequence[Attempt], floor_m2: float) -> list[Attempt]:
        """The attempts since which the map has gained less than `min_map_gain_m2`; it shows `floor_m2` now."""
        most = max([floor_m2, *(attempt.floor_m2 for attempt in attempts)])
        return [attempt for attempt in attempts if most - attempt.floor_m2 < self.config.min_map_gain_m2]


@dataclass(frozen=True, slots=True)
class _Place:
    """Where an attempt began."""

    at_m: tuple[float, float, float]
    yaw: float

    @classmethod
    def of(cls, T_map_base: Pose) -> _Place:
        x, y, z = T_map_base.translation.tolist()
        return cls((x, y, z), T_map_base.yaw)

    def among(self, others: Sequence[_Place], near_m: float) -> bool:
        """Whether the robot was at this place, with this heading."""
        return any(
            math.dist(self.at_m, other.at_m) <= near_m and abs(wrap_angle(self.yaw - other.yaw)) <= _SAME_HEADING_RAD
            for other in others
        )


@dataclass(frozen=True, slots=True)
class _Aim:
    """What an attempt was to reach."""

    kind: type
    anchor: tuple[float, ...]

    @classmethod
    def of(cls, goal: Goal) -> _Aim:
        return cls(type(goal), tuple(goal.anchor().tolist()))

    def among(self, others: Sequence[_Aim], near_m: float) -> bool:
        """Whether one of these is the same."""
        return any(self.kind is other.kind and math.dist(self.anchor, other.anchor) <= near_m for other in others)


def _circle(tries: int, goals: int, places: int) -> str:
    if goals == places == 1:
        return f"the same goal was tried {tries} times from the same place"
    return f"going round in circles: the last {tries} tries were of {goals} goals from {places} places"


def _start(T_map_base: Pose, earlier: Sequence[Goal]) -> Pose | None:
    """Where the base is after the goals that run before; None if that cannot be predicted."""
    start: Pose | None = T_map_base
    for goal in earlier:
        start = None if start is None else goal.after(start)
    return start
