"""What is evaluated, and the mark by which an interrupted run is known again."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeAlias

from typing_extensions import assert_never

from si_embodied.backends.config import BackendConfig
from si_embodied.backends.opening import checkpoint_name
from si_embodied.config import PlannerConfig
from si_embodied.errors import ConfigError
from si_embodied.types import Latency

Control: TypeAlias = Literal["blank"]

_WEIGHT_SUFFIXES = (".safetensors", ".bin", ".onnx", ".data", ".npy")
_HEAD_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class EvaluationConfig:
    """One policy on one task: with the seeds, everything that a score depends on and the user chose."""

    env: str  # a Gymnasium id
    policy: str
    task: str | None = None  # None is the environment's default
    backend: BackendConfig | None = None  # the model, located on this machine; None for policies without one
    control: Control | None = None  # what is spoiled on purpose
    latency: Latency = 0.0  # simulated seconds a plan takes; 0 stops the world while the planner thinks
    image_size: int | None = None  # pixels, None is the environment's default
    action_mode: str | None = None  # None is the environment's default
    planner: PlannerConfig = field(default_factory=PlannerConfig)
    episodes: int = 100
    seed: int = 0  # of the first episode; the next one has the next seed
    python: Path | None = None  # executable of another Python, where the environment runs
    env_args: tuple[tuple[str, Any], ...] = ()  # further arguments of the environment, by name

    def __post_init__(self) -> None:
        """Refuse numbers that cannot be."""
        if self.episodes < 1:
            raise ConfigError(f"expected at least 1 episode, got: {self.episodes}")
        if self.seed < 0:
            raise ConfigError(f"expected a seed of 0 or more, got: {self.seed}")
        if self.image_size is not None and self.image_size < 16:
            raise ConfigError(f"expected an image size of at least 16 pixels, got: {self.image_size}")

    @property
    def seeds(self) -> range:
        """The seeds of the episodes."""
        return range(self.seed, self.seed + self.episodes)

    def identity(self) -> dict[str, Any]:
        """What episodes must have in common to be one run; the seeds are not part of it, so that a run can grow."""
        identity: dict[str, Any] = {
            "env": self.env,
            "task": self.task,
            "policy": self.policy,
            **({"model": None} if self.backend is None else _backend_identity(self.backend)),
            "control": self.control,
            "latency": self.latency,
            "image_size": self.image_size,
            "action_mode": self.action_mode,
            "planner": dataclasses.asdict(self.planner),
        }
        if self.python is not None:
            identity["python"] = str(self.python)
        if self.env_args:
            identity["env_args"] = dict(self.env_args)
        return identity

    def digest(self) -> str:
        """Twelve hexadecimal digits of the identity."""
        text = json.dumps(self.identity(), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:12]


def _backend_identity(backend: BackendConfig) -> dict[str, Any]:
    """The model as it is known again: a local one by its files, a served one by its name and how it is asked."""
    match backend.kind:
        case "local":
            options = {"weights": backend.weights, "device": backend.device}
            chosen = {name: value for name, value in options.items() if value not in ("full", "auto")}
            return {"model": model_fingerprint(Path(backend.model)), **chosen}
        case "server":
            return {"model": backend.model, "server": dataclasses.asdict(backend.server)}
        case "remote":
            return {"model": None, "planning_server": backend.url}
        case "scripted":
            return {"model": "scripted", "script": list(backend.script)}
        case _:
            assert_never(backend.kind)


def model_fingerprint(directory: Path) -> str:
    """A checkpoint's name and a digest of its files: of weights, their names, sizes and first mebibyte."""
    digest = hashlib.sha256()
    for file in sorted(path for path in directory.glob("*") if path.is_file()):
        digest.update(f"{file.name}:{file.stat().st_size}:".encode())
        with file.open("rb") as stream:
            digest.update(stream.read(_HEAD_BYTES if file.suffix in _WEIGHT_SUFFIXES else -1))
    return f"{checkpoint_name(directory)}@{digest.hexdigest()[:12]}"
