"""`benchmark latency`: cold starts, then plans of each kind, timed one by one."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from si_embodied.backends.opening import located, open_planner
from si_embodied.benchmarking.latency.cold import ColdStart, answered, cold_start
from si_embodied.benchmarking.latency.energy import Meter, measured, meters
from si_embodied.benchmarking.latency.memory import peak, reset_peak, synchronize
from si_embodied.benchmarking.latency.report import Row, SpeedReport
from si_embodied.benchmarking.latency.scenes import ROBOT, Situation, noisy, turned, view
from si_embodied.config import DEFAULT_PROMPTS
from si_embodied.evaluation.machine import describe_machine
from si_embodied.planner import Planner
from si_embodied.prompts import load_prompt
from si_embodied.runs import write_json, write_text

if TYPE_CHECKING:
    from si_embodied.backends.config import BackendConfig
    from si_embodied.benchmarking.latency.settings import SpeedRun
    from si_embodied.planner import AnyPlanner
    from si_embodied.types import PlanRecord

Situations: TypeAlias = Iterator[Situation]

_VIEWS = 4


def first_plans(size: int) -> Situations:
    """Each in another room, with another task and nothing remembered."""
    for seed in itertools.count():
        yield turned(seed, 0, size)


def replans(size: int) -> Situations:
    """The same task; the robot turns, and remembers one more attempt each time.

    After a whole turn it sees the same room again, through the camera's noise: an equal picture would not be encoded.
    """
    rng = np.random.default_rng(0)
    for step in itertools.count():
        yield noisy(turned(0, step, size), rng)


def unchanged(size: int) -> Situations:
    """The robot stands, and nothing has happened since the last plan: the picture differs by noise."""
    rng, before = np.random.default_rng(0), turned(0, 1, size)
    while True:
        yield noisy(before, rng)


def four_views(size: int) -> Situations:
    """As `replans`, with four remembered views, the same in every plan."""
    rng, views = np.random.default_rng(0), [view(0, step, size) for step in range(_VIEWS)]
    for step in itertools.count():
        yield noisy(turned(0, _VIEWS + step, size, views=views), rng)


KINDS: Mapping[str, Callable[[int], Situations]] = {
    "first plan": first_plans, "re-plan": replans, "unchanged": unchanged, "four views": four_views,
}  # fmt: skip


def run_speed(run: SpeedRun, *, say: Callable[[str], None] = lambda _: None) -> SpeedReport:
    """Measure every kind of plan, and write the report.

    Raises:
        CheckpointError: the model cannot be found or loaded.
        BackendError: the server cannot be reached, a plan failed, or a process for a cold start did.
    """
    run = replace(run, backend=located(run.backend))
    cold, no_cold = _cold_starts(run, say)
    planner = open_planner(run.backend, ROBOT, run.planner)
    try:
        energy = meters()
        rows = []
        for kind, situations in KINDS.items():
            say(f"{kind}: {run.warmup} plans to warm up, {run.plans} to measure")
            able = _showing_views(planner) if situations is four_views else planner
            rows.append(_measure(run, kind, able, situations(run.image_size), energy))
        info = planner.info
    finally:
        planner.close()
    report = SpeedReport(
        info.model, info.kernel, info.dtype, cold, no_cold, tuple(rows), run.settings(), describe_machine()
    )  # fmt: skip
    write_json(run.out / "results.json", report.to_json())
    write_text(run.out / "results.md", "\n".join(report.table()) + "\n")
    return report


def _cold_starts(run: SpeedRun, say: Callable[[str], None]) -> tuple[tuple[ColdStart, ...], str]:
    """The starts, or why there are none."""
    if reason := _no_cold(run.backend, run.starts):
        return (), reason
    say(f"cold start: {run.starts} processes")
    return tuple(cold_start(run.backend, image_size=run.image_size) for _ in range(run.starts)), ""


def _no_cold(backend: BackendConfig, starts: int) -> str:
    if backend.kind in ("server", "remote"):
        return f"the model runs in the server {backend.url}"
    return "" if starts else "--starts 0"


def _measure(run: SpeedRun, kind: str, planner: AnyPlanner, situations: Situations, energy: Sequence[Meter]) -> Row:
    for _ in range(run.warmup):
        _plan(planner, next(situations))
    upcoming = [next(situations) for _ in range(run.plans)]  # drawn before energy is measured
    reset_peak()
    with measured(energy) as joules:
        records = [_plan(planner, situation) for situation in upcoming]
    return Row.of(kind, records, peak(), joules)


def _plan(planner: AnyPlanner, situation: Situation) -> PlanRecord:
    """A timed plan. The clock starts when the device is idle and stops with the decision, which needs the answer.

    Raises:
        BackendError: the model or its server failed, so that the time is none of a plan.
    """
    synchronize()
    return answered(planner.plan(situation.task, situation.observation, situation.memory)).record


def _showing_views(planner: AnyPlanner) -> AnyPlanner:
    """A planner for the same model whose prompt shows remembered views; a planning server has a prompt of its own."""
    shown = load_prompt(planner.config.prompts.navigation).shown if isinstance(planner, Planner) else ("keyframes",)
    if "keyframes" in shown or not isinstance(planner, Planner):
        return planner
    prompts = replace(planner.config.prompts, navigation=DEFAULT_PROMPTS.navigation)
    return Planner(planner.backend, planner.embodiment, replace(planner.config, prompts=prompts))
