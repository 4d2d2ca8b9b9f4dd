"""Repeats the decisions of a recorded planner node and reports what differs. Needs no ROS."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, cast

import numpy as np

from si_embodied.backends.base import BackendInfo
from si_embodied.backends.tapped import Tap
from si_embodied.certainty import Certainty
from si_embodied.embodiment import MobileBase
from si_embodied.errors import BackendError, DeadlineExceeded, PromptTooLong
from si_embodied.live.moment import Moment
from si_embodied.planner import Planner
from si_embodied.policies.base import Execution
from si_embodied.ros_nodes.node.mapping_planner import MappingPlanner, ReplaceablePlanner
from si_embodied.types import Code, Completion, Execute, Hold, refused

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
"""Goals closer than this, in metres and radians, are equal: numbers went through text and quaternions."""


_FAILURES: Mapping[Code, type[BackendError]] = {
    Code.DEADLINE_EXCEEDED: DeadlineExceeded, Code.PROMPT_TOO_LONG: PromptTooLong,
}  # fmt: skip


class RecordedAnswers:
    """A backend that repeats a model's recorded answers, and its failures."""

    def __init__(self) -> None:
        """Start without answers."""
        self.info = BackendInfo("recorded", "none", "none")
        self._record: PlanRecord | None = None
        self._given = self._shortened = 0

    def load(self, record: PlanRecord) -> None:
        """Answer from this plan's record from now on."""
        self._record, self._given, self._shortened = record, 0, 0
        self.info = BackendInfo(record.model, record.kernel, record.dtype)

    def generate(self, prompt: Prompt, *, deadline_s: float) -> Completion:
        """The next recorded answer.

        Raises:
            PromptTooLong: the prompt was too long for the model.
            BackendError: the model gave no further answer.
            DeadlineExceeded: the model missed its deadline.
        """
        assert self._record is not None  # `load` comes first
        if self._shortened < self._record.shortened:
            self._shortened += 1
            raise PromptTooLong(self._record.message)
        if self._given < len(self._record.raw_text):
            self._given += 1
            decision, point = self._record.decision_probability, self._record.point_probability
            certainty = None if decision is None else Certainty(decision, point)
            thoughts = self._record.thoughts or ("",) * self._given
            answer, thought = self._record.raw_text[self._given - 1], thoughts[self._given - 1]
            return Completion(answer, certainty=certainty, thought=thought)
        failure = _FAILURES.get(self._record.code, BackendError)
        raise failure(self._record.message or "the model was not asked again")

    def cancel(self) -> None:
        """No effect: an answer takes no time."""

    def close(self) -> None:
        """No effect: nothing is held open."""


@dataclass(frozen=True, slots=True, eq=False)
class Replayed:
    """A recorded decision, and the one made now from the same images."""

    recorded: Decision
    replayed: Decision | None  # None if it was not replayed
    verdict: Verdict
    distance_m: float | None  # between their first target positions; None if one has none
    why: str = ""  # why it was not replayed


class Replayer:
    """Plans as the node did, with the same planner, map, memory and settings."""

    def __init__(
        self,
        backend: Backend | None = None,
        adapt: Callable[[PlannerConfig], PlannerConfig] = lambda config: config,
        show: Callable[[Moment], None] | None = None,
    ) -> None:
        """Prepare.

        Args:
            backend: answers; by default the recorded answers are given again.
            adapt: adjusts the recorded settings to it.
            show: is given each decision that is made again, with what it was made from.
        """
        self._recorded = RecordedAnswers() if backend is None else None
        self._backend, self._adapt = backend, adapt
        self._planner: ReplaceablePlanner | None = None
        self._map_complete = True  # whether the map contains everything that the node's contained
        self._show, self._tap, self._shown = show, Tap(), 0

    def replay(self, recording: Recording) -> Iterator[Replayed]:
        """Replay every decision of a recording, in order."""
        for each in recording.decisions():
            yield self._decide(each)

    def _decide(self, recorded: Recorded) -> Replayed:
        record = recorded.record
        if record.fresh:
            self._map_complete = True
        if recorded.missing:
            self._map_complete = not isinstance(record.settings.embodiment, MobileBase)
            return Replayed(record.decision, None, "not replayed", None, recorded.missing)
        if recorded.observation is None:
            return Replayed(record.decision, None, "not replayed", None, "the robot could not see")
        if not self._map_complete:
            return Replayed(record.decision, None, "not replayed", None, "images behind the map are not recorded")
        planner = self._ready(recorded)
        decision = planner.plan(record.task, recorded.observation, recorded.memory, now_s=record.asked_s)
        aged_s = record.decided_s if self._recorded else record.asked_s + decision.record.latency_s["total"]
        refusal = planner.guard.check_plan_age(recorded.observation.stamp_s, aged_s)
        if refusal is not None and isinstance(decision, Execute):
            decision = refused(decision, refusal)
        same = verdict(record.decision, decision)
        if self._show is not None:
            self._show(self._moment(recorded, decision, planner, same))
        return Replayed(record.decision, decision, same, apart(record.decision, decision))

    def _moment(self, recorded: Recorded, decision: Decision, planner: ReplaceablePlanner, same: Verdict) -> Moment:
        assert recorded.observation is not None  # it was planned on
        assert planner.inputs is not None  # a plan was made
        seen, memory = recorded.observation, recorded.memory
        planned_from = dataclasses.replace(memory.recall(seen), navigation_map=planner.inputs.navigation_map)
        self._shown += 1
        return Moment(
            f"{decision.record.model} on a recording", None, recorded.record.task.instruction, self._shown, same, seen,
            (decision,), Execution(planned_from=planned_from, memory=memory), self._tap.prompt,
            recorded.record.settings.embodiment, earlier=self._shown - 1,
        )  # fmt: skip

    def _ready(self, recorded: Recorded) -> ReplaceablePlanner:
        """The planner with the settings and the map at the time of a decision."""
        record = recorded.record
        if self._recorded is not None:
            self._recorded.load(record.decision.record)
        backend = self._recorded or self._backend
        assert backend is not None  # one of the two is set
        inner = Planner(self._tap.on(backend), record.settings.embodiment, self._adapt(record.settings.planner))
        body = inner.embodiment
        if self._planner is None or self._planner.embodiment != body:
            self._planner = MappingPlanner(inner, body) if isinstance(body, MobileBase) else ReplaceablePlanner(inner)
        self._planner.inner = inner
        if isinstance(self._planner, MappingPlanner):
            if record.fresh:
                self._planner.reset()
            for observation in recorded.unmapped:
                self._planner.add(observation)
        return self._planner


