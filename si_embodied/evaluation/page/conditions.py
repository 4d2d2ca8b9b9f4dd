"""What a run's figures depend on, and the command that repeats it."""

from __future__ import annotations

import dataclasses
import json
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from si_embodied.config import PlannerConfig
from si_embodied.evaluation.page.groups import Row

_FLAGS = {
    "task": "--task", "latency": "--latency", "image_size": "--image-size", "action_mode": "--action-mode",
    "python": "--python", "weights": "--weights", "device": "--device", "adapter": "--adapter",
    "thinking_tokens": "--thinking-tokens",
}  # fmt: skip
"""Settings that are flags of `si-embodied eval` with the same value."""
_SHIPPED = "nano"
"""The folder, and so the recorded name, of the model that comes with the package, which needs no `--model`."""


@dataclass(frozen=True, slots=True)
class Conditions:
    """A run's conditions by name, for people."""

    title: str
    rows: tuple[tuple[str, str], ...]
    command: str


def conditions_of(world: str, row: Row) -> Conditions:
    """The conditions of a run."""
    return Conditions(f"{world}: {row.report.title}", tuple(_rows(row)), command(row))


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
    yield "machine", "; ".join(f"{name} {value}" for name, value in run.machine.items()) or "not recorded"
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
    """The seeds of a run: "0 to 99"; with gaps, how many."""
    found = [episode.seed for episode in row.run.episodes]
    if not found:
        return "none"
    span = f"{found[0]} to {found[-1]}"
    return span if len(found) == found[-1] - found[0] + 1 else f"{span}, {len(found)} of them"


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
    """The `si-embodied eval` that repeats a run, but for `--config` where planner settings differ from the defaults."""
    settings, report = row.run.settings, row.report
    words = ["si-embodied", "eval", "--env", report.env, "--policy", report.policy]
    words += ["--episodes", str(report.asked), "--seed", str(report.seed)]
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
