"""A planner's backend with perfect perception: it points where the simulator says that the object is.

Geometry, guard and skills stay real. So they account for the gap between its score and the oracle's, and a model
accounts for the gap between its own score and this one.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, cast, get_args

from si_embodied.backends.scripted import ScriptedBackend
from si_embodied.embodiment import TaskKind
from si_embodied.errors import ConfigError
from si_embodied.grounding import point_of
from si_embodied.plan import Plan, plan_text
from si_embodied.skills import Close, Explore, Forward, Goto, Home, LookAround, Navigate, Open, Pick, Place, Turn
from si_embodied.types import POINT_GOAL

if TYPE_CHECKING:
    import gymnasium

    from si_embodied.ground_truth import (
        ManipulationGroundTruth,
        NavigationGroundTruth,
        Pixel,
        RearrangementGroundTruth,
    )
    from si_embodied.skills import Subgoal
    from si_embodied.types import Prompt


_SHORTEST_DRIVE_M = 0.25
"""A second straight drive shorter than this only oscillates: a base of steps goes no shorter way."""


def perfect_pixels_backend(env: gymnasium.Env[Any, Any], *, knows_the_way: bool = True) -> ScriptedBackend:
    """A backend that answers each prompt from the privileged ground truth of `env`, as of its last observation.

    The ground truth belongs to an episode, so the backend reads it only when asked, after the environment's reset.

    Args:
        env: one with ground truth, or a wrapper of one.
        knows_the_way: to a goal picture that the planner has not localised. A teacher that knows it teaches what no
            image shows.

    Raises:
        ConfigError: environments of this kind have no ground truth. The backend raises it if this one has none.
    """
    world = cast("Any", env.unwrapped)
    kind = str(getattr(world, "kind", None))
    complaint = f"perfect-pixels needs an environment of ours with ground_truth, got: {type(world).__name__}"
    if kind not in get_args(TaskKind):
        raise ConfigError(complaint)
    answer = _ANSWERS[kind]

    def complete(prompt: Prompt) -> str:
        if not hasattr(world, "ground_truth"):
            raise ConfigError(complaint)
        truth = world.ground_truth
        if kind == "navigation" and not knows_the_way and not truth.at_goal() and _unknown_place(truth, prompt):
            return plan_text(_search(prompt))
        return plan_text(answer(truth, prompt))

    return ScriptedBackend(complete, name="perfect-pixels")


def navigation_answer(truth: NavigationGroundTruth, prompt: Prompt) -> Plan:
    """Stop at the goal, go to the target if a view shows it, and explore if none does or if going there just failed.

    Before it explores for the first time it looks around, if the prompt offers that.

    A point goal is driven to by name, as far as the map goes, in turn with exploring.

    A place, unlike an object, cannot be pointed at from nearby: the robot turns and drives the last stretch. If that
    just failed, it comes back to the place from elsewhere.
    """
    if truth.at_goal():
        return Plan(subgoals=(), done=True)
    last = (_attempts(prompt) or [""])[-1]
    if _offers(prompt, "navigate", POINT_GOAL) and not last.startswith(("navigate", "plan")):
        return Plan(subgoals=(Navigate(object=POINT_GOAL),), done=False)
    straight = truth.straight_way()
    if straight is not None and last.startswith(("turn", "forward")):  # that did not bring it there
        again = straight[1] >= _SHORTEST_DRIVE_M and truth.visible_target() is None
        straight = straight if again else None
    if straight is not None and not _just_failed(prompt):
        bearing_rad, distance_m = straight
        centimetres = min(max(round(100 * distance_m), 5), 300)
        turn, forward = Turn(degrees=round(math.degrees(bearing_rad))), Forward(centimetres=centimetres)
        return Plan(subgoals=(turn, forward), done=False)
    visible = _shown(prompt, truth.visible_target()) or _remembered(truth, prompt)
    if visible is None:
        return _search(prompt)
    if _just_failed(prompt):
        return Plan(subgoals=(Explore(),), done=False)
    view, point = visible
    return Plan(subgoals=(Goto(object=truth.target_name(), view=view, point=point),), done=False)


def _unknown_place(truth: NavigationGroundTruth, prompt: Prompt) -> bool:
    """Whether the goal is a place that the prompt does not name yet."""
    return truth.goal_is_a_place and not _offers(prompt, "navigate", POINT_GOAL)


def _search(prompt: Prompt) -> Plan:
    """Look around first, if the prompt offers that, and then explore."""
    first = not _attempts(prompt) and _offers(prompt, "look_around")
    return Plan(subgoals=(LookAround() if first else Explore(),), done=False)


def _remembered(truth: NavigationGroundTruth, prompt: Prompt) -> tuple[int, tuple[int, int]] | None:
    """The number and the point, 0..1000, of the newest earlier view that shows the target."""
    earlier = max(prompt.frames, key=lambda frame: frame.stamp_s).stamp_s if prompt.frames else 0.0
    for number, frame in reversed([*zip(prompt.views, prompt.frames, strict=True)]):
        seen = truth.seen_in(frame) if frame.stamp_s < earlier else None
        if seen is not None:
            return number, point_of(*seen, frame.intrinsics.width, frame.intrinsics.height)
    return None


def manipulation_answer(truth: ManipulationGroundTruth, prompt: Prompt) -> Plan:
    """Point at the next step's target; move the arm home if it hides the target."""
    step = truth.next_step()
    if step is None:
        return Plan(subgoals=(), done=True)
    visible = _shown(prompt, truth.pixel_of(step))
    if visible is None:
        return Plan(subgoals=(Home(),), done=False)
    view, point = visible
    skill = Pick if step.kind == "pick" else Place
    return Plan(subgoals=(skill(object=step.object_name, view=view, point=point),), done=False)


