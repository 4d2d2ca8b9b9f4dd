"""Where tasks are done: the settings that commands offer, and the crew that they stand for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, TypeVar

from typing_extensions import Doc

from si_embodied.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from si_embodied.parallel.work import Crew, Worker

    TaskT = TypeVar("TaskT")
    ResultT = TypeVar("ResultT")


@dataclass(frozen=True, slots=True)
class Placement:
    """Where tasks are done, and by how many at once. The results are the same everywhere."""

    workers: Annotated[int | None, Doc("processes; default: 1, and with --ray one per CPU of the cluster")] = None
    ray: Annotated[str, Doc("use the Ray cluster at this address; `local` starts one on this machine")] = ""
    gpu_share: Annotated[
        float, Doc("share of a GPU that each worker of a Ray cluster holds: with 0.25, four share one GPU")
    ] = 0.0

    def __post_init__(self) -> None:
        """Check ranges."""
        if self.workers is not None and self.workers < 1:
            raise ConfigError(f"expected at least 1 worker, got: {self.workers}")
        if self.gpu_share and not self.ray:
            raise ConfigError(
                f"a GPU is shared out by Ray, got a gpu_share of {self.gpu_share} without it; give --ray local, or "
                "leave it out: processes of this machine share its GPUs anyway"
            )
        if not (0 <= self.gpu_share <= 1 or self.gpu_share.is_integer()):
            raise ConfigError(f"expected a gpu_share from 0 to 1, or a whole number of GPUs, got: {self.gpu_share}")

    @property
    def shares_disk(self) -> bool:
        """Whether a worker's files are surely on this machine."""
        return not self.ray

    def crew(
        self, make: Callable[[], Worker[TaskT, ResultT]], tasks: int
    ) -> AbstractContextManager[Crew[TaskT, ResultT]]:
        """Those who do the tasks, for the duration of a block.

        Args:
            make: makes a worker in its process, once; a function of a module, or a `functools.partial` of one.
            tasks: how many there are; there are no more workers than that.

        Raises:
            MissingExtraError: Ray is not installed.
            ConfigError: there is no such cluster, or no room in it.
        """
        most = max(1, tasks)
        if self.ray:
            from si_embodied.parallel.cluster import ray_crew

            return ray_crew(self.ray, make, workers=self.workers, most=most, gpu_share=self.gpu_share)
        if self.workers in (None, 1):
            from si_embodied.parallel.work import here

            return here(make)
        from si_embodied.parallel.local import local_crew

        return local_crew(make, min(self.workers or 1, most))


HERE = Placement()
"""In this process, one task after another."""
