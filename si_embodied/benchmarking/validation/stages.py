"""The stages of a validation: each measures one thing, by the function that its own verb uses."""

from __future__ import annotations

import shutil
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from si_embodied.backends.config import BackendConfig
from si_embodied.benchmarking.comparison.run import run_comparison
from si_embodied.benchmarking.comparison.settings import ComparisonRun
from si_embodied.benchmarking.latency.run import run_speed
from si_embodied.benchmarking.latency.settings import SpeedRun
from si_embodied.benchmarking.validation.findings import Finding, Stage, State, slug
from si_embodied.benchmarking.validation.gpu_tests import run_gpu_tests
from si_embodied.benchmarking.validation.machine import describe
from si_embodied.benchmarking.validation.settings import VARIANTS, ValidationRun, Variant, world_and_task
from si_embodied.errors import EvaluationError
from si_embodied.evaluation.config import EvaluationConfig
from si_embodied.evaluation.registry import describe_environment, environments
from si_embodied.evaluation.report import detail_lines
from si_embodied.evaluation.session import Session
from si_embodied.live.episodes import live_episodes
from si_embodied.parallel.placement import Placement

if TYPE_CHECKING:
    from collections.abc import Callable

_STARTS = 3  # processes whose cold start is measured


def stages_of(run: ValidationRun, say: Callable[[str], None]) -> list[Stage]:
    """Every stage, in the order in which they run.

    Args:
        run: the settings; the checkpoint is located on this machine.
        say: takes lines of progress, in the stage's process.
    """
    stages = [Stage("machine", "machine", {}, describe, (run,))]
    if "tests" in run.parts:
        stages.append(Stage("tests", "marked gpu", {}, run_gpu_tests, (run, say)))
    if "latency" in run.parts:
        stages.append(Stage("latency", "what a plan costs", {"plans": run.plans}, latency, (run, say)))
    if "precisions" in run.parts:
        settings = {"episodes": run.compared, "task": run.compared_task}
        stages += [
            Stage("precisions", name, settings, compare, (run, name, say), optional=name != "itself")
            for name in run.variants
        ]
    if "worlds" in run.parts:
        settings = {"episodes": run.episodes}
        stages += [Stage("worlds", task, settings, play, (run, task)) for task in run.tasks or every_task()]
    return stages


def every_task() -> list[str]:
    """All tasks of all worlds of this package that have episodes of their own, as WORLD:TASK.

    Raises:
        MissingExtraError: gymnasium is not installed.
    """
    worlds = [describe_environment(name) for name in environments()]
    return [f"{world.id}:{task}" for world in worlds if not world.needs_place for task in world.tasks]


def latency(run: ValidationRun, say: Callable[[str], None]) -> Finding:
    """As `si-embodied benchmark latency`."""
    speed = SpeedRun(run.backend, run.planner, plans=run.plans, starts=min(run.plans, _STARTS), out=run.out / "latency")
    report = run_speed(speed, say=say)
    times = {row.kind: row.plan_ms for row in report.rows}
    medians = [f"{kind} {ms.p50:.1f} [{ms.low:.1f}, {ms.high:.1f}]" for kind, ms in times.items()]
    return Finding("done", f"medians, ms: {', '.join(medians)}", tuple(report.table()), report.to_json())


def compare(run: ValidationRun, name: str, say: Callable[[str], None]) -> Finding:
    """As `si-embodied compare`: the checkpoint against one of its variants, which may be exported first."""
    first = _evaluation(run, run.compared_task, run.compared)
    against = _variant(run, VARIANTS[name], say)
    report = run_comparison(
        ComparisonRun(first, against, run.out / "precisions" / name, no_memory=name == "itself"), say
    )
    state: State = "failed" if name == "itself" and report.verdict == "different" else "done"
    equal = f"{report.same_plans} of {report.decisions} plans are equal"
    return Finding(state, f"{report.verdict}; {equal}", tuple(report.table()), report.to_json())


def play(run: ValidationRun, task: str) -> Finding:
    """As `si-embodied eval`: the planner with this checkpoint on one task.

    Raises:
        EvaluationError: the simulator was lost in every episode.
        KeyboardInterrupt: Ctrl-C.
    """
    out = run.out / "worlds" / slug(task)
    session = Session(out, placement=Placement(workers=run.workers), audiences=(partial(live_episodes, out),))
    report, _ = session.run_with_controls(_evaluation(run, task, run.episodes), ())
    if report.interrupted:
        raise KeyboardInterrupt
    if not report.episodes:
        raise EvaluationError(f"the simulator of {task} was lost in each of {report.lost} episodes")
    low, high = report.wilson95
    summary = f"success {report.success_rate:.2f} [{low:.2f}, {high:.2f}] of {report.episodes} episodes"
    return Finding("done", summary, tuple(f"- {line}" for line in detail_lines(report)), report.to_json())


def _evaluation(run: ValidationRun, task: str, episodes: int) -> EvaluationConfig:
    env, name = world_and_task(task)
    return EvaluationConfig(
        env, "planner", name, run.backend, planner=run.planner, episodes=episodes, seed=run.seed
    )  # fmt: skip


def _variant(run: ValidationRun, variant: Variant, say: Callable[[str], None]) -> BackendConfig:
    if not variant.export:
        from si_embodied.models.loading import place

        place(run.backend.device, weights=variant.weights)  # fails before a world is made
        return replace(run.backend, weights=variant.weights)
    from si_embodied.models.onnx.sessions import choose_providers

    kind = run.backend.device.partition(":")[0]
    providers = variant.providers or {"cuda": "cuda,cpu"}.get(kind, kind)
    choose_providers(providers)  # fails before an export of minutes if this build of onnxruntime lacks one
    return replace(run.backend, model=str(_exported(run, variant.export, say)), device=providers)


def _exported(run: ValidationRun, precision: str, say: Callable[[str], None]) -> Path:
    """The export of the checkpoint, made unless an earlier run finished it; 8 and 4 bits are made from float32."""
    from si_embodied.models.onnx.export import export_model
    from si_embodied.models.onnx.manifest import is_exported
    from si_embodied.models.onnx.quantize import quantize_export

    path = run.out / "exports" / precision
    if is_exported(path):
        return path
    shutil.rmtree(path, ignore_errors=True)  # one that was interrupted
    if precision in ("int8", "int4"):
        return quantize_export(_exported(run, "fp32", say), path, precision)  # type: ignore[arg-type]
    say(f"exporting in {precision}")
    return export_model(run.backend.model, path, precision=precision)  # type: ignore[arg-type]
