"""Why an episode failed, from its record alone.

The rules look at what the robot was doing when the episode ended, and stop at the first that applies:

1. *wrong object*: its last plan pointed at another object than the target, and was executed.
2. *not seen*: the target was in none of the views in which it was looked for.
3. *bad grounding*: its last plan pointed at no object at all, or the robot held because there was no usable depth,
   place to stand or grasp where the plan pointed.
4. *unreachable*: its last goal failed, or the robot held, because there was no way there or it was out of reach.
5. *collision*: its last goal was blocked, or the robot touched something in at least a quarter of its steps.
6. *gave up*: the policy itself ended the task: after too many holds, or it said that the task was done.
7. *time*: the episode ran out of steps.

Anything else is *undetermined*. Rules 1 and 2 need a world with ground truth (`Witness`), as does the first half of 3.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias, get_args

from si_embodied.types import Code

if TYPE_CHECKING:
    from si_embodied.evaluation.episode import EpisodeResult, GoalEntry, PlanEntry

FailureKind: TypeAlias = Literal[
    "wrong object", "not seen", "bad grounding", "unreachable", "collision", "gave up", "time", "undetermined"
]
FAILURE_KINDS: tuple[FailureKind, ...] = get_args(FailureKind)

_BAD_GROUNDING = frozenset({Code.DEPTH_INVALID, Code.DEPTH_AMBIGUOUS, Code.NO_STANDOFF, Code.NO_GRASP})
_UNREACHABLE = frozenset(
    {Code.UNREACHABLE, Code.OUT_OF_WORKSPACE, Code.OUT_OF_REACH, Code.TOO_FAR, Code.OFF_MAP, Code.GOAL_INVALID}
)
_COLLISION = frozenset({Code.BLOCKED, Code.OBSTRUCTED})
_MANY_TOUCHES = 0.25
"""Touches per step from which on they are the reason: a robot that is free touches something in a few percent."""


@dataclass(frozen=True, slots=True)
class Failure:
    """Why an episode failed."""

    kind: FailureKind
    reason: str  # what in its record says so


def failure(episode: EpisodeResult) -> Failure | None:
    """Why an episode failed; None if it succeeded or its simulator was lost."""
    if episode.success or episode.ended == "lost":
        return None
    plan = _last_plan(episode)
    goal = episode.goals[-1] if episode.goals and episode.goals[-1].code is not Code.OK else None
    return (
        _wrong_object(plan)
        or _not_seen(episode)
        or _bad_grounding(plan)
        or _unreachable(plan, goal)
        or _collision(episode, plan, goal)
        or _gave_up(episode)
        or _time(episode)
        or Failure("undetermined", "its record does not say why it failed")
    )


def failure_counts(episodes: Iterable[EpisodeResult]) -> dict[FailureKind, int]:
    """How many episodes failed for each reason that occurs, the most frequent first."""
    found = (failure(episode) for episode in episodes)
    return dict(Counter(each.kind for each in found if each is not None).most_common())


def _last_plan(episode: EpisodeResult) -> PlanEntry | None:
    """The last decision that moves the robot or refuses to; one that only declares the task done says nothing of it."""
    return next((plan for plan in reversed(episode.plans) if not _only_ends(plan)), None)


def _only_ends(plan: PlanEntry) -> bool:
    """Whether an executed plan ends the task and does nothing else."""
    return _ends(plan) and _skills(plan) in ([], ["stop"])


def _ends(plan: PlanEntry) -> bool:
    """Whether an executed plan ends the task."""
    if plan.plan is None or not plan.executed:
        return False
    return bool(json.loads(plan.plan)["done"]) or _skills(plan)[-1:] == ["stop"]


def _skills(plan: PlanEntry) -> list[str]:
    return [] if plan.plan is None else [subgoal["skill"] for subgoal in json.loads(plan.plan)["subgoals"]]


def _wrong_object(plan: PlanEntry | None) -> Failure | None:
    if plan is None or not plan.executed or plan.pointed_at != "other":
        return None
    return Failure("wrong object", "the last plan pointed at another object than the target")


def _not_seen(episode: EpisodeResult) -> Failure | None:
    if episode.target_seen is not False:
        return None
    return Failure("not seen", "the target was in none of the views in which it was looked for")


def _bad_grounding(plan: PlanEntry | None) -> Failure | None:
    if plan is None:
        return None
    if plan.executed:
        pointed = plan.pointed_at == "nothing"
        return Failure("bad grounding", "the last plan pointed at no object") if pointed else None
    return _held(plan, _BAD_GROUNDING, "bad grounding")


def _unreachable(plan: PlanEntry | None, goal: GoalEntry | None) -> Failure | None:
    return _failed(goal, _UNREACHABLE | {Code.NO_STANDOFF}, "unreachable") or _held(plan, _UNREACHABLE, "unreachable")


def _collision(episode: EpisodeResult, plan: PlanEntry | None, goal: GoalEntry | None) -> Failure | None:
    touches = episode.metrics.get("collisions", 0.0)
    if episode.steps and touches >= _MANY_TOUCHES * episode.steps:
        return Failure("collision", f"the robot touched something {touches:.0f} times in {episode.steps} steps")
    return _failed(goal, _COLLISION, "collision") or _held(plan, _COLLISION, "collision")


def _gave_up(episode: EpisodeResult) -> Failure | None:
    left = episode.metrics.get("distance_to_goal")
    where = "" if left is None else f", {left:.1f} m from the goal"
    if episode.own_end is Code.OK:
        return Failure("gave up", f"the policy said that the task was done{where}")
    if episode.own_end is not None:
        return Failure("gave up", f"{episode.own_end.name}: {episode.own_end_message}")
    if episode.ended == "terminated" and (not episode.plans or _ends(episode.plans[-1])):
        return Failure("gave up", f"the policy stopped{where}")
    return None


def _time(episode: EpisodeResult) -> Failure | None:
    if episode.ended not in ("truncated", "step_limit"):
        return None
    return Failure("time", f"it was cut off after {episode.steps} steps")


def _failed(goal: GoalEntry | None, codes: frozenset[Code], kind: FailureKind) -> Failure | None:
    if goal is None or goal.code not in codes:
        return None
    return Failure(kind, f"the last goal, {goal.words!r}, failed: {goal.code.name} {goal.message}".rstrip())


def _held(plan: PlanEntry | None, codes: frozenset[Code], kind: FailureKind) -> Failure | None:
    if plan is None or plan.executed or plan.record.code not in codes:
        return None
    return Failure(kind, f"the robot held: {plan.record.code.name} {plan.record.message}".rstrip())
