"""Runs a simulated robot's ROS stack for an hour of its time at 30 images a second: nothing may grow. `make soak`.

PYTHONPATH=tests/ros:tests/chaos .venv/bin/python tests/chaos/soak.py --hours 1
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

from conftest import ros_in
from faults import ARM, BASE
from stack import Stack

RATE_HZ, FAST, EVERY_S, STARTS_S = 30.0, 10.0, 10.0, 60.0
"""Images a simulated second; times real time, if the machine can; wall time between two samples."""
WARM = 0.25
"""Caches fill and maps grow in this share of the run; from then on nothing may grow."""
LIMITS = {"memory_kb": 20_000, "threads": 1, "descriptors": 4, "shared_memory_kb": 1_000}
SLOWEST = 0.5
"""Real time a simulated second takes at most, before the run is given up."""


def shared_memory_kb(stack: Stack) -> int:
    """The shared memory that the stack's processes have mapped, each file once."""
    running = [each.running.pid for each in stack.processes.values() if each.running is not None]
    maps = "".join(Path(f"/proc/{pid}/maps").read_text() for pid in running)
    files = {Path(line.split()[5]) for line in maps.splitlines() if "/dev/shm/" in line}
    return sum(file.stat().st_size for file in files if file.is_file()) // 1024


def soak(world: str, hours: float, folder: Path) -> dict[str, Any]:
    """Run tasks one after the other; samples of each node's resources."""
    logs = folder / world
    logs.mkdir(parents=True, exist_ok=True)
    samples: list[dict[str, Any]] = []
    with ros_in(logs) as ros:
        simulator = {"image_size": 64, "camera_rate_hz": RATE_HZ, "real_time_factor": FAST}
        stack = Stack(ros, world, 0, logs, **simulator)
        try:
            sample_s, until_s = time.monotonic() + STARTS_S, time.monotonic() + 3600 * hours / SLOWEST
            while stack.simulated_s < 3600 * hours and time.monotonic() < until_s:
                stack.spin()
                if time.monotonic() >= sample_s:
                    sample_s += EVERY_S
                    found = {name: each.resources() for name, each in stack.processes.items()}
                    samples.append(
                        {"simulated_s": stack.simulated_s, "shared_memory_kb": shared_memory_kb(stack), **found}
                    )
        finally:
            simulated_s, counts, tasks = stack.simulated_s, stack.referee.counts, dict(stack.tasks.codes)
            violations = stack.referee.violations
            stack.close()
    grown = growth(samples)
    return {
        "world": world, "simulated_s": simulated_s, "complete": simulated_s >= 3600 * hours, **counts, "tasks": tasks,
        "violations": violations, "growth": grown, "samples": samples,
    }  # fmt: skip


def growth(samples: list[dict[str, Any]]) -> dict[str, float]:
    """From the median of the samples just after warming up to that of the last ones, for each node and resource."""
    size = max(1, len(samples) // 10)
    warm = int(WARM * len(samples))
    first, last = samples[warm : warm + size], samples[-size:]

    def median(part: list[dict[str, Any]], node: str, what: str) -> float:
        values = sorted(each[node][what] if node else each[what] for each in part)
        return float(values[len(values) // 2])

    kinds = [(node, what) for node in ("planner", "watchdog") for what in ("memory_kb", "threads", "descriptors")]
    kinds.append(("", "shared_memory_kb"))
    return {f"{node} {what}".strip(): median(last, node, what) - median(first, node, what) for node, what in kinds}


def flat(result: dict[str, Any]) -> bool:
    """Whether the run was complete, safe, and nothing grew beyond its limit."""
    within = all(grown <= LIMITS[name.split()[-1]] for name, grown in result["growth"].items())
    return within and result["complete"] and not result["violations"]


def main() -> int:
    """Run the worlds one after the other, print a line each, and write soak.json."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--hours", type=float, default=1.0, help="of simulated time, for each world (default: 1)")
    parser.add_argument("--worlds", nargs="+", choices=(BASE, ARM), default=(BASE,))
    parser.add_argument("--out", type=Path, default=Path("runs/soak"))
    given = parser.parse_args()
    results = []
    for world in given.worlds:
        results.append(soak(world, given.hours, given.out))
        (given.out / "soak.json").write_text(json.dumps(results, indent=1))
        summary = {name: value for name, value in results[-1].items() if name != "samples"}
        sys.stdout.write(json.dumps(summary, indent=1) + "\n")
    return int(not all(map(flat, results)))


if __name__ == "__main__":
    sys.exit(main())