# --- comparing ------------------------------------------------------------------------------------------------------


def verdict(a: Decision, b: Decision) -> Verdict:
    """How similar two decisions are; messages and times are not compared."""
    if a.record.code is not b.record.code or type(a) is not type(b):
        return "different"
    if not isinstance(a, Execute) or not isinstance(b, Execute):
        return "identical" if a.plan == b.plan else "same skills"
    if [type(goal) for goal in a.goals] != [type(goal) for goal in b.goals]:
        return "different"
    near = all(
        np.allclose(numbers(one), numbers(other), rtol=0, atol=IDENTICAL_M)
        for one, other in zip(a.goals, b.goals, strict=True)
    )
    return "identical" if near and a.subgoals == b.subgoals else "same skills"


def apart(a: Decision, b: Decision) -> float | None:
    """Distance in metres between the first target positions of two decisions; None if one has none."""
    first, second = _position(a), _position(b)
    return None if first is None or second is None else float(np.linalg.norm(first - second))


def numbers(goal: Goal) -> NDArray[np.float64]:
    """The numbers of a goal, metres and radians, in the order of its fields."""
    parts: list[NDArray[np.float64]] = []
    for each in dataclasses.fields(cast("Any", goal)):
        value = getattr(goal, each.name)
        pose = hasattr(value, "rotation")
        parts += [value.rotation.ravel(), value.translation] if pose else [np.atleast_1d(np.asarray(value, float))]
    return np.concatenate(parts) if parts else np.zeros(0)


def _position(decision: Decision) -> NDArray[np.float64] | None:
    """Map xyz of the first goal with a target position."""
    for goal in decision.goals if isinstance(decision, Execute) else ():
        position = goal.pose.translation if goal.pose is not None else goal.place_m
        if position is not None:
            return position
    return None


# --- the comparison -------------------------------------------------------------------------------------------------


def summary(backend: str, replayed: Sequence[Replayed]) -> dict[str, Any]:
    """Counts, distances and every decision, as plain values for JSON."""
    counts = Counter(each.verdict for each in replayed)
    distances = [each.distance_m for each in replayed if each.distance_m is not None]
    return {
        "backend": backend,
        "decisions": len(replayed),
        **{name: counts[name] for name in ("identical", "same skills", "different", "not replayed")},
        "greatest_distance_m": max(distances, default=None),
        "plans": [
            {
                "verdict": each.verdict,
                "recorded": _entry(each.recorded),
                "replayed": None if each.replayed is None else _entry(each.replayed),
                "distance_m": each.distance_m,
                "why": each.why,
            }
            for each in replayed
        ],
    }


def _entry(decision: Decision) -> dict[str, Any]:
    record = decision.record
    return {
        "code": int(record.code),
        "plan": None if decision.plan is None else decision.plan.model_dump_json(exclude_none=True),
        "model": record.model,
        "prompt_version": record.prompt_version,
        "latency_s": dict(record.latency_s),
        "decision_probability": record.decision_probability,
        "point_probability": record.point_probability,
    }


def headline(figures: dict[str, Any]) -> str:
    """The summary in a sentence."""
    apart = figures["greatest_distance_m"]
    far = "" if apart is None else f"; goals at most {apart:.3g} m apart"
    parts = [f"{figures[name]} {name}" for name in ("identical", "same skills", "different", "not replayed")]
    return f"{figures['decisions']} decisions: {', '.join(parts)}{far}."


def rows(recording: Recording, replayed: Sequence[Replayed]) -> Iterator[list[str]]:
    """A table row for each decision: number, time, both decisions, verdict, distance, and the model's two times."""
    start_s = recording.records[0].decided_s
    for number, (record, each) in enumerate(zip(recording.records, replayed, strict=True), 1):
        yield [
            str(number),
            f"{record.decided_s - start_s:.1f}",
            _words(each.recorded),
            each.why if each.replayed is None else _words(each.replayed),
            each.verdict,
            "" if each.distance_m is None else f"{each.distance_m:.3f}",
            f"{_model_s(each.recorded):.2f}",
            "" if each.replayed is None else f"{_model_s(each.replayed):.2f}",
        ]


def _words(decision: Decision) -> str:
    if isinstance(decision, Hold):
        return f"hold {decision.code.name}"
    return ", ".join(subgoal.words for subgoal in decision.subgoals) or "done"


def _model_s(decision: Decision) -> float:
    return float(decision.record.latency_s.get("generate", 0.0))
