"""The workers of a Ray cluster: actors that keep their model and world, wherever there is room for them.

The nodes need the same installation, and what a command names by path (checkpoints, own files) at the same path.
"""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from si_embodied.errors import ConfigError, extra
from si_embodied.parallel.work import NO_KIND, Failure, Handle, Kind, Lost, Make, TaskT, WorkerPool, WorkerSlot

LOCAL = "local"
_OBJECT_STORE_BYTES = 100 << 20  # results are small; Ray would take a third of the memory
_PATIENCE_S = 10.0
_log = logging.getLogger(__name__)


class _Actor:
    """What runs in a Ray worker."""

    def __init__(self, folder: str) -> None:
        with suppress(OSError):  # relative paths mean the same as where the command was given, if that folder exists
            os.chdir(folder)
        self._slot = WorkerSlot()

    def do(self, kind: Kind, task: object) -> Any | Failure:
        return self._slot.do(kind, task)

    def close(self) -> None:
        self._slot.close()


class _RayWorkers:
    """Actors, made when there is a task for them. Ray finds a place for each, and waits if there is none."""

    def __init__(self, ray: Any, workers: int, gpu_share: float) -> None:
        self._ray, self._workers = ray, workers
        # Ray must not restart an actor or repeat a task by itself: `work_through` counts the tries.
        limits = {"num_cpus": 1, "num_gpus": gpu_share, "max_restarts": 0, "max_task_retries": 0}
        self._actor_class = ray.remote(**limits)(_Actor)
        self._idle: list[Any] = []
        self._kind = NO_KIND
        self._busy: dict[Any, Any] = {}  # by the reference to its result
        self._placed: set[Any] = set()  # actors that have answered, and so have a place

    def has_free(self) -> bool:
        return len(self._busy) < self._workers

    def submit(self, make: Make[TaskT, Any], task: TaskT) -> Handle:
        actor = self._idle.pop() if self._idle else self._actor_class.remote(str(Path.cwd()))
        self._kind = self._kind.with_make(make)
        reference = actor.do.remote(self._kind, task)
        self._busy[reference] = actor
        return reference  # type: ignore[no-any-return]

    def wait(self) -> Sequence[tuple[Handle, Any | Failure | Lost]]:
        ready: list[Any] = []
        if self._idle and not self._placed.issuperset(self._busy.values()):
            # One may be waiting for a place that those hold which have nothing to do.
            ready, _ = self._ray.wait(list(self._busy), num_returns=1, timeout=_PATIENCE_S)
            if not ready:
                self._end_idle()
        if not ready:
            ready, _ = self._ray.wait(list(self._busy), num_returns=1)
        return [(reference, self._outcome(reference)) for reference in ready]

    def _outcome(self, reference: Any) -> Any | Failure | Lost:
        actor = self._busy.pop(reference)
        try:
            outcome = self._ray.get(reference)
        except self._ray.exceptions.RayError as error:
            with suppress(Exception):  # it is gone already, or cannot be reached
                self._ray.kill(actor)
            return Lost(" ".join(str(error).split())[:300])
        self._idle.append(actor)
        self._placed.add(actor)
        return outcome

    def cancel(self) -> None:
        for actor in self._busy.values():
            with suppress(Exception):  # whatever Ray says of actors that are gone
                self._ray.kill(actor)
        self._busy.clear()

    def close(self) -> None:
        self.cancel()
        self._end_idle()

    def _end_idle(self) -> None:
        """Let the actors that have nothing to do close what they hold, and end."""
        with suppress(self._ray.exceptions.RayError):
            self._ray.get([actor.close.remote() for actor in self._idle], timeout=_PATIENCE_S)
        for actor in self._idle:
            self._ray.kill(actor)
        self._idle.clear()


@contextmanager
def ray_pool(address: str, *, workers: int | None, gpu_share: float) -> Iterator[WorkerPool]:
    """The actors of a cluster, which end with the block.

    Args:
        address: of a running cluster ("10.0.0.5:6379", "auto"), or "local" to start one on this machine.
        workers: most actors at once; None for as many as fit.
        gpu_share: share of a GPU that each holds.

    Raises:
        MissingExtraError: Ray is not installed.
        ConfigError: no cluster answers there, or no worker fits into it.
    """
    with _connected(address, workers) as ray:
        pool = _RayWorkers(ray, workers or _places(ray, gpu_share), gpu_share)
        try:
            yield pool
        finally:
            pool.close()


@contextmanager
def _connected(address: str, workers: int | None) -> Iterator[Any]:
    """The module `ray`, connected; Ray reports nothing to its makers."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    with extra("scale"):
        import ray
    ours = not ray.is_initialized()
    if ours:
        started = {"num_cpus": workers, "include_dashboard": False, "object_store_memory": _OBJECT_STORE_BYTES}
        try:
            _knock(address)
            ray.init(address=address, logging_level=logging.WARNING, **(started if address == LOCAL else {}))
        except (ConnectionError, RuntimeError, ValueError, TimeoutError, OSError) as error:
            raise ConfigError(
                f"no Ray cluster can be used at {address!r} ({' '.join(str(error).split())[:300]}); start one with "
                "`ray start --head`, or give --ray local"
            ) from error
    try:
        yield ray
    finally:
        if ours:
            ray.shutdown()


def _knock(address: str) -> None:
    """Find out whether anything listens at a cluster's address: Ray itself would try for ten minutes.

    Raises:
        OSError: nothing does.
    """
    host, colon, port = address.rpartition("://")[2].rpartition(":")
    if colon and port.isdecimal():
        with socket.create_connection((host.strip("[]"), int(port)), timeout=_PATIENCE_S):
            pass


def _places(ray: Any, gpu_share: float) -> int:
    """How many workers fit into the cluster at once.

    Raises:
        ConfigError: not a single one.
    """
    found = ray.cluster_resources()
    cpus, gpus = int(found.get("CPU", 0)), float(found.get("GPU", 0))
    if gpus and not gpu_share:
        _log.warning("the cluster's %g GPUs are not used; --gpu-share 0.25 lets four workers share one", gpus)
    places = min(cpus, int(gpus / gpu_share + 1e-9)) if gpu_share else cpus
    if places < 1:
        raise ConfigError(
            f"no worker fits into the Ray cluster, which has {cpus} CPUs and {gpus:g} GPUs: each takes 1 CPU and "
            f"{gpu_share:g} of a GPU; add a node, or change --gpu-share"
        )
    return places