def rearrangement_answer(truth: RearrangementGroundTruth, prompt: Prompt) -> Plan:
    """Point at the next step's target if it is visible; explore if it is not, or if the last attempt failed."""
    step = truth.seen_step()
    if step is None:
        return Plan(subgoals=(), done=True)
    skill, words, pixel = step
    subgoal: Subgoal = Explore()
    if not _just_failed(prompt) and skill != "explore":
        visible = _shown(prompt, pixel)
        subgoal = Navigate(object=words) if visible is None else _pointed(skill, words, *visible)
    return Plan(subgoals=(subgoal,), done=False)


def _pointed(skill: str, words: str, view: int, point: tuple[int, int]) -> Subgoal:
    kinds: dict[str, type[Goto | Pick | Place | Open | Close]] = {
        "goto": Goto, "pick": Pick, "place": Place, "open": Open, "close": Close
    }  # fmt: skip
    return kinds[skill](object=words, view=view, point=point)


_ANSWERS: Mapping[str, Callable[[Any, Prompt], Plan]] = {
    "navigation": navigation_answer,
    "manipulation": manipulation_answer,
    "rearrangement": rearrangement_answer,
}


def _attempts(prompt: Prompt) -> list[str]:
    return re.findall(r"^[\d-]+\. (.*)$", prompt.text, flags=re.MULTILINE)


def _offers(prompt: Prompt, skill: str, name: str | None = None) -> bool:
    """Whether a plan may contain the skill, for the object of that name if one is given."""
    choices: Any = prompt.schema["properties"]["subgoals"]["items"]["anyOf"]  # type: ignore[index]
    for choice in (choice["properties"] for choice in choices):
        if choice["skill"]["const"] == skill:
            return name is None or name in choice["object"].get("enum", ())
    return False


def _just_failed(prompt: Prompt) -> bool:
    """Whether the last attempt in the prompt failed; repeating it would fail again.

    A `goto` that ended where the map does, short of the target, is repeated: from there the map goes on.
    """
    last = (_attempts(prompt) or [""])[-1]
    short = last.startswith("goto") and "no_standoff" in last
    return "failed" in last and not last.startswith("explore") and not short


def _shown(prompt: Prompt, pixel: Pixel | None) -> tuple[int, tuple[int, int]] | None:
    """The view's number in the answer and the point, 0..1000; None if the prompt does not show that view."""
    if pixel is None:
        return None
    index, u, v = pixel
    for (number, shown), frame in zip(prompt.views.items(), prompt.frames, strict=True):
        if shown == index:
            return number, point_of(u, v, frame.intrinsics.width, frame.intrinsics.height)
    return None
