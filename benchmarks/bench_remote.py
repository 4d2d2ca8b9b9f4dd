"""Overhead of planning through a server on the loopback interface.

The same planner, robot and 640 x 480 RGB-D observation, with a model that answers immediately, runs in this process and
behind `si_embodied.serving` in another. Both are timed in turn and compared by their medians. The difference is
encoding, connection, queue and decoding. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import subprocess
import sys
import time
from contextlib import closing
from typing import Any

import numpy as np

from si_embodied import CameraFrame, Execute, Intrinsics, Observation, Pose, Task
from si_embodied.backends import ScriptedBackend
from si_embodied.embodiment import MobileBase
from si_embodied.memory import Memory
from si_embodied.planner import AnyPlanner, Planner
from si_embodied.serving import RemotePlanner
from si_embodied.serving.options import Limits, ServeOptions
from si_embodied.serving.run import serve
from si_embodied.serving.service import PlanningService

LIMIT_MS = 10.0
ANSWER = '{"subgoals":[{"skill":"goto","object":"wall","view":1,"point":[500,500]}],"done":false}'
TASK = Task("go to the wall", "navigation")
BASE = MobileBase(
    cameras=("head",),
    action_mode="discrete",
    radius_m=0.2,
    height_m=1.2,
    forward_step_m=0.25,
    turn_step_rad=0.26,
    tilt_step_rad=0.26,
    tilt_range_rad=(-0.8, 0.8),
    max_speed_m_s=0.5,
    max_turn_rate_rad_s=1.0,
    control_period_s=0.5,
    success_distance_m=1.0,
)


def observation() -> Observation:
    """An image of incompressible noise, with depth of a wall 3 m ahead."""
    generator = np.random.default_rng(0)
    rgb = generator.integers(0, 256, (480, 640, 3), dtype=np.uint8)
    depth = (3.0 + generator.normal(0, 0.003, (480, 640))).astype(np.float32)
    ahead = Pose(np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]]), np.array([0.0, 0.0, 1.0]))
    intrinsics = Intrinsics.from_vertical_fov(640, 480, math.radians(60))
    return Observation(0.0, (CameraFrame("head", 0.0, rgb, depth, intrinsics, ahead),), Pose.identity())


def model() -> ScriptedBackend:
    """A model that answers immediately."""
    return ScriptedBackend(lambda _: ANSWER)


def timed_ms(planner: AnyPlanner, seen: Observation) -> float:
    """The time of one decision in milliseconds."""
    start = time.perf_counter()
    decision = planner.plan(TASK, seen, Memory())
    took = time.perf_counter() - start
    assert isinstance(decision, Execute), decision
    return 1000 * took


def measure(count: int, planners: dict[str, AnyPlanner], seen: Observation) -> dict[str, list[float]]:
    """Time `count` decisions of each planner, in turn."""
    took: dict[str, list[float]] = {name: [] for name in planners}
    for index in range(count + 10):
        for name, planner in planners.items():
            value = timed_ms(planner, seen)
            if index >= 10:  # the first ten warm up: imports and connections
                took[name].append(value)
    return took


def serve_here() -> None:
    """The server process: serves until it is terminated."""

    def ready(address: str) -> None:
        print(address, flush=True)

    serve(PlanningService(model()), ServeOptions(port=0, limits=Limits(per_s=1e6, burst=10**6)), ready=ready)


def main() -> None:
    """Measure, and print whether the overhead is within the limit."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--decisions", type=int, default=200, help="decisions per planner (default: %(default)s)")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.serve:
        serve_here()
        return
    command = [sys.executable, __file__, "--serve"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            url = server.stdout.readline().strip()
            with (
                closing(RemotePlanner(url, BASE)) as remote,
                closing(RemotePlanner(url, BASE, compressed=True)) as compressed,
            ):
                planners = {"here": Planner(model(), BASE), "remote": remote, "compressed": compressed}
                report(measure(args.decisions, planners, observation()))
        finally:
            server.terminate()


def report(took: dict[str, list[float]]) -> None:
    """Print medians, the overhead of the connection, and the verdict."""
    p50: dict[str, float] = {name: statistics.median(values) for name, values in took.items()}
    p95 = {name: float(np.percentile(values, 95)) for name, values in took.items()}
    added = p50["remote"] - p50["here"]
    verdict = "within" if added <= LIMIT_MS else "OVER"
    for name, values in took.items():
        print(f"{name:>10}: p50 {p50[name]:.2f} ms, p95 {p95[name]:.2f} ms, n={len(values)}")
    print(f"a remote decision takes {added:.2f} ms longer ({verdict} {LIMIT_MS:g} ms)")
    result: dict[str, Any] = {"added_ms": added, "p50_ms": p50, "p95_ms": p95, "n": len(took["here"])}
    print(json.dumps({"benchmark": "remote", "limit_ms": LIMIT_MS, **result}))


if __name__ == "__main__":
    main()
