"""`benchmark spatial`: ask each benchmark with images, with black images and without any, and report."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from si_embodied.backends.config import BackendConfig
from si_embodied.backends.opening import located
from si_embodied.benchmarking.answering import Answer, Engine, answers_of
from si_embodied.benchmarking.benchmarks import Task
from si_embodied.benchmarking.circular import counts_in
from si_embodied.benchmarking.environment import ensure_environment
from si_embodied.benchmarking.harness import ANSWERS_FILE, Harness, Scored, log_file
from si_embodied.benchmarking.messages import Sight
from si_embodied.benchmarking.report import (
    Measured,
    Row,
    SpatialReport,
    compare,
    in_order,
    join,
    measure,
    measure_circular,
    published,
)
from si_embodied.benchmarking.results import write_results
from si_embodied.benchmarking.settings import SpatialRun
from si_embodied.benchmarking.task_files import check_data, circular_name, counts_file, task_name, write_task_files
from si_embodied.errors import RecordError
from si_embodied.runs import JsonLines, claim

_ENGINE_FACTS, _TASK_FILES = "engine.json", "tasks"
_SERVER_TOKENS = 4096


def run_spatial(run: SpatialRun, *, say: Callable[[str], None] = lambda _: None) -> SpatialReport:
    """Run the benchmarks, or continue them, and write the report.

    Raises:
        DataError: data are missing; the message says where to get them and where they must lie.
        ConfigError: the folder holds another run, or the environment of lmms-eval cannot be made.
        EvaluationError: lmms-eval failed; answers are kept.
    """
    if run.data is not None:
        check_data(run.data, run.lmms_tasks)
    run = replace(run, backend=for_lmms_eval(located(run.backend)))
    claim(run.out / "settings.json", run.identity())
    python = ensure_environment(run.environment, say)
    harness = Harness(python, run.out / _TASK_FILES, run.data, run.batch)
    write_task_files(harness.task_files, run.lmms_tasks, harness.package(), run.data, run.limit, run.circular_tasks)
    found: dict[Sight, dict[str, Scored]] = {}
    for sight in run.sights:
        say(f"asking {', '.join(run.tasks)} with sight {sight!r}; log: {log_file(_folder(run, sight))}")
        engine = Engine(run.backend, sight, str((_folder(run, sight) / ANSWERS_FILE).absolute()))
        asked = [_own(run, task) for task in run.lmms_tasks] + [circular_name(task) for task in run.circular_tasks]
        found[sight] = harness.run(engine, asked, _folder(run, sight))
    rows: list[Row] = []
    for name, benchmark in run.benchmarks.items():
        parts = [_measured(run, name, task, found) for task in benchmark.tasks]
        for part in parts:
            rows += compare(part)
        if len(parts) > 1:
            rows += compare({sight: join([part[sight] for part in parts]) for sight in found})
        for task in benchmark.tasks:
            if task in run.circular_tasks:
                rows += _rotated(run, name, task, found)
    report = _report(run, rows)
    write_results(run.out, report)
    return report


def for_lmms_eval(backend: BackendConfig) -> BackendConfig:
    """The same model for lmms-eval's process: by absolute paths, since it runs in another folder, and without JSON."""
    if backend.kind == "local":
        model, adapter = (str(Path(each).absolute()) if each else "" for each in (backend.model, backend.adapter))
        return replace(backend, model=model, adapter=adapter)
    if backend.kind != "server":
        return backend
    most = max(backend.server.max_tokens, _SERVER_TOKENS)
    return replace(backend, server=replace(backend.server, answer_format="none", max_tokens=most))


def _folder(run: SpatialRun, sight: Sight) -> Path:
    return run.out / sight


def _own(run: SpatialRun, task: Task) -> str:
    return task_name(task, run.data, run.limit)


def _measured(
    run: SpatialRun, name: str, task: Task, found: Mapping[Sight, Mapping[str, Scored]]
) -> dict[Sight, Measured]:
    """One task, by sight."""
    own = _own(run, task)
    return {
        sight: measure(name, task, sight, scored[own], _answers(_folder(run, sight), own))
        for sight, scored in found.items()
    }


def _rotated(run: SpatialRun, name: str, task: Task, found: Mapping[Sight, Mapping[str, Scored]]) -> list[Row]:
    """The multiple-choice questions of a task, asked once and in every rotation, by sight."""
    own, counts = circular_name(task), counts_in(run.out / _TASK_FILES / counts_file(task))
    measured = {
        sight: measure_circular(name, task, sight, scored[own], counts, _answers(_folder(run, sight), own))
        for sight, scored in found.items()
    }
    return [
        row for place in range(2) for row in compare({sight: both[place] for sight, both in measured.items()})
    ]  # fmt: skip


def _answers(folder: Path, task: str) -> list[Answer]:
    """The recorded answers of a task."""
    return [answer for answer in answers_of(JsonLines(folder / ANSWERS_FILE)) if answer.task == task]


def _report(run: SpatialRun, rows: list[Row]) -> SpatialReport:
    file = _folder(run, run.sights[0]) / _ENGINE_FACTS
    try:
        facts: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RecordError(f"{str(file)!r} does not say what answered ({error}): repeat the command") from error
    return SpatialReport(
        facts["model"], facts["kernel"], facts["dtype"], run.identity(), facts["versions"],
        published(run.benchmarks, facts["model"]), in_order(rows),
    )  # fmt: skip
