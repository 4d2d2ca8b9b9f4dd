"""Goals of skill robots: finds the entry of the robot's skill list that a subgoal's words and pixel refer to."""

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
"""A point at most this far outside a piece of furniture still counts as on it, because depth is inexact at edges."""

NO_LIST = Refusal(Code.PLAN_INVALID, "only a robot with a skill list can open or close")


@dataclass(frozen=True, slots=True, eq=False)
class CallSkill(Goal):
    """Execute one entry of a skill robot's list."""

    number: int  # index in the observation's list
    option: SkillOption
    area_m: MapArea  # the piece of furniture where the skill is executed

    @property
    def words(self) -> str:
        """The skill's number and text."""
        return f"skill {self.number}: {self.option.text}"

    @property
    def place_m(self) -> NDArray[np.float64]:
        """The middle of the piece of furniture, on the floor."""
        return np.append(self.area_m.mean(axis=0), 0.0)

    def anchor(self) -> NDArray[np.float64]:
        """The skill's number (1,)."""
        return np.array([float(self.number)])

    def check(self, observation: Observation, embodiment: Embodiment, limits: GuardConfig) -> Refusal | None:
        """Reject manipulation out of reach; the robot must navigate there first."""
        if not isinstance(embodiment, SkillRobot) or self.option.verb == "navigate":
            return None
        distance = distance_to_area(observation.T_map_base.translation[:2], self.area_m)
        if distance <= embodiment.reach_m:
            return None
        return Refusal(
            Code.OUT_OF_REACH,
            f"{self.option.text}: {distance:.2f} m from the base, beyond its reach of {embodiment.reach_m} m",
        )


def call_by_name(place: str, skills: SkillState) -> CallSkill | Refusal:
    """The skill that navigates to a place by its name in the list."""
    return _call("navigate", place, skills, None)


def call_at(subgoal: PointedSubgoal, point: NDArray[np.float64], skills: SkillState) -> CallSkill | Refusal:
    """The skill that a subgoal refers to, or why there is none.

    The pixel selects the piece of furniture, the words select the object. If the words name a different piece of
    furniture than the pixel, the subgoal is refused.

    Args:
        subgoal: the subgoal with its words.
        point: the map point (3,) at its pixel.
        skills: the robot's skill list.
    """
    place = place_at(point, skills)
    if place is None:
        code = Code.NO_STANDOFF if subgoal.skill == "goto" else Code.NO_GRASP
        return Refusal(code, f"the robot knows no place at ({point[0]:.2f}, {point[1]:.2f})")
    if subgoal.skill == "pick":
        return _call("pick", subgoal.object, skills, place.area_m)
    named = next((option for option in skills.options if option.verb == "navigate" and _fits(option, subgoal)), None)
    if named is not None and named is not place:
        words = f"the words name {named.target!r}, but the pixel shows {place.target!r}"
        return Refusal(Code.PLAN_INVALID, f"{subgoal.skill}: {words}")
    verbs: tuple[SkillVerb, ...] = get_args(SkillVerb)
    verb = next((verb for verb in verbs if verb == subgoal.skill), verbs[0])  # goto maps to navigate
    return _call(verb, place.target, skills, place.area_m)


def names_by_skill(skills: SkillState) -> dict[str, tuple[str, ...]]:
    """The names each skill of a plan may use. `goto` may point at a place or at an object on it."""
    verbs = get_args(SkillVerb)
    names = {verb: tuple(option.target for option in skills.options if option.verb == verb) for verb in verbs}
    return {**names, "goto": names["navigate"] + names["pick"]}


def place_at(point: NDArray[np.float64], skills: SkillState) -> SkillOption | None:
    """The `navigate` skill for the piece of furniture nearest to a map point (3,), within `AREA_MARGIN_M`."""
    places = [option for option in skills.options if option.verb == "navigate" and option.area_m is not None]
    off = [distance_to_area(point[:2], option.area_m) for option in places]  # type: ignore[arg-type]
    if not off or min(off) > AREA_MARGIN_M:
        return None
    return places[int(np.argmin(off))]


def distance_to_area(xy: ArrayLike, area_m: NDArray[np.float64]) -> float:
    """Distance in metres from map point (x, y) to an axis-aligned rectangle (2, 2: lowest, highest xy); 0 inside."""
    outside = np.maximum(np.maximum(area_m[0] - xy, np.asarray(xy) - area_m[1]), 0.0)
    return float(np.hypot(*outside))


def _fits(option: SkillOption, subgoal: PointedSubgoal) -> bool:
    return option.target == subgoal.object.removeprefix("the ")


def _call(verb: SkillVerb, words: str, skills: SkillState, area_m: NDArray[np.float64] | None) -> CallSkill | Refusal:
    """The list's skill with this verb and target, executed at `area_m` or, by default, at the target's own area."""
    target = words.removeprefix("the ")
    for number, option in enumerate(skills.options):
        where = option.area_m if area_m is None else area_m
        if (option.verb, option.target) == (verb, target) and where is not None:
            return CallSkill(number, option, where)
    known = [option.target for option in skills.options if option.verb == verb]
    return Refusal(
        Code.PLAN_INVALID, f"the robot cannot {verb} {target!r}; it can {verb}: {', '.join(known) or 'nothing'}"
    )
