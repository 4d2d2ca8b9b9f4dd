"""Two models' decisions on one observation, reduced to what a robot would notice. Pure."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from si_embodied.types import Code, Hold

if TYPE_CHECKING:
    from si_embodied.plan import Plan
    from si_embodied.types import Decision, PlanRecord

Place: TypeAlias = tuple[float, float, float]
"""A point in the map, metres."""
_SAME_ANGLE_DEG = 15
_LEAST = 1e-12  # probability, so that its logarithm is finite


@dataclass(frozen=True, slots=True)
class Decided:
    """What one model decided."""

    skill: str  # of the first subgoal; "done" if there is none; "hold CODE" if the robot would hold
    object: str | None  # that the first subgoal names
    done: bool
    plan: str | None  # every subgoal as JSON, without pixels; None without a plan
    place_m: Place | None  # of the first goal: where the base or the tool is to be, otherwise what the goal refers to
    seconds: float  # for the whole plan
    model: str
    prompt_version: str
    log_probability: float | None = None  # of what is decided and pointed at (`Certainty`); None if it is not known
    later_m: tuple[Place | None, ...] = ()  # of the goals after the first

    @classmethod
    def of(cls, decision: Decision) -> Decided:
        """What a robot would notice of a decision."""
        plan, record = decision.plan, decision.record
        first = plan.subgoals[0] if plan is not None and plan.subgoals else None
        held = isinstance(decision, Hold)
        return cls(
            skill=f"hold {record.code.name}" if held else first.skill if first is not None else "done",
            object=None if held or first is None else getattr(first, "object", None),
            done=plan is not None and plan.done,
            plan=None if plan is None else _without_pixels(plan),
            place_m=next(iter(_places(decision)), None),
            later_m=_places(decision)[1:],
            seconds=record.latency_s["total"],
            model=record.model,
            prompt_version=record.prompt_version,
            log_probability=_log_probability(record),
        )


@dataclass(frozen=True, slots=True)
class Pair:
    """Both models' decisions on one observation."""

    episode: int  # its seed; 0 for a recording
    index: int  # of the decision in the episode or the recording
    first: Decided
    second: Decided

    @property
    def late(self) -> bool:
        """Whether neither model decided anything in time, which is no agreement."""
        return self.first.skill == self.second.skill == f"hold {Code.DEADLINE_EXCEEDED.name}"

    @property
    def same_skill(self) -> bool:
        """Whether the robot would begin with the same skill, or hold for the same reason."""
        return self.first.skill == self.second.skill

    @property
    def same_object(self) -> bool | None:
        """Whether both begin with an object of the same name; None if neither names one."""
        names = (self.first.object, self.second.object)
        return None if names == (None, None) else names[0] == names[1]

    @property
    def same_done(self) -> bool:
        """Whether both say the task is done, or both that it is not."""
        return self.first.done == self.second.done

    @property
    def same_plan(self) -> bool:
        """Whether all subgoals and `done` are equal but for the pixels that they point at."""
        return self.same_skill and self.same_done and self.first.plan == self.second.plan

    def same_rest(self, goal_m: float) -> bool | None:
        """Whether the plans agree beyond the first skill and its object, pixels aside; None if they differ there.

        Angles may differ by 15 degrees, the step of Habitat's base, and distances by `goal_m`.
        """
        if not self.same_skill or self.same_object is False or None in (self.first.plan, self.second.plan):
            return None
        first, second = (json.loads(each.plan or "[]") for each in (self.first, self.second))
        slack = {"degrees": _SAME_ANGLE_DEG, "centimetres": 100 * goal_m}
        return len(first) == len(second) and all(
            one.keys() == other.keys()
            and all(
                abs(one[name] - other[name]) <= slack[name] if name in slack else one[name] == other[name]
                for name in one
            )
            for one, other in zip(first, second, strict=True)
        )

    @property
    def distance_m(self) -> float | None:
        """The largest distance of their goals in metres; None if the first skills differ or no goal has a place.

        Goals after the first are compared if the plans have the same skills.
        """
        if not self.same_skill:
            return None
        pairs = [(self.first.place_m, self.second.place_m)]
        if _skills(self.first.plan) == _skills(self.second.plan):
            pairs += zip(self.first.later_m, self.second.later_m, strict=False)
        apart = [math.dist(one, other) for one, other in pairs if one is not None and other is not None]
        return max(apart, default=None)

    @property
    def certainty_shift(self) -> float | None:
        """By how much the log-probabilities differ, in nats; None if the plans differ or a probability is not known."""
        first, second = self.first.log_probability, self.second.log_probability
        return None if not self.same_plan or first is None or second is None else abs(second - first)


def _log_probability(record: PlanRecord) -> float | None:
    """Of the decision and, if the model points, of its point."""
    if record.decision_probability is None:
        return None
    pointing = 1.0 if record.point_probability is None else record.point_probability
    return math.log(max(record.decision_probability * pointing, _LEAST))


def _skills(plan: str | None) -> list[str]:
    return [subgoal["skill"] for subgoal in json.loads(plan or "[]")]


def _without_pixels(plan: Plan) -> str:
    subgoals = [subgoal.model_dump(mode="json", exclude={"view", "point", "to"}) for subgoal in plan.subgoals]
    return json.dumps(subgoals, sort_keys=True)


def _places(decision: Decision) -> tuple[Place | None, ...]:
    """The place of each goal; none if the robot holds."""
    if isinstance(decision, Hold):
        return ()
    found = [goal.pose.translation if goal.pose is not None else goal.place_m for goal in decision.goals]
    return tuple(None if each is None else (float(each[0]), float(each[1]), float(each[2])) for each in found)
