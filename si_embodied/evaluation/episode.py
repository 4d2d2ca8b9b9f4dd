"""One episode: the loop between an environment and a policy, and what it leaves behind."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias

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
"""An environment ends its own episodes long before; one that forgets must not hang an evaluation."""


@dataclass(frozen=True, slots=True)
class PlanEntry:
    """A decision as it is recorded."""

    record: PlanRecord
    executed: bool  # False is a hold
    plan: str | None  # the plan's JSON, None where there was none


@dataclass(frozen=True, slots=True)
class EpisodeResult:
    """How an episode went."""

    seed: int
    task: str  # the environment's name for what kind of task this is; "" where it has none
    instruction: str
    success: bool
    steps: int
    ended: Ended
    simulated_s: float
    wall_s: float
    metrics: Mapping[str, float]  # the environment's, at the end: spl, distance_to_goal, progress, …
    plans: tuple[PlanEntry, ...] = field(default=())


class Watcher(Protocol):
    """Looks on, frame by frame; a video is one."""

    def frame(self, env: gymnasium.Env[Any, Any], policy: Policy, task: Task, step: int) -> None:
        """After the reset (step 0) and after every step."""

    def end(self, result: EpisodeResult) -> None:
        """After the last step."""


def run_episode(
    env: gymnasium.Env[Any, Any],
    policy: Policy,
    seed: int,
    *,
    observe: Observe,
    watcher: Watcher | None = None,
    step_limit: int = STEP_LIMIT,
) -> EpisodeResult:
    """Run one episode to its end. One whose simulator is lost on the way (`SimulatorLost`) has no figures.

    Args:
        env: has the contract of docs/evaluation.md: `instruction` and `stamp_s` in the observation, `success` in the
            info, `kind` and `embodiment` as attributes.
        policy: is reset here.
        seed: all that the episode depends on besides the policy.
        observe: makes the core's observation of the environment's dict.
        watcher: sees every step.
        step_limit: ends what the environment does not end.
    """
    try:
        return _run_episode(env, policy, seed, observe, watcher, step_limit)
    except SimulatorLost as error:
        _log.warning("the episode of seed %d is lost: %s", seed, error)
        return EpisodeResult(seed, "", "", False, 0, "lost", 0.0, 0.0, {})


def _run_episode(
    env: gymnasium.Env[Any, Any],
    policy: Policy,
    seed: int,
    observe: Observe,
    watcher: Watcher | None,
    step_limit: int,
) -> EpisodeResult:
    started_s = time.perf_counter()
    raw, info = env.reset(seed=seed)
    world: Any = env.unwrapped
    cameras = world.embodiment.cameras
    task = Task(str(raw["instruction"]), world.kind)
    first_stamp_s = float(raw["stamp_s"])
    policy.reset(task)
    steps, ended = 0, None
    if watcher is not None:
        watcher.frame(env, policy, task, 0)
    while ended is None:
        raw, _, terminated, truncated, info = env.step(policy.act(observe(raw, cameras)))
        steps += 1
        if watcher is not None:
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
        metrics=_numbers(info),
        plans=tuple(plan_entry(decision) for decision in decisions_of(policy)),
    )
    if watcher is not None:
        watcher.end(result)
    return result


def decisions_of(policy: Policy) -> Sequence[Decision]:
    """What a planning policy decided in this episode; nothing for one that does not plan."""
    decisions: Sequence[Decision] = getattr(policy, "decisions", ())
    return decisions


def plan_entry(decision: Decision) -> PlanEntry:
    """A decision without what only carrying it out needs."""
    plan = None if decision.plan is None else decision.plan.model_dump_json(exclude_none=True)
    return PlanEntry(decision.record, isinstance(decision, Execute), plan)


def _ended(terminated: bool, truncated: bool, limited: bool) -> Ended | None:
    if terminated:
        return "terminated"
    if truncated:
        return "truncated"
    return "step_limit" if limited else None


def _numbers(info: Mapping[str, Any]) -> dict[str, float]:
    """The info's finite scalars but `success`, which is a field of its own."""
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
