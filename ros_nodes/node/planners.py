"""The planner that a node's settings ask for; what is heavy is imported here, when it is asked for."""

from __future__ import annotations

import dataclasses
import itertools
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from si_embodied.backends.base import BackendInfo
from si_embodied.backends.options import ServerOptions
from si_embodied.backends.scripted import ScriptedBackend
from si_embodied.config import PlannerConfig, planner_config_for
from si_embodied.errors import ConfigError, extra
from si_embodied.planner import AnyPlanner, Planner
from si_embodied.ros_nodes.node.questions import SharedBackend

if TYPE_CHECKING:
    from si_embodied.backends.base import Backend
    from si_embodied.embodiment import Embodiment
    from si_embodied.ros_nodes.node.settings import NodeSettings
    from si_embodied.types import Prompt


def make_backend(settings: NodeSettings) -> Backend | None:
    """The backend, loaded and ready, which questions may be put to beside plans; None where another machine plans.

    Raises:
        SiEmbodiedError: it cannot be had, and why.
    """
    if settings.backend == "remote":
        return None
    if settings.backend == "scripted":
        return SharedBackend(_repeating(settings.script, settings.script_delay_s))
    if settings.backend == "perfect_pixels":
        from si_embodied.ros_nodes.node.perfect_pixels import PerfectPixels

        return PerfectPixels()
    if settings.backend == "server":
        return SharedBackend(_server(settings))
    return SharedBackend(_local(settings))


def with_trained_prompts(settings: NodeSettings) -> NodeSettings:
    """The settings with the prompts that a local checkpoint was trained with, as `eval`, `demo` and `plan` take them.

    Raises:
        ConfigError: the checkpoint's planner.yaml cannot be read.
    """
    if settings.backend != "local" or not settings.trained_prompts:
        return settings
    named = planner_config_for(_checkpoint(settings), None)
    prompts = {name: getattr(named, name) for name in ("navigation_prompt", "manipulation_prompt")}
    asked = {name: prompt for name, prompt in prompts.items() if prompt != getattr(PlannerConfig(), name)}
    return dataclasses.replace(settings, planner=dataclasses.replace(settings.planner, **asked))


def make_planner(settings: NodeSettings, backend: Backend | None, body: Embodiment) -> AnyPlanner:
    """A planner for a body; on another machine where there is no backend.

    Raises:
        SiEmbodiedError: a prompt that is not there, or a planning server that does not answer.
    """
    if settings.backend == "perfect_pixels":
        from si_embodied.ros_nodes.node.perfect_pixels import PerfectPixels, PerfectPixelsPlanner

        return PerfectPixelsPlanner(cast("PerfectPixels", backend), body, settings.planner)
    if backend is not None:
        return Planner(backend, body, settings.planner)
    from si_embodied.serving.client import RemotePlanner

    planner = RemotePlanner(settings.url, body, settings.planner)
    planner.check()
    return planner


def info_of(planner: AnyPlanner) -> BackendInfo:
    """What a refusal before planning is recorded with."""
    backend = getattr(planner, "backend", None)
    return cast("BackendInfo", backend.info) if backend is not None else BackendInfo("remote", "unknown", "unknown")


def close(thing: Any) -> None:
    """Close a backend or a planner that holds something open."""
    end = getattr(thing, "close", None)
    if end is not None:
        end()


def _repeating(script: str, delay_s: float) -> ScriptedBackend:
    """The answers one by one, the last for ever."""
    answers = [line for line in script.splitlines() if line.strip()]
    asked = itertools.count()

    def answer(_: Prompt) -> str:
        time.sleep(delay_s)
        return answers[min(next(asked), len(answers) - 1)]

    return ScriptedBackend(answer)


def _local(settings: NodeSettings) -> Backend:
    with extra("models"):
        from si_embodied.backends.local import LocalBackend
    if settings.weights not in ("full", "8bit", "4bit"):
        raise ConfigError(f"expected weights to be full, 8bit or 4bit, got: {settings.weights!r}")
    return LocalBackend(_checkpoint(settings), weights=cast("Any", settings.weights))


def _checkpoint(settings: NodeSettings) -> Path:
    from si_embodied.models.checkpoints import shipped_checkpoint

    return Path(settings.model).expanduser() if settings.model else shipped_checkpoint()


def _server(settings: NodeSettings) -> Backend:
    from si_embodied.backends.server import ServerBackend

    if not settings.model:
        raise ConfigError("the server backend needs the parameter 'model': the name that the server gives it")
    options = ServerOptions(family=cast("Any", settings.family))
    backend = ServerBackend(settings.url, settings.model, options=options)
    backend.check()
    return backend
