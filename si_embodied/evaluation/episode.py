"""One episode: the loop between an environment and a policy, and its result."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from si_embodied.errors import SimulatorLost
from si_embodied.evaluation.evidence import Witnessed
from si_embodied.types import Code, Execute, Task

if TYPE_CHECKING:
    import gymnasium

    from si_embodied.backends.tapped import Tap
    from si_embodied.evaluation.config import EvaluationConfig
    from si_embodied.evaluation.steps import EpisodeSteps
    from si_embodied.evaluation.trace import Trace
    from si_embodied.ground_truth import Pointed
    from si_embodied.policies.base import Action, Execution, Policy
    from si_embodied.types import Decision, Observation, PlanRecord

Ended: TypeAlias = Literal["terminated", "truncated", "step_limit", "lost"]
Observe: TypeAlias = Callable[[Mapping[str, Any], Sequence[str]], "Observation"]

_log = logging.getLogger(__name__)

STEP_LIMIT = 10_000
"""Environments end their episodes long before this; one that never does must not hang an evaluation."""


@dataclass(frozen=True, slots=True)
class PlanEntry:
    """A decision as it is recorded."""

    record: PlanRecord
    executed: bool  # False: the robot held
    plan: str | None  # the plan's JSON; None if there was none
    pointed_at: Pointed | None = None  # what its first subgoal points at, by the world's ground truth; None if unknown


@dataclass(frozen=True, slots=True)
class GoalEntry:
    """A goal that was executed, as it is recorded."""

    plan: int  # index into the episode's plans
    words: str  # "goto red chair"
    code: Code  # OK if it was reached
    message: str


@dataclass(frozen=True, slots=True)
class EpisodeResult:
    """How an episode went."""

    seed: int
    task: str  # the environment's name for this kind of task; "" if it has none
    instruction: str
    success: bool
    steps: int
    ended: Ended
    simulated_s: float
    wall_s: float
    metrics: Mapping[str, float]  # the environment's, at the end: spl, distance_to_goal, progress, …
    plans: tuple[PlanEntry, ...] = ()
    goals: tuple[GoalEntry, ...] = ()  # executed, in order
    own_end: Code | None = (
        None  # how the policy ended the task: OK if it said that it is done; None if it did not end it
    )
    own_end_message: str = ""
    target_seen: bool | None = None  # whether the target was ever in view when it was looked for; None if unknown
    trace: Trace | None = None  # pictures and path, kept beside the records; None unless asked for
    kept_steps: EpisodeSteps | None = None  # images, states and actions, likewise

    @property
    def outage(self) -> str:
        """Why the model or its server failed, if it still did at the end of the episode; otherwise empty."""
        last = self.plans[-1].record if self.plans else None
        return last.message if last is not None and last.code is Code.BACKEND_FAILED else ""


@dataclass(frozen=True, slots=True, eq=False)
class Stepped:
    """An action, and what the environment made of it."""

    action: Action
    reward: float
    terminated: bool
    truncated: bool
    success: bool


class Watcher:
    """Watches an episode frame by frame, as a video does; this one ignores what it sees."""

    def acted(
        self, env: gymnasium.Env[Any, Any], policy: Policy, task: Task, observation: Observation, step: int
    ) -> None:
        """Called between an action and its step, in the state that the observation shows; `step` counts from 0."""

    def stepped(self, result: Stepped) -> None:
        """Called after every step, before `frame`."""

    def frame(self, env: gymnasium.Env[Any, Any], policy: Policy, task: Task, step: int) -> None:
        """Called after the reset (step 0) and after every step."""

    def end(self, result: EpisodeResult) -> None:
        """Called after the last step."""


MakeWatcher: TypeAlias = Callable[[int], Watcher]
"""Makes the watcher of the episode of a seed."""
Audience: TypeAlias = Callable[["EvaluationConfig", "Tap"], AbstractContextManager[MakeWatcher]]
"""Opens what a process needs so that its episodes are watched, and closes it; the tap keeps the prompts. Such a
function is sent to worker processes: one of a module, or a `functools.partial` of one."""


def run_episode(
    env: gymnasium.Env[Any, Any],
    policy: Policy,
    seed: int,
    *,
    observe: Observe,
    watchers: Sequence[Watcher] = (),
    step_limit: int = STEP_LIMIT,
) -> EpisodeResult:
    """Run one episode to its end. An episode whose simulator is lost (`SimulatorLost`) has no metrics.

    Args:
        env: follows docs/evaluation.md: `instruction` and `stamp_s` in the observation, `success` in the info, `kind`
            and `embodiment` as attributes.
        policy: reset here.
        seed: all that the episode depends on, besides the policy.
        observe: turns the environment's dict into the core's observation.
        watchers: see every step.
        step_limit: ends an episode that the environment does not end.
    """
    try:
        return _run_episode(env, policy, seed, observe, watchers, step_limit)
    except SimulatorLost as error:
        _log.warning("lost the episode of seed %d: %s", seed, error)
        return EpisodeResult(seed, "", "", False, 0, "lost", 0.0, 0.0, {})


def _run_episode(
    env: gymnasium.Env[Any, Any],
    policy: Policy,
    seed: int,
    observe: Observe,
    watchers: Sequence[Watcher],
    step_limit: int,
) -> EpisodeResult:
    started_s = time.perf_counter()
    raw, info = env.reset(seed=seed)
    world: Any = env.unwrapped
    task = Task(str(raw["instruction"]), world.kind)
    first_stamp_s = float(raw["stamp_s"])
    policy.reset(task)
    witnessed = Witnessed(world)
    for watcher in watchers:
        watcher.frame(env, policy, task, 0)
    steps, ended = 0, None
    while ended is None:
        observation = observe(raw, world.embodiment.cameras)
        action = policy.act(observation)
        witnessed.acted(policy.decisions, observation)
        for watcher in watchers:
            watcher.acted(env, policy, task, observation, steps)
        raw, reward, terminated, truncated, info = env.step(action)
        steps += 1
        stepped = Stepped(action, float(reward), bool(terminated), bool(truncated), bool(info["success"]))
        for watcher in watchers:
            watcher.stepped(stepped)
            watcher.frame(env, policy, task, steps)
        ended = _ended(terminated, truncated, steps >= step_limit)
    execution = policy.execution
    result = EpisodeResult(
        seed=seed,
        task=str(getattr(world, "task", "")),
        instruction=task.instruction,
        success=bool(info["success"]),
        steps=steps,
        ended=ended,
        simulated_s=float(raw["stamp_s"]) - first_stamp_s,
        wall_s=time.perf_counter() - started_s,
        metrics=scalars(info),
        plans=tuple(plan_entry(each, witnessed.pointed.get(i)) for i, each in enumerate(policy.decisions)),
        goals=_goal_entries(execution),
        own_end=None if execution.end is None else execution.end.code,
        own_end_message="" if execution.end is None else execution.end.message,
        target_seen=witnessed.target_seen,
    )
    for watcher in watchers:
        watcher.end(result)
    return result


def plan_entry(decision: Decision, pointed_at: Pointed | None = None) -> PlanEntry:
    """A decision without the goals that only its execution needs."""
    plan = None if decision.plan is None else decision.plan.model_dump_json(exclude_none=True)
    return PlanEntry(decision.record, isinstance(decision, Execute), plan, pointed_at)


def _goal_entries(execution: Execution) -> tuple[GoalEntry, ...]:
    return tuple(GoalEntry(e.plan, e.words, e.outcome.code, e.outcome.message) for e in execution.goals)


def _ended(terminated: bool, truncated: bool, limited: bool) -> Ended | None:
    return "terminated" if terminated else "truncated" if truncated else "step_limit" if limited else None


def scalars(info: Mapping[str, Any]) -> dict[str, float]:
    """The finite scalars of the info, except `success`, which has its own field."""
    found: dict[str, float] = {}
    for key, value in info.items():
        if key == "success" or getattr(value, "ndim", 0) != 0:
            continue
        try:
            number = float(value)
        except (TypeError, ValueError):
            continue
        if math.isfinite(number):
            found[key] = number
    return found
