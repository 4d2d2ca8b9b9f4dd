"""Goals of a robot that carries out whole skills: the entry of its list that a subgoal means, by words and pixel."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, get_args

import numpy as np

from si_embodied.embodiment import SkillRobot, SkillVerb
from si_embodied.skills.base import Goal, MapArea
from si_embodied.types import Code, Refusal, SkillOption

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from si_embodied.config import GuardConfig
    from si_embodied.embodiment import Embodiment
    from si_embodied.skills.base import PointedSubgoal
    from si_embodied.types import Observation, SkillState

AREA_MARGIN_M = 0.1
"""A point this far outside a piece of furniture's area is still on it: depth is not exact at an edge."""

NO_LIST = Refusal(Code.PLAN_INVALID, "only a robot with a list of skills opens, closes and drives by name")


@dataclass(frozen=True, slots=True, eq=False)
class CallSkill(Goal):
    """Have a robot of skills carry out one entry of its list."""

    number: int  # in the observation's list
    option: SkillOption
    area_m: MapArea  # of the piece of furniture where it happens

    @property
    def words(self) -> str:
        """Its number and its line."""
        return f"skill {self.number}: {self.option.text}"

    def anchor(self) -> NDArray[np.float64]:
        """Its number."""
        return np.array([float(self.number)])

    def check(self, observation: Observation, embodiment: Embodiment, limits: GuardConfig) -> Refusal | None:
        """Refuse to handle what is not near; driving there is for that."""
        if not isinstance(embodiment, SkillRobot) or self.option.verb == "navigate":
            return None
        distance = distance_to_area(observation.T_map_base.translation[:2], self.area_m)
        if distance <= embodiment.reach_m:
            return None
        return Refusal(
            Code.OUT_OF_REACH,
            f"{self.option.text}: that is {distance:.2f} m from the base, whose reach is {embodiment.reach_m} m",
        )


def call_by_name(place: str, skills: SkillState | None) -> CallSkill | Refusal:
    """The skill that drives to a place of the list."""
    return NO_LIST if skills is None else _call("navigate", place, skills, None)


def call_at(subgoal: PointedSubgoal, point: NDArray[np.float64], skills: SkillState) -> CallSkill | Refusal:
    """The skill that a subgoal means, or why none is meant.

    The pixel decides the piece of furniture, the words the thing; where both name a piece and differ, neither is taken.

    Args:
        subgoal: what to do, with the words for it.
        point: (3,), the map point that its pixel shows.
        skills: what the robot can do.
    """
    place = place_at(point, skills)
    if place is None:
        code = Code.NO_STANDOFF if subgoal.skill == "goto" else Code.NO_GRASP
        return Refusal(code, f"no place that the robot knows is at ({point[0]:.2f}, {point[1]:.2f})")
    if subgoal.skill == "pick":
        return _call("pick", subgoal.object, skills, place.area_m)
    named = next((option for option in skills.options if option.verb == "navigate" and _fits(option, subgoal)), None)
    if named is not None and named is not place:
        words = f"the words say {named.target!r}, the pixel shows {place.target!r}"
        return Refusal(Code.PLAN_INVALID, f"{subgoal.skill}: {words}")
    verbs: tuple[SkillVerb, ...] = get_args(SkillVerb)
    verb = next((verb for verb in verbs if verb == subgoal.skill), verbs[0])  # goto is navigate
    return _call(verb, place.target, skills, place.area_m)


def names_by_skill(skills: SkillState) -> dict[str, tuple[str, ...]]:
    """What each skill of a plan may name; `goto` points at a place or at a thing on it."""
    verbs = get_args(SkillVerb)
    names = {verb: tuple(option.target for option in skills.options if option.verb == verb) for verb in verbs}
    return {**names, "goto": names["navigate"] + names["pick"]}


def place_at(point: NDArray[np.float64], skills: SkillState) -> SkillOption | None:
    """The skill of driving to the piece of furniture at a map point (3,), the nearest within the margin."""
    places = [option for option in skills.options if option.verb == "navigate" and option.area_m is not None]
    off = [distance_to_area(point[:2], option.area_m) for option in places]  # type: ignore[arg-type]
    if not off or min(off) > AREA_MARGIN_M:
        return None
    return places[int(np.argmin(off))]


def distance_to_area(xy: ArrayLike, area_m: NDArray[np.float64]) -> float:
    """From a map point to an upright rectangle (2, 2) of its lowest and highest corner, metres; 0 within it."""
    outside = np.maximum(np.maximum(area_m[0] - xy, np.asarray(xy) - area_m[1]), 0.0)
    return float(np.hypot(*outside))


def _fits(option: SkillOption, subgoal: PointedSubgoal) -> bool:
    return option.target == subgoal.object.removeprefix("the ")


def _call(verb: SkillVerb, words: str, skills: SkillState, area_m: NDArray[np.float64] | None) -> CallSkill | Refusal:
    """The skill of the list with these words; `area_m` is where it happens, by default what it is about."""
    target = words.removeprefix("the ")
    for number, option in enumerate(skills.options):
        where = option.area_m if area_m is None else area_m
        if (option.verb, option.target) == (verb, target) and where is not None:
            return CallSkill(number, option, where)
    known = [option.target for option in skills.options if option.verb == verb]
    return Refusal(
        Code.PLAN_INVALID, f"the robot cannot {verb} {target!r}; it can {verb}: {', '.join(known) or 'nothing'}"
    )
