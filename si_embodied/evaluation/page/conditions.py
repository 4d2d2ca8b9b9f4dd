"""What a run's figures depend on, and the command that repeats it."""

from __future__ import annotations

import dataclasses
import itertools
import json
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from si_embodied.config import PlannerConfig
from si_embodied.evaluation.page.groups import Group, Row

_FLAGS = {
    "task": "--task", "latency": "--latency", "image_size": "--image-size", "action_mode": "--action-mode",
    "python": "--python", "weights": "--weights", "device": "--device", "adapter": "--adapter",
    "thinking_tokens": "--thinking-tokens",
}  # fmt: skip
"""Settings that are flags of `si-embodied eval` with the same value."""
_LOAD = "load"
"""Of what a machine is described by, the one value that is another for each run."""
_SAID_ONCE = ("machine", "versions")
_SHIPPED = "nano"
"""The folder, and so the recorded name, of the model that comes with the package, which needs no `--model`."""


@dataclass(frozen=True, slots=True)
class Conditions:
    """A run's conditions by name, for people."""

    title: str
    rows: tuple[tuple[str, str], ...]
    command: str


@dataclass(frozen=True, slots=True)
class AllConditions:
    """The conditions of all runs."""

    shared: tuple[tuple[str, str], ...]  # machine and versions, if there are several runs and they are those of all
    runs: tuple[Conditions, ...]


def conditions_of(groups: Sequence[Group]) -> AllConditions:
    """The conditions of every run; what is long and the same for all is said once."""
    runs = [
        Conditions(f"{g.title}: {row.report.title}", tuple(_rows(row)), command(row)) for g in groups for row in g.rows
    ]
    first = runs[0].rows if len(runs) > 1 else ()
    shared = tuple(line for line in first if line[0] in _SAID_ONCE and all(line in run.rows for run in runs))
    own = (replace(run, rows=tuple(line for line in run.rows if line not in shared)) for run in runs)
    return AllConditions(shared, tuple(own))


def _rows(row: Row) -> Iterator[tuple[str, str]]:
    report, run = row.report, row.run
    yield "world", f"{report.env}, task {report.task}"
    yield "policy", report.title
    if has_model(row):
        name, revision = model_and_revision(row)
        yield "model", name
        yield "revision", revision
        yield "precision", f"{report.dtype or 'unknown'}, weights {run.settings.get('weights', 'as stored')}"
        yield "kernel of attention", report.kernel or "unknown"
    if report.plans:
        yield "prompt", ", ".join(report.prompt_versions)
    yield "episodes", f"{report.episodes} of {report.asked} asked for, seeds {seeds(row)}"
    yield "noise of the sensors", report.noise
    yield "latency", "the world waits for the plan" if report.latency == 0 else str(report.latency)
    world = {name: run.settings.get(name) for name in ("image_size", "action_mode")} | (
        run.settings.get("env_args") or {}
    )
    if any(value is not None for value in world.values()):
        yield (
            "arguments of the world",
            ", ".join(f"{name} {value}" for name, value in world.items() if value is not None),
        )
    changed = changed_settings(run.settings.get("planner") or {})
    if changed:
        yield "planner settings that differ from the defaults", json.dumps(changed)
    machine = [f"{name} {value}" for name, value in run.machine.items() if name != _LOAD]
    yield "machine", "; ".join(machine) or "not recorded"
    if _LOAD in run.machine:
        yield "load of the machine at the start", run.machine[_LOAD]
    yield "versions", ", ".join(f"{name} {value}" for name, value in run.versions.items()) or "not recorded"


def has_model(row: Row) -> bool:
    """Whether a policy was given a model, on this machine or behind a server."""
    return any(row.run.settings.get(name) for name in ("model", "server", "planning_server"))


def model_and_revision(row: Row) -> tuple[str, str]:
    """The name of a policy's model, and the digest of its files or what else tells one revision from another."""
    recorded = row.run.settings.get("model")
    if isinstance(recorded, str) and "@" in recorded:
        name, _, digest = recorded.rpartition("@")
        return f"si-{name}" if name == _SHIPPED else name, f"{digest} (SHA-256 of its files)"
    return str(row.report.model or recorded or "none"), "not known: a server has it"


def seeds(row: Row) -> str:
    """The seeds of a run's episodes: "0 to 99", "0 to 3 and 100 to 102"."""
    *most, last = [_span(each) for each in stretches([e.seed for e in row.run.episodes])] or ["none"]
    return f"{', '.join(most)} and {last}" if most else last


def _span(stretch: range) -> str:
    return f"{stretch[0]} to {stretch[-1]}" if len(stretch) > 1 else f"{stretch[0]}"


def stretches(seeds: Sequence[int]) -> tuple[range, ...]:
    """The ranges without a gap that ascending seeds are made of."""
    starts = [i for i, seed in enumerate(seeds) if i == 0 or seed != seeds[i - 1] + 1]
    return tuple(range(seeds[a], seeds[b - 1] + 1) for a, b in itertools.pairwise([*starts, len(seeds)]))


def changed_settings(planner: Mapping[str, Any]) -> dict[str, Any]:
    """The planner's settings that are not the defaults, by dotted name."""
    ours = json.loads(json.dumps(dataclasses.asdict(PlannerConfig())))
    before, now = _flat(ours), _flat(planner)
    return {name: value for name, value in now.items() if before.get(name) != value}


def _flat(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in settings.items():
        flat |= _flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {f"{prefix}{name}": value}
    return flat


def command(row: Row) -> str:
    """The `si-embodied eval` that repeats a run, but for `--config` where planner settings differ from the defaults.

    A command runs seeds without a gap, so there is a line for each such stretch.
    """
    return "\n".join(_command(row, stretch) for stretch in stretches(row.run.seeds)) or _command(row, range(1))


def _command(row: Row, stretch: range) -> str:
    settings, report = row.run.settings, row.report
    words = ["si-embodied", "eval", "--env", report.env, "--policy", report.policy]
    words += ["--episodes", str(len(stretch)), "--seed", str(stretch.start)]
    if report.control:
        words += ["--control", report.control]
    if settings.get("model") and model_and_revision(row)[0] != f"si-{_SHIPPED}":
        words += ["--model", model_and_revision(row)[0]]
    if "server" in settings:
        words += ["--server", "URL"]
    if "planning_server" in settings:
        words += ["--planner", str(settings["planning_server"])]
    for name, flag in _FLAGS.items():
        value = settings.get(name)
        if value not in (None, "", 0, 0.0):
            words += [flag, str(value)]
    if report.noise != "none":
        words += ["--noise", report.noise]
    for name, value in (settings.get("env_args") or {}).items():
        words += ["--env-arg", f"{name}={value if isinstance(value, str) else json.dumps(value)}"]
    if changed_settings(settings.get("planner") or {}):
        words += ["--config", "FILE.yaml"]
    return shlex.join(words)
