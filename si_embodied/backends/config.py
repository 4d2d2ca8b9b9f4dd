"""Backend settings: which model, where it runs, and how to query it. Shared by every command, node and server."""

from __future__ import annotations

import typing
from dataclasses import dataclass, field
from typing import Annotated, Literal, TypeAlias

from typing_extensions import Doc

from si_embodied.errors import ConfigError, UnknownNameError
from si_embodied.models.cache_memory import CACHE_MB
from si_embodied.models.footprint import WEIGHTS, Weights

Family: TypeAlias = Literal["bagel", "internvl", "qwen2_5_vl", "qwen3_vl"]
AnswerFormat: TypeAlias = Literal["json_schema", "json_object", "guided_json", "none"]
ImageFormat: TypeAlias = Literal["png", "jpeg"]
BackendKind: TypeAlias = Literal["local", "server", "remote", "scripted"]

# The planner node's ROS parameters have these descriptions too.
MODEL = Doc(
    "checkpoint directory, name from `si-embodied models list`, OWNER/NAME[@REVISION] on the Hugging Face Hub, or a "
    "server's name for its model; empty: si-nano, which comes with the package"
)
DEVICE = Doc("auto, cpu, cuda or cuda:1; for an ONNX export, its execution providers in order, as in tensorrt,cuda,cpu")
PRECISION = Doc("precision of a local model's weights: full, or 8bit or 4bit to save memory on CUDA")
THINKING = Doc("most tokens that the model may think before its answer, in a <think> block; 0: it answers at once")
CACHE = Doc("memory for what a local model keeps between prompts, in MiB: key/value caches and images")
ADAPTER = Doc("directory of a LoRA adapter to merge into a local checkpoint; none is applied unasked")
FAMILY = Doc("family of a server's model: bagel, internvl, qwen2_5_vl or qwen3_vl")
URL = Doc("address of the OpenAI-compatible server (server) or the planning server (remote)")
SCRIPT_DELAY = Doc("time that each scripted answer takes")


def _check_name(what: str, name: str, known: object) -> None:
    names = typing.get_args(known)
    if name not in names:
        raise UnknownNameError(what, name, names)


@dataclass(frozen=True, slots=True)
class ServerOptions:
    """Request format and limits for an OpenAI-compatible server."""

    family: Annotated[Family, FAMILY] = "qwen3_vl"
    answer_format: Annotated[AnswerFormat, Doc("how to tell the server the answer's schema: docs/serving.md")] = (
        "json_schema"
    )
    image_format: Annotated[ImageFormat, Doc("encoding of the images that are sent")] = "png"
    jpeg_quality: Annotated[int, Doc("1 to 95")] = 90
    max_tokens: Annotated[int, Doc("a longer answer is rejected")] = 512
    max_answer_bytes: Annotated[int, Doc("a larger answer is rejected")] = 1 << 20
    connect_timeout_s: Annotated[
        float, Doc("for connecting and sending the request; the answer may take the whole deadline")
    ] = 3.0

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

    kind: Annotated[
        BackendKind, Doc("local (a checkpoint or an ONNX export), server (OpenAI-compatible), remote or scripted")
    ] = "local"
    model: Annotated[str, MODEL] = ""
    device: Annotated[str, DEVICE] = "auto"
    weights: Annotated[Weights, PRECISION] = "full"
    adapter: Annotated[str, ADAPTER] = ""
    thinking_tokens: Annotated[int, THINKING] = 0
    cache_mb: Annotated[int, CACHE] = CACHE_MB
    url: Annotated[str, URL] = ""
    server: ServerOptions = field(default_factory=ServerOptions)
    script: Annotated[tuple[str, ...], Doc("answers of the scripted backend in order; the last one repeats")] = ()
    script_delay_s: Annotated[float, SCRIPT_DELAY] = 0.0

    def __post_init__(self) -> None:
        """Check that the settings required by `kind` are present."""
        _check_name("backend", self.kind, BackendKind)
        if self.weights not in WEIGHTS:
            raise UnknownNameError("weights", self.weights, WEIGHTS)
        if self.adapter and self.kind != "local":
            raise ConfigError(
                f"an adapter is merged into a local checkpoint, got {self.adapter!r} with the {self.kind} backend; "
                "leave 'adapter' out, or give the checkpoint as 'model' with the local backend"
            )
        for name, number in (("thinking_tokens", self.thinking_tokens), ("cache_mb", self.cache_mb)):
            if number < 0:
                raise ConfigError(f"expected {name} to be at least 0, got: {number}")
        if self.thinking_tokens and self.kind == "remote":
            raise ConfigError(
                f"the planning server decides how long its model thinks, got thinking_tokens {self.thinking_tokens}; "
                "leave it out, and start the server with it"
            )
        if self.kind in ("server", "remote") and not self.url:
            example = "http://127.0.0.1:8000" if self.kind == "server" else "ws://127.0.0.1:8421"
            raise ConfigError(f"the {self.kind} backend needs the server's URL; set 'url', for example to {example}")
        if self.kind == "server" and not self.model:
            raise ConfigError("the server backend needs the name of a served model; set 'model', or pass --model NAME")
        if self.kind == "scripted" and not any(answer.strip() for answer in self.script):
            raise ConfigError(f"the scripted backend needs at least one answer; set 'script', got: {self.script}")
