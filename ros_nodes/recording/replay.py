"""Decides again what a planner node has decided, from its recording, and says what differs. Without ROS."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, cast

import numpy as np

from si_embodied.backends.base import BackendInfo
from si_embodied.embodiment import MobileBase
from si_embodied.errors import BackendError, DeadlineExceeded
from si_embodied.planner import Planner
from si_embodied.ros_nodes.node.mapping_planner import MappingPlanner, ReplaceablePlanner
from si_embodied.types import Code, Completion, Execute, refused

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from si_embodied.backends.base import Backend
    from si_embodied.config import PlannerConfig
    from si_embodied.ros_nodes.recording.reader import Recorded, Recording
    from si_embodied.skills import Goal
    from si_embodied.types import Decision, PlanRecord, Prompt

Verdict: TypeAlias = Literal["identical", "same skills", "different", "not replayed"]
IDENTICAL_M = 1e-6
"""Goals nearer than this, in metres and radians, are one: numbers went through text and quaternions."""


class RecordedAnswers:
    """A backend that says again what a model has said, and fails as it has failed."""

    def __init__(self) -> None:
        """Nothing to say yet."""
        self.info = BackendInfo("recorded", "none", "none")
        self._record: PlanRecord | None = None
        self._said = 0

    def of(self, record: PlanRecord) -> None:
        """Speak for this decision's model next."""
        self._record, self._said = record, 0
        self.info = BackendInfo(record.model, record.kernel, record.dtype)

    def generate(self, prompt: Prompt, *, deadline_s: float) -> Completion:
        """The next answer.

        Raises:
            BackendError: the model had no further answer; `DeadlineExceeded` where it had been too late.
        """
        assert self._record is not None  # `of` comes first
        if self._said < len(self._record.raw_text):
            self._said += 1
            return Completion(self._record.raw_text[self._said - 1])
        failure = DeadlineExceeded if self._record.code is Code.DEADLINE_EXCEEDED else BackendError
        raise failure(self._record.message or "the model was not asked again")

    def cancel(self) -> None:
        """No effect: an answer takes no time."""

    def close(self) -> None:
        """No effect: nothing is held open."""


@dataclass(frozen=True, slots=True, eq=False)
class Replayed:
    """A decision and the one that is made now from the same images."""

    recorded: Decision
    replayed: Decision | None  # None where the recording lacks something
    verdict: Verdict
    distance_m: float | None  # between their first places; None where one has none
    why: str = ""  # it was not replayed


class Replayer:
    """Plans as the node did: the same core, map, memory and settings."""

    def __init__(
        self, backend: Backend | None = None, adapt: Callable[[PlannerConfig], PlannerConfig] = lambda config: config
    ) -> None:
        """Ask `backend`; by default the recorded answers. `adapt` changes the recorded settings to fit it."""
        self._recorded = RecordedAnswers() if backend is None else None
        self._backend, self._adapt = backend, adapt
        self._planner: ReplaceablePlanner | None = None
        self._whole = True  # whether the map has all that the node's had

    def replay(self, recording: Recording) -> Iterator[Replayed]:
        """Every decision of a recording, in order."""
        for each in recording.decisions():
            yield self._decide(each)

    def _decide(self, recorded: Recorded) -> Replayed:
        record = recorded.record
        if record.fresh:
            self._whole = True
        if recorded.missing:
            self._whole = not isinstance(record.settings.embodiment, MobileBase)
            return Replayed(record.decision, None, "not replayed", None, recorded.missing)
        if recorded.observation is None:
            return Replayed(record.decision, None, "not replayed", None, "the robot could not see")
        if not self._whole:
            return Replayed(record.decision, None, "not replayed", None, "the map lacks what is not recorded")
        planner = self._ready(recorded)
        decision = planner.plan(record.task, recorded.observation, record.memory, now_s=record.asked_s)
        aged_s = record.decided_s if self._recorded else record.asked_s + decision.record.latency_s["total"]
        refusal = planner.guard.check_plan_age(recorded.observation.stamp_s, aged_s)
        if refusal is not None and isinstance(decision, Execute):
            decision = refused(decision, refusal)
        return Replayed(record.decision, decision, verdict(record.decision, decision), apart(record.decision, decision))

    def _ready(self, recorded: Recorded) -> ReplaceablePlanner:
        """The planner with the settings and the map of a decision."""
        record = recorded.record
        if self._recorded is not None:
            self._recorded.of(record.decision.record)
        backend = self._recorded or self._backend
        assert backend is not None  # one of the two is there
        inner = Planner(backend, record.settings.embodiment, self._adapt(record.settings.planner))
        body = inner.embodiment
        if self._planner is None or self._planner.embodiment != body:
            self._planner = MappingPlanner(inner, body) if isinstance(body, MobileBase) else ReplaceablePlanner(inner)
        self._planner.inner = inner
        if isinstance(self._planner, MappingPlanner):
            if record.fresh:
                self._planner.reset()
            for keyframe in recorded.keyframes:
                self._planner.keyframe(keyframe)
        return self._planner


# --- comparing ------------------------------------------------------------------------------------------------------


def verdict(a: Decision, b: Decision) -> Verdict:
    """How alike two decisions are; messages and times do not count."""
    if a.record.code is not b.record.code or type(a) is not type(b):
        return "different"
    if not isinstance(a, Execute) or not isinstance(b, Execute):
        return "identical" if a.plan == b.plan else "same skills"
    if [type(goal) for goal in a.goals] != [type(goal) for goal in b.goals]:
        return "different"
    near = all(
        np.allclose(numbers(mine), numbers(other), rtol=0, atol=IDENTICAL_M)
        for mine, other in zip(a.goals, b.goals, strict=True)
    )
    return "identical" if near and a.subgoals == b.subgoals else "same skills"


def apart(a: Decision, b: Decision) -> float | None:
    """Metres between the first places that two decisions lead to; None where one leads to none."""
    places = [_place(decision) for decision in (a, b)]
    if places[0] is None or places[1] is None:
        return None
    return float(np.linalg.norm(places[0] - places[1]))


def numbers(goal: Goal) -> NDArray[np.float64]:
    """A goal's metres and radians, in the order of its fields."""
    parts: list[NDArray[np.float64]] = []
    for each in dataclasses.fields(cast("Any", goal)):
        value = getattr(goal, each.name)
        pose = hasattr(value, "rotation")
        parts += [value.rotation.ravel(), value.translation] if pose else [np.atleast_1d(np.asarray(value, float))]
    return np.concatenate(parts) if parts else np.zeros(0)


def _place(decision: Decision) -> NDArray[np.float64] | None:
    """Map xyz of the first goal that is a place."""
    for goal in decision.goals if isinstance(decision, Execute) else ():
        place = goal.pose.translation if goal.pose is not None else goal.place_m
        if place is not None:
            return place
    return None
