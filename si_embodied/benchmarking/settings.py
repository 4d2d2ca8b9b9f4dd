"""The settings of `benchmark spatial`."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from typing_extensions import Doc

from si_embodied.backends.config import BackendConfig
from si_embodied.benchmarking.benchmarks import BENCHMARKS, Benchmark, Task, find_benchmarks
from si_embodied.benchmarking.circular import FORMS
from si_embodied.benchmarking.environment import DEFAULT
from si_embodied.benchmarking.messages import SIGHTS, Sight
from si_embodied.errors import ConfigError


@dataclass(frozen=True, slots=True)
class SpatialRun:
    """What to measure."""

    backend: BackendConfig = field(default_factory=BackendConfig)
    tasks: Annotated[tuple[str, ...], Doc(f"benchmarks: {', '.join(BENCHMARKS)}")] = tuple(BENCHMARKS)
    limit: Annotated[int | None, Doc("questions of each task, its categories taking turns; default: all")] = None
    data: Annotated[
        Path | None, Doc("folder of the data sets (docs/benchmarks.md); by default, lmms-eval downloads them")
    ] = None
    sights: Annotated[tuple[Sight, ...], Doc("what the model sees: images, black ones (blank), or none")] = SIGHTS
    circular: Annotated[
        bool, Doc("also ask each multiple-choice question once per rotation of its options; right if all are")
    ] = False
    batch: Annotated[int, Doc("questions that a server is asked at once; a local model answers one at a time")] = 1
    environment: Annotated[Path, Doc("virtual environment of lmms-eval; made by the first run")] = DEFAULT
    out: Annotated[Path, Doc("folder for answers and results")] = Path("runs/benchmarks/spatial")

    def __post_init__(self) -> None:
        """Check names and ranges."""
        find_benchmarks(self.tasks)
        if not self.tasks or not self.sights:
            raise ConfigError(f"expected at least one task and one sight, got: {self.tasks} and {self.sights}")
        for name in ("limit", "batch"):
            if (value := getattr(self, name)) is not None and value < 1:
                raise ConfigError(f"expected {name} to be at least 1, got: {value}")
        if self.circular and not self.circular_tasks:
            raise ConfigError(
                f"--circular has nothing to rotate in {', '.join(self.tasks)}: MMBench's data set has every rotation "
                "already, and its score is circular; leave --circular out"
            )

    @property
    def benchmarks(self) -> dict[str, Benchmark]:
        """The chosen benchmarks, by name."""
        return find_benchmarks(self.tasks)

    @property
    def lmms_tasks(self) -> tuple[Task, ...]:
        """The chosen benchmarks' tasks."""
        return tuple(task for benchmark in self.benchmarks.values() for task in benchmark.tasks)

    @property
    def circular_tasks(self) -> tuple[Task, ...]:
        """Those whose questions are asked in every rotation too."""
        return tuple(task for task in self.lmms_tasks if self.circular and task.name in FORMS)

    def identity(self) -> dict[str, Any]:
        """What the answers are a function of; more benchmarks, sights and rotations may be added to a folder."""
        from si_embodied.evaluation.config import backend_identity

        data = None if self.data is None else str(self.data.absolute())
        return {**backend_identity(self.backend), "kind": self.backend.kind, "limit": self.limit, "data": data}
