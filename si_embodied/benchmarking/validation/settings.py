"""The settings of `si-embodied validate`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any

from typing_extensions import Doc

from si_embodied.backends.config import BackendConfig
from si_embodied.config import PlannerConfig
from si_embodied.errors import ConfigError, UnknownNameError
from si_embodied.models.footprint import Weights

PARTS = ("tests", "latency", "precisions", "worlds")


@dataclass(frozen=True, slots=True)
class Variant:
    """The same model with fewer bits or on another runtime."""

    about: str
    weights: Weights = "full"
    export: str = ""  # precision of the ONNX export; empty: the checkpoint itself
    providers: str = ""  # that the export needs; empty: those that fit the device


VARIANTS: Mapping[str, Variant] = {
    "itself": Variant("the same checkpoint again, which must decide the same"),
    "8bit": Variant("LLM.int8 by bitsandbytes", weights="8bit"),
    "4bit": Variant("NF4 by bitsandbytes", weights="4bit"),
    "onnx-fp32": Variant("ONNX export in float32", export="fp32"),
    "onnx-fp16": Variant("ONNX export in float16", export="fp16"),
    "onnx-int8": Variant("ONNX export in 8 bits", export="int8"),
    "onnx-int4": Variant("ONNX export in 4 bits", export="int4"),
    "tensorrt-fp16": Variant("ONNX export in float16 on TensorRT", export="fp16", providers="tensorrt,cuda,cpu"),
}


@dataclass(frozen=True, slots=True)
class ValidationRun:
    """What to measure of a model on this machine, and how much of it."""

    backend: BackendConfig = field(default_factory=BackendConfig)
    planner: PlannerConfig = field(default_factory=PlannerConfig)
    episodes: Annotated[int, Doc("episodes of each task in the worlds")] = 50
    compared: Annotated[int, Doc("episodes of each comparison; a verdict takes at least 73")] = 80
    plans: Annotated[int, Doc("measured plans of each kind; a p99 needs 100")] = 100
    seed: Annotated[int, Doc("of the first episode; nothing was trained on seeds from 100000 on")] = 100_000
    parts: Annotated[tuple[str, ...], Doc(f"what to do: {','.join(PARTS)}")] = PARTS
    variants: Annotated[tuple[str, ...], Doc("what to compare the checkpoint with: docs/benchmarks.md")] = (*VARIANTS,)
    tasks: Annotated[tuple[str, ...], Doc("what to play, each as WORLD:TASK; default: every task of every world")] = ()
    compared_task: Annotated[str, Doc("what both models of a comparison play, as WORLD:TASK")] = (
        "si_embodied/Tabletop-v0:base"
    )
    workers: Annotated[int, Doc("processes that play a task's episodes, each with the model in its memory")] = 1
    tests: Annotated[Path, Doc("folder of the tests, some of them marked gpu")] = Path(__file__).parents[3] / "tests"
    out: Annotated[Path, Doc("folder for the report; the same command continues there")] = Path("runs/validate")

    def __post_init__(self) -> None:
        """Check names and ranges."""
        for name in ("episodes", "compared", "plans", "workers"):
            if getattr(self, name) < 1:
                raise ConfigError(f"expected {name} to be at least 1, got: {getattr(self, name)}")
        for what, names, known in (("part", self.parts, PARTS), ("variant", self.variants, VARIANTS)):
            for name in names:
                if name not in known:
                    raise UnknownNameError(what, name, known)
        for task in (*self.tasks, self.compared_task):
            world_and_task(task)
        if self.backend.kind != "local" or "://" in self.backend.model:
            raise ConfigError(
                f"validate measures a checkpoint on this machine, got: {self.backend.model or self.backend.url!r}; "
                "measure a server with `si-embodied benchmark latency` and `si-embodied eval`"
            )

    def identity(self) -> dict[str, Any]:
        """What every stage's figures are a function of, besides its own settings."""
        from si_embodied.evaluation.config import backend_identity

        return {**backend_identity(self.backend), "seed": self.seed, "planner": asdict(self.planner)}


def world_and_task(text: str) -> tuple[str, str]:
    """The two halves of WORLD:TASK; a world's id may have a colon itself.

    Raises:
        ConfigError: there is no colon.
    """
    world, colon, task = text.rpartition(":")
    if not (colon and world and task):
        raise ConfigError(f"expected WORLD:TASK, got {text!r}; for example si_embodied/Tabletop-v0:base")
    return world, task
