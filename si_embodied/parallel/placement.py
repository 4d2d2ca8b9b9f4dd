"""Where tasks are done: the settings that commands offer, and the pool of workers that they stand for."""

from __future__ import annotations

from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Protocol

from typing_extensions import Doc

from si_embodied.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from si_embodied.parallel.work import WorkerPool


class Place(Protocol):
    """Where tasks are done. The results are the same everywhere."""

    @property
    def shares_disk(self) -> bool:
        """Whether a worker's files are surely on this machine."""

    def pool(self) -> AbstractContextManager[WorkerPool]:
        """The workers, for the duration of a block.

        Raises:
            MissingExtraError: Ray is not installed.
            ConfigError: there is no such cluster, or no room in it.
        """

    def kept(self) -> AbstractContextManager[Place]:
        """The same place with one pool for all work in a block, so that processes start only once."""


@dataclass(frozen=True, slots=True)
class Placement:
    """The place that a command's options name."""

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

    def pool(self) -> AbstractContextManager[WorkerPool]:
        """A new pool."""
        if self.ray:
            from si_embodied.parallel.cluster import ray_pool

            return ray_pool(self.ray, workers=self.workers, gpu_share=self.gpu_share)
        if self.workers in (None, 1):
            from si_embodied.parallel.work import here

            return here()
        from si_embodied.parallel.local import local_pool

        return local_pool(self.workers or 1)

    @contextmanager
    def kept(self) -> Iterator[Place]:
        """The same place with one pool for all work in the block."""
        with self.pool() as pool:
            yield _Kept(pool, self.shares_disk)


@dataclass(frozen=True, slots=True)
class _Kept:
    """A place with a pool that is there already."""

    _pool: WorkerPool
    shares_disk: bool

    def pool(self) -> AbstractContextManager[WorkerPool]:
        return nullcontext(self._pool)

    def kept(self) -> AbstractContextManager[Place]:
        return nullcontext(self)


HERE = Placement()
"""In this process, one task after another."""
