"""One episode: the loop between an environment and a policy, and its result."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from si_embodied.errors import SimulatorLost
from si_embodied.types import Execute, Task

if TYPE_CHECKING:
    import gymnasium

    from si_embodied.policies.base import Policy
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


class Watcher:
    """Watches an episode frame by frame, as a video does; this one ignores what it sees."""

    def acted(self, policy: Policy, task: Task, observation: Observation, step: int) -> None:
        """Called once the policy has chosen its action from an observation, before the action is carried out."""

    def frame(self, env: gymnasium.Env[Any, Any], policy: Policy, task: Task, step: int) -> None:
        """Called after the reset (step 0) and after every step."""

    def end(self, result: EpisodeResult) -> None:
        """Called after the last step."""


_NOBODY = Watcher()


@dataclass(frozen=True, slots=True)
class Watchers(Watcher):
    """Several watchers of one episode."""

    each: tuple[Watcher, ...]

    def acted(self, policy: Policy, task: Task, observation: Observation, step: int) -> None:
        """Tell all of them."""
        for watcher in self.each:
            watcher.acted(policy, task, observation, step)

    def frame(self, env: gymnasium.Env[Any, Any], policy: Policy, task: Task, step: int) -> None:
        """Tell all of them."""
        for watcher in self.each:
            watcher.frame(env, policy, task, step)

    def end(self, result: EpisodeResult) -> None:
        """Tell all of them."""
        for watcher in self.each:
            watcher.end(result)


def run_episode(
    env: gymnasium.Env[Any, Any],
    policy: Policy,
    seed: int,
    *,
    observe: Observe,
    watcher: Watcher = _NOBODY,
    step_limit: int = STEP_LIMIT,
) -> EpisodeResult:
    """Run one episode to its end. An episode whose simulator is lost (`SimulatorLost`) has no metrics.

    Args:
        env: follows docs/evaluation.md: `instruction` and `stamp_s` in the observation, `success` in the info, `kind`
            and `embodiment` as attributes.
        policy: reset here.
        seed: all that the episode depends on, besides the policy.
        observe: turns the environment's dict into the core's observation.
        watcher: sees every step.
        step_limit: ends an episode that the environment does not end.
    """
    try:
        return _run_episode(env, policy, seed, observe, watcher, step_limit)
    except SimulatorLost as error:
        _log.warning("lost the episode of seed %d: %s", seed, error)
        return EpisodeResult(seed, "", "", False, 0, "lost", 0.0, 0.0, {})


def _run_episode(
    env: gymnasium.Env[Any, Any], policy: Policy, seed: int, observe: Observe, watcher: Watcher, step_limit: int
) -> EpisodeResult:
    started_s = time.perf_counter()
    raw, info = env.reset(seed=seed)
    world: Any = env.unwrapped
    task = Task(str(raw["instruction"]), world.kind)
    first_stamp_s = float(raw["stamp_s"])
    policy.reset(task)
    watcher.frame(env, policy, task, 0)
    steps, ended = 0, None
    while ended is None:
        observation = observe(raw, world.embodiment.cameras)
        action = policy.act(observation)
        watcher.acted(policy, task, observation, steps)
        raw, _, terminated, truncated, info = env.step(action)
        steps += 1
        watcher.frame(env, policy, task, steps)
        ended = _ended(terminated, truncated, steps >= step_limit)
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
        plans=tuple(plan_entry(decision) for decision in policy.decisions),
    )
    watcher.end(result)
    return result


def plan_entry(decision: Decision) -> PlanEntry:
    """A decision without the goals that only its execution needs."""
    plan = None if decision.plan is None else decision.plan.model_dump_json(exclude_none=True)
    return PlanEntry(decision.record, isinstance(decision, Execute), plan)


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
