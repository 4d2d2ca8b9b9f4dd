"""Options that several commands share."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from typing_extensions import Doc
from tyro.conf import arg

from si_embodied.backends.config import BackendConfig, ServerOptions
from si_embodied.cli.parsing import COUNT, flags
from si_embodied.config import PlannerConfig, load_planner_config
from si_embodied.errors import SiEmbodiedError
from si_embodied.parallel.placement import Placement

if TYPE_CHECKING:
    from si_embodied.sensor_noise.profiles import NoiseProfile

Checkpoint = Annotated[Path, Doc("a checkpoint, as for --model of `si-embodied plan`"), arg(metavar="DIR|ID")]
LocalModel = Annotated[
    BackendConfig, flags("device", "weights", "adapter", "thinking_tokens", "cache_mb", model="DIR|ID")
]
Place = Annotated[Placement, flags("gpu_share", ray="ADDRESS|local", workers=COUNT)]
PrintJson = Annotated[bool, Doc("print one line of JSON")]
EndWithJson = Annotated[bool, Doc("end with one line of JSON")]


@dataclass(frozen=True, slots=True)
class Model:
    """The model that plans, on this machine."""

    local: LocalModel = BackendConfig()
    config: Annotated[Path | None, Doc("YAML file with the planner's settings")] = None

    def planner_config(self) -> PlannerConfig:
        """Read the planner's settings."""
        return load_planner_config(self.config)


@dataclass(frozen=True, slots=True)
class Server:
    """A model behind an OpenAI-compatible server (docs/serving.md); --model is the name that the server gives it."""

    server: Annotated[str, Doc("the server's address"), arg(metavar="URL")] = ""
    options: Annotated[ServerOptions, flags("family", "answer_format", "image_format")] = ServerOptions()

    def backend(self, model: Model) -> BackendConfig:
        """The model on this server, or without --server the one on this machine."""
        if not self.server:
            return model.local
        return replace(model.local, kind="server", url=self.server, server=self.options)


def latency(text: str) -> float | str:
    """Read `measured`, or seconds of at least 0."""
    if text == "measured":
        return text
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < float("inf"):
        raise ValueError(f"expected 'measured' or seconds of at least 0, got {text!r}; for example 1.5")
    return value


def noise(text: str) -> NoiseProfile:
    """Read a noise profile's name, or a YAML file with own values."""
    from si_embodied.sensor_noise.profiles import noise_profile

    try:
        return noise_profile(text)
    except SiEmbodiedError as error:
        raise ValueError(str(error)) from error


def named_value(text: str) -> tuple[str, Any]:
    """Read NAME=VALUE; a value that is not JSON is text."""
    name, equals, value = text.partition("=")
    if not (name.isidentifier() and equals):
        raise ValueError(f"expected NAME=VALUE, got {text!r}; for example room_count=3")
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value
