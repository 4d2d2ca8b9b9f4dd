"""From a subgoal to a skill that a robot has: what stands in its list, for the piece of furniture under the pixel."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias, get_args

import numpy as np

from si_embodied import plan as p
from si_embodied.embodiment import SkillVerb
from si_embodied.types import CallSkill, Code, Refusal

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from si_embodied.types import SkillOption, SkillState

AREA_MARGIN_M = 0.1
"""A point this far outside a piece of furniture's area is still on it: depth is not exact at an edge."""

CalledSubgoal: TypeAlias = p.Navigate | p.Goto | p.Pick | p.Place | p.Open | p.Close


def call_by_name(subgoal: p.Navigate, skills: SkillState) -> CallSkill | Refusal:
    """The skill that drives to a place of the list."""
    return _call("navigate", subgoal.object, skills, None)


def call_at(
    subgoal: p.Goto | p.Pick | p.Place | p.Open | p.Close, point: NDArray[np.float64], skills: SkillState
) -> CallSkill | Refusal:
    """The skill that a subgoal means, or why none is meant.

    The pixel decides the piece of furniture, the words the thing; where both name a piece and differ, neither is taken.

    Args:
        subgoal: what to do, with the words for it.
        point: (3,), the map point that its pixel shows.
        skills: what the robot can do.
    """
    place = place_at(point, skills)
    if place is None:
        code = Code.NO_STANDOFF if isinstance(subgoal, p.Goto) else Code.NO_GRASP
        return Refusal(code, f"no place that the robot knows is at ({point[0]:.2f}, {point[1]:.2f})")
    if isinstance(subgoal, p.Pick):
        return _call("pick", subgoal.object, skills, place.area_m)
    named = next((option for option in skills.options if option.verb == "navigate" and _fits(option, subgoal)), None)
    if named is not None and named is not place:
        words = f"the words say {named.target!r}, the pixel shows {place.target!r}"
        return Refusal(Code.PLAN_INVALID, f"{subgoal.skill}: {words}")
    verb: SkillVerb = "navigate" if isinstance(subgoal, p.Goto) else subgoal.skill
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


def _fits(option: SkillOption, subgoal: CalledSubgoal) -> bool:
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
