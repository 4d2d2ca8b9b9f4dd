"""The settings of `benchmark latency`."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any

from typing_extensions import Doc

from si_embodied.backends.config import BackendConfig
from si_embodied.config import PlannerConfig
from si_embodied.errors import ConfigError

LEAST_PIXELS = 32
"""Along each side of a picture."""


@dataclass(frozen=True, slots=True)
class SpeedRun:
    """What to measure, and how often."""

    backend: BackendConfig = field(default_factory=BackendConfig)
    planner: PlannerConfig = field(default_factory=PlannerConfig)
    plans: Annotated[int, Doc("measured plans of each kind; a p99 needs 100")] = 30
    warmup: Annotated[int, Doc("plans of each kind before them, which are not measured")] = 3
    starts: Annotated[int, Doc("cold starts, each in a process of its own; 0 leaves them out")] = 3
    image_size: Annotated[int, Doc("width and height of the pictures, in pixels")] = 448
    out: Annotated[Path, Doc("folder for the results")] = Path("runs/benchmarks/latency")

    def __post_init__(self) -> None:
        """Check ranges."""
        for name, value, least in (
            ("plans", self.plans, 1), ("warmup", self.warmup, 0), ("starts", self.starts, 0),
            ("image_size", self.image_size, LEAST_PIXELS),
        ):  # fmt: skip
            if value < least:
                raise ConfigError(f"expected {name} of at least {least}, got: {value}")

    def settings(self) -> dict[str, Any]:
        """What the figures are a function of, besides the machine; as JSON values."""
        numbers = {name: getattr(self, name) for name in ("plans", "warmup", "starts", "image_size")}
        return {**numbers, "backend": asdict(self.backend), "deadline_s": self.planner.deadline_s}
