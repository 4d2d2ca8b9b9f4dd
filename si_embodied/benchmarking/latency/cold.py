"""A cold start in a process of its own: Python, libraries, weights, and the first plan.

Run as a program, this reads settings from its standard input and prints one line of JSON.
"""

from __future__ import annotations

import json
import subprocess  # nosec B404 - starts this interpreter, without a shell
import sys
import time
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from si_embodied.benchmarking.latency.memory import Memory, peak
from si_embodied.errors import BackendError
from si_embodied.types import Code

if TYPE_CHECKING:
    from si_embodied.backends.config import BackendConfig
    from si_embodied.types import Decision

_IMAGE_PX, _PLANS, _DEADLINE_S, _TIMEOUT_S = 448, 3, 600.0, 1800.0


@dataclass(frozen=True, slots=True)
class ColdStart:
    """One start; its files were in the system's cache if they were read before."""

    total_s: float  # from the start of the process to the first decision
    load_s: float  # of it, for imports and weights
    first_s: float  # of it, for the first plan
    host_bytes: int | None  # peak of the process, over a few plans
    gpu_bytes: int | None


def cold_start(backend: BackendConfig, *, image_size: int = _IMAGE_PX) -> ColdStart:
    """Start a process that plans with this model.

    Raises:
        BackendError: the process failed; the message is its last line. Or it did not end in time.
    """
    settings = json.dumps({"backend": asdict(backend), "image_size": image_size})
    started_s = time.time()
    try:
        done = subprocess.run(  # nosec B603
            (sys.executable, "-m", __name__), input=settings, capture_output=True, text=True, timeout=_TIMEOUT_S,
            check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired as error:
        raise BackendError(
            f"a process that opens {backend.model!r} and plans {_PLANS} times was still running after "
            f"{_TIMEOUT_S:.0f} s"
        ) from error
    lines = (done.stdout if done.returncode == 0 else done.stderr).strip().splitlines()
    if done.returncode != 0 or not lines:
        raise BackendError(f"a process that opens {backend.model!r} failed: {lines[-1] if lines else done.returncode}")
    row = json.loads(lines[-1])
    return ColdStart(row.pop("ended_s") - started_s, **row)


def peak_memory(backend: BackendConfig) -> Memory | None:
    """Peak memory of a process that has only this model.

    None for a model that another process serves.

    Raises:
        BackendError: as `cold_start`.
    """
    if backend.kind != "local":
        return None
    start = cold_start(backend)
    return Memory(start.host_bytes, start.gpu_bytes)


def answered(decision: Decision) -> Decision:
    """The decision, unless the model or its server failed: how long that took is no figure of the model.

    Raises:
        BackendError: it did; the message is the reason.
    """
    if decision.record.code is Code.BACKEND_FAILED:
        raise BackendError(f"a plan that was to be measured failed: {decision.record.message}; mend that and repeat")
    return decision


def main() -> None:
    """Open the model, plan a few times, and print the times of the first plan and the memory of all."""
    began_s = time.perf_counter()
    from pydantic import TypeAdapter

    from si_embodied.backends.config import BackendConfig
    from si_embodied.backends.opening import open_planner
    from si_embodied.benchmarking.latency.scenes import ROBOT, turned
    from si_embodied.config import PlannerConfig

    given = json.loads(sys.stdin.read())
    planner = open_planner(
        TypeAdapter(BackendConfig).validate_python(given["backend"]), ROBOT, PlannerConfig(deadline_s=_DEADLINE_S)
    )
    loaded_s = time.perf_counter()
    first_s = ended_s = 0.0
    for step in range(_PLANS):
        situation = turned(0, step, given["image_size"])
        answered(planner.plan(situation.task, situation.observation, situation.memory))
        if step == 0:
            first_s, ended_s = time.perf_counter() - loaded_s, time.time()
    most = peak()
    planner.close()
    row = {"ended_s": ended_s, "load_s": loaded_s - began_s, "first_s": first_s, "host_bytes": most.host,
           "gpu_bytes": most.gpu}  # fmt: skip
    sys.stdout.write(json.dumps(row) + "\n")


if __name__ == "__main__":
    main()
