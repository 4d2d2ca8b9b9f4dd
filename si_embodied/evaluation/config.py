"""Settings of an evaluation, and the digest that identifies an interrupted run."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias

from typing_extensions import Doc, assert_never

from si_embodied.backends.config import BackendConfig
from si_embodied.backends.opening import adapter_name, checkpoint_name
from si_embodied.config import PlannerConfig
from si_embodied.errors import ConfigError
from si_embodied.sensor_noise.profiles import NoiseProfile
from si_embodied.types import LEAST_IMAGE_SIZE, Latency

Control: TypeAlias = Literal["blank"]

_WEIGHT_SUFFIXES = (".safetensors", ".bin", ".onnx", ".data", ".npy")
_HEAD_BYTES = 1 << 20
PLACE_SUFFIXES = (".glb", ".gltf", ".obj", ".ply", ".stl", ".off", ".usd", ".usda", ".usdc", ".usdz", ".mcap", ".db3")
"""A world that ends so is a file of the user's own (docs/own_world.md)."""


@dataclass(frozen=True, slots=True)
class EvaluationConfig:
    """One policy on one task: every choice of the user that a score depends on."""

    env: Annotated[str, Doc("the world; `si-embodied envs` lists them; or your own: a GLB file, a folder of images")]
    policy: Annotated[str, Doc("random, oracle, perfect-pixels, planner or a plugin's")]
    task: Annotated[str | None, Doc("a task of the world; default: the world's own")] = None
    backend: Annotated[BackendConfig | None, Doc("the model, found on this machine; None if the policy has none")] = (
        None
    )
    control: Annotated[Control | None, Doc("what to withhold from the model")] = None
    latency: Annotated[Latency, Doc("simulated time per plan; with 0 the world stops while the planner plans")] = 0.0
    image_size: Annotated[int | None, Doc("pixels; default: the world's own")] = None
    action_mode: Annotated[str | None, Doc("how the policy acts; default: the world's own")] = None
    noise: Annotated[NoiseProfile | None, Doc("of the sensors: none, realsense, orbbec, zed or a file")] = None
    planner: PlannerConfig = field(default_factory=PlannerConfig)
    episodes: Annotated[int, Doc("one per seed")] = 100
    seed: Annotated[int, Doc("of the first episode; each next episode has the next seed")] = 0
    python: Annotated[Path | None, Doc("run the world in this Python: docs/habitat.md")] = None
    env_args: Annotated[tuple[tuple[str, Any], ...], Doc("another argument of the world, see `si-embodied envs`")] = ()
    policy_args: tuple[tuple[str, Any], ...] = ()  # of a policy that takes some

    def __post_init__(self) -> None:
        """Check ranges, and take the slash off a folder's name as a shell completes it."""
        object.__setattr__(self, "env", self.env.rstrip("/"))
        if self.episodes < 1:
            raise ConfigError(f"expected at least 1 episode, got: {self.episodes}")
        if self.seed < 0:
            raise ConfigError(f"expected a seed of 0 or more, got: {self.seed}")
        if self.image_size is not None and self.image_size < LEAST_IMAGE_SIZE:
            raise ConfigError(f"expected an image size of at least {LEAST_IMAGE_SIZE} pixels, got: {self.image_size}")

    @property
    def world(self) -> str:
        """The environment in a folder's name: `apartment` for si_embodied/Apartment-v0, `house` for a/house.glb."""
        if self.place is not None:
            return self.place.stem.lower()
        return self.env.partition("/")[2].partition("-v")[0].lower() or self.env

    @property
    def title(self) -> str:
        """What a person calls it: "planner on si_embodied/Apartment-v0 objectnav"."""
        return f"{self.policy} on {self.env} {self.task or ''}".strip()

    @property
    def place(self) -> Path | None:
        """The file or folder, if the environment is a place of the user's own and not a Gymnasium id."""
        path = Path(self.env)
        is_file = path.suffix.lower() in PLACE_SUFFIXES and ":" not in self.env
        return path if self.env and (is_file or path.is_dir()) else None

    @property
    def seeds(self) -> range:
        """One seed per episode."""
        return range(self.seed, self.seed + self.episodes)

    def identity(self) -> dict[str, Any]:
        """The settings that all episodes of a run share; seeds are not among them, so that a run can be extended."""
        identity: dict[str, Any] = {
            "env": self.env,
            "task": self.task,
            "policy": self.policy,
            **({"model": None} if self.backend is None else backend_identity(self.backend)),
            "control": self.control,
            "latency": self.latency,
            "image_size": self.image_size,
            "action_mode": self.action_mode,
            "planner": dataclasses.asdict(self.planner),
        }
        if self.noise is not None and not self.noise.silent:
            identity["noise"] = dataclasses.asdict(self.noise)
        if self.python is not None:
            identity["python"] = str(self.python)
        if self.env_args:
            identity["env_args"] = dict(self.env_args)
        if self.policy_args:
            identity["policy_args"] = dict(self.policy_args)
        return identity

    def digest(self) -> str:
        """The first twelve hexadecimal digits of the identity's SHA-256."""
        text = json.dumps(self.identity(), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:12]


def backend_identity(backend: BackendConfig) -> dict[str, Any]:
    """Identify a local model by its files, and a served one by its name and how it is called."""
    thinks = {"thinking_tokens": backend.thinking_tokens} if backend.thinking_tokens else {}
    match backend.kind:
        case "local":
            options = {"weights": backend.weights, "device": backend.device}
            chosen = {name: value for name, value in options.items() if value not in ("full", "auto")}
            if backend.adapter:
                chosen["adapter"] = adapter_name(backend.adapter)
            return {"model": model_fingerprint(Path(backend.model)), **chosen, **thinks}
        case "server":
            return {"model": backend.model, "server": dataclasses.asdict(backend.server), **thinks}
        case "remote":
            return {"model": None, "planning_server": backend.url}
        case "scripted":
            return {"model": "scripted", "script": list(backend.script)}
        case _:
            assert_never(backend.kind)


def model_fingerprint(directory: Path) -> str:
    """A checkpoint's name and a digest of its files; of weight files, only the name, size and first mebibyte count."""
    digest = hashlib.sha256()
    for file in sorted(path for path in directory.glob("*") if path.is_file()):
        digest.update(f"{file.name}:{file.stat().st_size}:".encode())
        with file.open("rb") as stream:
            digest.update(stream.read(_HEAD_BYTES if file.suffix in _WEIGHT_SUFFIXES else -1))
    return f"{checkpoint_name(directory)}@{digest.hexdigest()[:12]}"
