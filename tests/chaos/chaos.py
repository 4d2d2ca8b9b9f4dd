"""Injects faults at random into the ROS stack of a simulated robot, and counts what it does: `make chaos`.

Everything is real: the nodes, DDS, the watchdog, the signals. The referee hears every command and sees the robot move.
The exit code is 1 if a command was unsafe, if a node was lost for good, or if recovering took longer than promised.

    PYTHONPATH=tests/ros:tests/chaos .venv/bin/python tests/chaos/chaos.py --seed 0 --minutes 10
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
from conftest import ros_in
from faults import ARM, BASE, Fault
from injector import Injector
from stack import Stack

IMAGE_SIZE = {BASE: 96, ARM: 224}
"""Pixels: as small as the tasks allow, for a machine that runs everything at once."""


def chaos(world: str, seed: int, seconds: float, folder: Path) -> dict[str, Any]:
    """Run one robot; what was counted."""
    logs = folder / f"{world}-{seed}"
    logs.mkdir(parents=True, exist_ok=True)
    events = (logs / "events.log").open("w", buffering=1)
    started_s = time.monotonic()

    def say(text: str) -> None:
        events.write(f"{time.monotonic() - started_s:7.2f} {text}\n")

    with ros_in(logs) as ros, events:
        stack = Stack(ros, world, 1000 * seed, logs, image_size=IMAGE_SIZE[world])
        stack.referee.say = say
        run = Injector(stack, random.Random(f"{world} {seed}"), say)
        try:
            run.run(seconds)
        finally:
            stack.close()
    referee = stack.referee
    return {
        "world": world, "seed": seed, "seconds": seconds, **referee.counts, "tasks": dict(stack.tasks.codes),
        "refused": stack.tasks.refused, "starts": {name: each.starts for name, each in stack.processes.items()},
        "violations": referee.violations, "recoveries": recoveries(referee.recoveries),
        "planner": run.longest_lived(),
    }  # fmt: skip


def recoveries(found: list[Any]) -> dict[str, dict[str, Any]]:
    """For each fault the promise and the measured seconds."""
    seconds: dict[Fault, list[float]] = defaultdict(list)
    for each in found:
        seconds[each.fault].append(round(each.seconds, 3))
    return {fault.name: {"promised_s": fault.recovers_s, "seconds": sorted(taken)} for fault, taken in seconds.items()}


def report(result: dict[str, Any]) -> list[str]:
    """A table of one run."""
    lines = [
        f"{result['world']}, seed {result['seed']}, {result['seconds']:.0f} s:",
        ", ".join(f"{result.get(what, 0)} {what}" for what in ("faults", "plans", "holds", "goals", "zero velocities")),
        f"{len(result['violations'])} violations, tasks by code {result['tasks']}, starts {result['starts']}",
        f"{'fault':36} {'n':>3} {'median':>7} {'p95':>7} {'promised':>8}",
    ]
    for name, each in sorted(result["recoveries"].items()):
        median, p95 = np.percentile(each["seconds"], [50, 95])
        lines.append(f"{name:36} {len(each['seconds']):3d} {median:7.2f} {p95:7.2f} {each['promised_s']:8.1f}")
    lines.append(f"the planner process that lived longest, at first and at last: {result['planner']}")
    return lines + [f"VIOLATION: {each}" for each in result["violations"]]


def kept(result: dict[str, Any]) -> bool:
    """Whether nothing unsafe happened, and 95% of the recoveries were as fast as promised."""
    late = [each for each in result["recoveries"].values() if np.percentile(each["seconds"], 95) > each["promised_s"]]
    return not result["violations"] and not late


def main() -> int:
    """Run the worlds one after the other, print a table each, and write chaos.json."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--minutes", type=float, default=10.0, help="shared by the worlds (default: 10)")
    parser.add_argument("--worlds", nargs="+", choices=(BASE, ARM), default=(BASE, ARM))
    parser.add_argument("--out", type=Path, default=Path("runs/chaos"))
    given = parser.parse_args()
    results = []
    for world in given.worlds:
        results.append(chaos(world, given.seed, 60 * given.minutes / len(given.worlds), given.out))
        sys.stdout.write("\n".join(report(results[-1])) + "\n")
        (given.out / f"chaos-{given.seed}.json").write_text(json.dumps(results, indent=1))
    return int(not all(map(kept, results)))


if __name__ == "__main__":
    sys.exit(main())
