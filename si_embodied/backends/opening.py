"""Turns settings into a backend or a planner, for every command, node, server and script."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from typing_extensions import assert_never

from si_embodied.backends.config import BackendConfig
from si_embodied.backends.scripted import ScriptedBackend
from si_embodied.errors import BackendError, CheckpointError, ConfigError
from si_embodied.planner import Planner

if TYPE_CHECKING:
    from si_embodied.backends.base import Backend
    from si_embodied.config import PlannerConfig
    from si_embodied.embodiment import Embodiment
    from si_embodied.planner import AnyPlanner
    from si_embodied.types import Prompt


def open_planner(
    model: str | Path | BackendConfig, embodiment: Embodiment, config: PlannerConfig | None = None
) -> AnyPlanner:
    """Open a model and create a planner for one robot. Close the planner when done.

    Args:
        model: a released name ("1.4-InternVL3-8B"), a checkpoint or ONNX export directory, a hub id
            ("owner/name@revision"), the URL of an OpenAI-compatible server that serves one model ("http://…"), the URL
            of a planning server ("ws://…"), or a `BackendConfig` with more settings.
        embodiment: the robot; determines the skills and the bounds.
        config: the planner's settings. Empty prompt versions default to the checkpoint's own (its planner.yaml).

    Raises:
        CheckpointError: the checkpoint cannot be found or loaded.
        BackendError: the server is unreachable or does not serve the model.
        ConfigError: contradictory settings, or an unreadable prompt file.
        UnknownNameError: an unknown prompt version.
        MissingExtraError: a library that this model needs is not installed.
    """
    backend = model if isinstance(model, BackendConfig) else backend_config(model)
    if backend.kind != "remote":
        return Planner(open_backend(backend), embodiment, config)
    from si_embodied.serving.client import RemotePlanner

    planner = RemotePlanner(backend.url, embodiment, config)
    try:
        planner.check()
    except BackendError:
        planner.close()
        raise
    return planner


def open_backend(config: BackendConfig) -> Backend:
    """Open a model, ready to answer.

    Raises:
        CheckpointError: the checkpoint cannot be found or loaded.
        BackendError: the server is unreachable or does not serve the model.
        ConfigError: the settings name a planning server, which is a planner and not a backend.
        MissingExtraError: a library that this model needs is not installed.
    """
    match config.kind:
        case "local":
            from si_embodied.backends.local import LocalBackend

            directory = located(config).model
            return LocalBackend(
                directory,
                device=config.device,
                weights=config.weights,
                adapter=config.adapter,
                thinking_tokens=config.thinking_tokens,
                cache_mb=config.cache_mb,
            )
        case "server":
            return _server(config)
        case "scripted":
            return ScriptedBackend(_repeating(config.script, config.script_delay_s))
        case "remote":
            raise ConfigError(f"the planning server {config.url} returns decisions, not completions; use "
                              "open_planner, or a model on this machine")  # fmt: skip
        case _:
            assert_never(config.kind)


def located(config: BackendConfig) -> BackendConfig:
    """Replace a local model's name by its directory, downloading it from the hub if necessary.

    Only settings and headers of the directory's files are read, so that a wrong name fails before anything heavy is up.

    Raises:
        CheckpointError: there is no such directory, or it holds no model that can be opened.
    """
    if config.kind != "local":
        return config
    from si_embodied.models.checkpoints import inspect_checkpoint, shipped_checkpoint
    from si_embodied.models.hub import resolve_model
    from si_embodied.models.onnx.manifest import is_exported, read_manifest

    directory = resolve_model(config.model) if config.model else shipped_checkpoint()
    if not directory.is_dir():
        raise CheckpointError(
            f"no checkpoint directory at {config.model!r}; give a local Hugging Face directory or a name from "
            "`si-embodied models list`, or create a tiny test model: si-embodied models tiny DIR"
        )
    if is_exported(directory):
        read_manifest(directory)
    else:
        inspect_checkpoint(directory)
    return replace(config, model=str(directory))


def checkpoint_name(directory: Path) -> str:
    """A local model's name in records: the directory's name or, in the hub's cache, the model's id and commit."""
    from si_embodied.models.hub import model_name

    return model_name(directory)


def adapter_name(directory: str | Path) -> str:
    """A LoRA adapter's name in records: its directory's name and the digest of its files.

    Raises:
        CheckpointError: the directory has no adapter.
    """
    from si_embodied.models.adapters import inspect_adapter

    return inspect_adapter(directory).label


def backend_config(model: str | Path) -> BackendConfig:
    """The settings for a bare name, directory, hub id or URL; see `open_planner`.

    Raises:
        BackendError: the server at the URL is unreachable or not ready.
        ConfigError: the server does not list exactly one model.
    """
    text = str(model)
    if text.startswith(("ws://", "wss://")):
        return BackendConfig("remote", url=text)
    if not text.startswith(("http://", "https://")):
        return BackendConfig(model=text)
    from si_embodied.backends.server import served_models

    names = served_models(text)
    if len(names) != 1:
        listed = ", ".join(names) or "no models"
        raise ConfigError(f"{text} lists {listed}; choose one with BackendConfig('server', model=NAME, url={text!r})")
    return BackendConfig("server", model=names[0], url=text)


def _server(config: BackendConfig) -> Backend:
    from si_embodied.backends.server import ServerBackend

    backend = ServerBackend(config.url, config.model, options=config.server, thinking_tokens=config.thinking_tokens)
    try:
        backend.check()
    except BackendError:
        backend.close()
        raise
    return backend


def _repeating(script: tuple[str, ...], delay_s: float) -> Callable[[Prompt], str]:
    """Each answer once, in order; then the last one forever."""
    asked = itertools.count()

    def answer(_: Prompt) -> str:
        time.sleep(delay_s)
        return script[min(next(asked), len(script) - 1)]

    return answer
