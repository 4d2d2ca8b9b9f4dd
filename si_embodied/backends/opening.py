"""The one place that turns settings into a backend or a planner, for every command, node, server and script."""

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
    """Open a model and plan with it for one robot. Close the planner when done.

    Args:
        model: a released name ("1.4-InternVL3-8B"), a checkpoint or ONNX export directory, a hub id
            ("owner/name@revision"), the URL of an OpenAI-compatible server ("http://…", which must serve one model) or
            of a planning server ("ws://…"); or a `BackendConfig` that says more.
        embodiment: the robot; decides the skills and the bounds.
        config: the planner's settings. Prompts left empty are the checkpoint's own (its planner.yaml).

    Raises:
        CheckpointError: the checkpoint cannot be found or loaded.
        BackendError: the server cannot be reached or does not serve the model.
        ConfigError: contradictory settings, or an unknown prompt version.
        MissingExtraError: a library that runs this model is not installed.
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
        BackendError: the server cannot be reached or does not serve the model.
        ConfigError: a planning server, which is a planner and has no backend on this side.
        MissingExtraError: a library that runs this model is not installed.
    """
    match config.kind:
        case "local":
            from si_embodied.backends.local import LocalBackend

            return LocalBackend(located(config).model, device=config.device, weights=config.weights)
        case "server":
            return _server(config)
        case "scripted":
            return ScriptedBackend(_repeating(config.script, config.script_delay_s))
        case "remote":
            raise ConfigError(f"the planning server {config.url} answers with decisions, not completions; use "
                              "open_planner, or give a model of this machine")  # fmt: skip
        case _:
            assert_never(config.kind)


def located(config: BackendConfig) -> BackendConfig:
    """The same settings with the local model's directory in place of its name; downloaded first if it is on the hub.

    Raises:
        CheckpointError: there is no such directory or checkpoint.
    """
    if config.kind != "local":
        return config
    from si_embodied.models.checkpoints import shipped_checkpoint
    from si_embodied.models.hub import resolve_model

    directory = resolve_model(config.model) if config.model else shipped_checkpoint()
    if not directory.is_dir():
        raise CheckpointError(
            f"no checkpoint directory at {config.model!r}; give a local Hugging Face directory, a name from "
            "`si-embodied models list`, or make one to try with: si-embodied models tiny DIR"
        )
    return replace(config, model=str(directory))


def checkpoint_name(directory: Path) -> str:
    """What a local model is called in records: its directory's name, or in the hub's cache its id and commit."""
    from si_embodied.models.hub import model_name

    return model_name(directory)


def backend_config(model: str | Path) -> BackendConfig:
    """The settings that a bare name, directory, hub id or URL stands for; see `open_planner`."""
    text = str(model)
    if text.startswith(("ws://", "wss://")):
        return BackendConfig("remote", url=text)
    if not text.startswith(("http://", "https://")):
        return BackendConfig(model=text)
    from si_embodied.backends.server import served_models

    names = served_models(text)
    if len(names) != 1:
        listed = ", ".join(names) or "none that it lists"
        raise ConfigError(f"{text} serves {listed}; name one with BackendConfig('server', model=NAME, url={text!r})")
    return BackendConfig("server", model=names[0], url=text)


def _server(config: BackendConfig) -> Backend:
    from si_embodied.backends.server import ServerBackend

    backend = ServerBackend(config.url, config.model, options=config.server)
    try:
        backend.check()
    except BackendError:
        backend.close()
        raise
    return backend


def _repeating(script: tuple[str, ...], delay_s: float) -> Callable[[Prompt], str]:
    """Each answer once, then the last one again and again."""
    asked = itertools.count()

    def answer(_: Prompt) -> str:
        time.sleep(delay_s)
        return script[min(next(asked), len(script) - 1)]

    return answer
