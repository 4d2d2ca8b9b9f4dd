"""Backend settings: which model, where it runs, and how to query it. Shared by every command, node and server."""

from __future__ import annotations

import typing
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from si_embodied.errors import ConfigError, UnknownNameError
from si_embodied.models.footprint import WEIGHTS, Weights

Family: TypeAlias = Literal["internvl", "qwen2_5_vl", "qwen3_vl"]
AnswerFormat: TypeAlias = Literal["json_schema", "json_object", "guided_json", "none"]
ImageFormat: TypeAlias = Literal["png", "jpeg"]
BackendKind: TypeAlias = Literal["local", "server", "remote", "scripted"]


def _check_name(what: str, name: str, known: object) -> None:
    names = typing.get_args(known)
    if name not in names:
        raise UnknownNameError(what, name, names)


@dataclass(frozen=True, slots=True)
class ServerOptions:
    """Request format and limits for an OpenAI-compatible server."""

    family: Family = "qwen3_vl"  # decides how points are meant and images numbered
    answer_format: AnswerFormat = "json_schema"  # how the server is told the answer's schema; see docs/serving.md
    image_format: ImageFormat = "png"
    jpeg_quality: int = 90  # 1..95
    max_tokens: int = 512  # an answer longer than this is refused
    max_answer_bytes: int = 1 << 20
    connect_timeout_s: float = 3.0  # and for writing the request; the answer may take the whole deadline

    def __post_init__(self) -> None:
        """Check names and ranges."""
        _check_name("model family", self.family, Family)
        _check_name("answer_format", self.answer_format, AnswerFormat)
        _check_name("image_format", self.image_format, ImageFormat)
        for kind, number in (("max_tokens", self.max_tokens), ("max_answer_bytes", self.max_answer_bytes)):
            if number < 1:
                raise ConfigError(f"expected {kind} to be at least 1, got: {number}")
        if not 1 <= self.jpeg_quality <= 95:
            raise ConfigError(f"expected jpeg_quality from 1 to 95, got: {self.jpeg_quality}")
        if not self.connect_timeout_s > 0:
            raise ConfigError(f"expected connect_timeout_s to be positive, got: {self.connect_timeout_s}")


@dataclass(frozen=True, slots=True)
class BackendConfig:
    """The model behind a planner. Open it with `si_embodied.backends.opening`."""

    kind: BackendKind = "local"  # local (a checkpoint or an ONNX export), server, remote or scripted
    model: str = ""  # a directory, a released name or a hub id; for a server, the name it serves; empty: si-nano
    device: str = "auto"  # cpu, cuda, cuda:1; for an ONNX export, its execution providers in order
    weights: Weights = "full"  # of a local checkpoint; on CUDA, 8bit or 4bit halves or quarters the memory
    url: str = ""  # of the OpenAI-compatible server (server) or the planning server (remote)
    server: ServerOptions = field(default_factory=ServerOptions)
    script: tuple[str, ...] = ()  # answers of the scripted backend, in order; the last one repeats
    script_delay_s: float = 0.0  # time each scripted answer takes

    def __post_init__(self) -> None:
        """Check that the settings required by `kind` are present."""
        _check_name("backend", self.kind, BackendKind)
        if self.weights not in WEIGHTS:
            raise UnknownNameError("weights", self.weights, WEIGHTS)
        if self.kind in ("server", "remote") and not self.url:
            example = "http://127.0.0.1:8000" if self.kind == "server" else "ws://127.0.0.1:8421"
            raise ConfigError(f"the {self.kind} backend needs the server's URL; set 'url', for example to {example}")
        if self.kind == "server" and not self.model:
            raise ConfigError("the server backend needs the name of a served model; set 'model', or pass --model NAME")
        if self.kind == "scripted" and not any(answer.strip() for answer in self.script):
            raise ConfigError(f"the scripted backend needs at least one answer; set 'script', got: {self.script}")
