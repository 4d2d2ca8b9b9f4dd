"""How long a robot takes to stop: from each kind of request to zero velocity, and from `kill -9` until it stands.

A base and an arm (tests/ros), each with its planner node and its watchdog, every one in a process of its own. They are
stopped while they drive and while the model is busy, with transforms alive and dead for 0.6 s; the planner itself ends
a goal without transforms after 1.3 s. Zero velocity is when `cmd_vel` (base) or `arm/cancel` (arm) is heard, sent by
the planner or the watchdog, whichever is first. No goal may come after the request, and the robot must stand.

The last line is JSON. The exit status is 1 if a limit is exceeded, a promise was broken or a try is missing.

    AMENT_PREFIX_PATH=.venv PYTHONPATH=.:tests/ros .venv/bin/python benchmarks/ros_stopping.py --out stops.jsonl
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections import Counter
from dataclasses import asdict
from itertools import product
from pathlib import Path
from typing import Any

import conftest
import numpy as np
import stopping
from stopping import DRIVING, KILL, PLANNING, REQUESTS, SIGNALS, Situation

from si_embodied.runs import JsonLines

LIMIT_MS, KILL_LIMIT_MS = 100.0, 800.0
STATES = [*product((PLANNING, DRIVING), ("alive", "dead"))]
PROGRESS = 20


def schedule(tries: int) -> list[Situation]:
    """So many tries of each request, evenly over the states; the requests that end the planner come last."""
    lasting = [each for each in REQUESTS if each not in SIGNALS]
    each_state = [tries // len(STATES) + (i < tries % len(STATES)) for i in range(len(STATES))]
    return [
        Situation(request, *state)
        for requests in (lasting, list(SIGNALS))
        for state, count in zip(STATES, each_state, strict=True)
        for _ in range(count)
        for request in requests
    ]


def measure(robot: str, tries: int, out: JsonLines) -> None:
    """Add the tries that are still missing in a file."""
    keys = list(asdict(Situation("")))
    done = Counter(Situation(*(row[key] for key in keys)) for row in out.rows if row["robot"] == robot)
    missing = []
    for each in schedule(tries):
        if done[each]:
            done[each] -= 1
        else:
            missing.append(each)
    if not missing:
        return
    with tempfile.TemporaryDirectory() as folder, conftest.ros_in(Path(folder)) as ros:
        rig = stopping.Rig(ros, stopping.BODIES[robot])
        for number, each in enumerate(missing):
            if number % PROGRESS == 0:
                sys.stderr.write(f"{robot}: {number} of {len(missing)}\n")
            stopped = rig.stop(each)
            taken_s = stopped.stood_s if each.request == KILL else stopped.zero_s
            out.append(
                {"robot": robot, **asdict(each), "ms": round(1e3 * taken_s, 2), "violations": stopped.violations}
            )


def summary(robot: str, request: str, rows: list[dict[str, Any]]) -> dict[str, Any]:
    """One line of the table, times in milliseconds."""
    taken = [row["ms"] for row in rows]
    most: dict[str, float] = {}
    for row in rows:
        state = f"{row['phase']}, {row['transforms']}"
        most[state] = max(most.get(state, 0.0), row["ms"])
    return {
        "robot": robot, "request": request, "n": len(rows), "median_ms": round(float(np.median(taken)), 1),
        "p99_ms": round(float(np.percentile(taken, 99)), 1), "max_ms": max(taken), "max_ms_by_state": most,
        "limit_ms": KILL_LIMIT_MS if request == KILL else LIMIT_MS,
        "violations": sum(map(bool, (row["violations"] for row in rows))),
    }  # fmt: skip


def report(robots: list[str], tries: int, rows: list[dict[str, Any]]) -> int:
    """Print the table and a line of JSON; the exit status."""
    states = [", ".join(state) for state in STATES]
    print(f"{'robot':5} {'request':12} {'n':>4} {'median':>7} {'p99':>7} {'max':>7} {'broken':>6}", *states, sep=" | ")
    table = []
    for robot, request in product(robots, REQUESTS):
        found = [row for row in rows if (row["robot"], row["request"]) == (robot, request)]
        if not found:
            continue
        line = summary(robot, request, found)
        table.append(line)
        numbers = f"{line['median_ms']:7.1f} {line['p99_ms']:7.1f} {line['max_ms']:7.1f} {line['violations']:6}"
        by_state = [f"{line['max_ms_by_state'].get(state, float('nan')):{len(state)}.1f}" for state in states]
        print(f"{robot:5} {request:12} {line['n']:4} {numbers}", *by_state, sep=" | ")
    complete = len(table) == len(robots) * len(REQUESTS) and all(line["n"] >= tries for line in table)
    good = complete and not any(line["violations"] or line["p99_ms"] > line["limit_ms"] for line in table)
    print(
        "within the limits"
        if good
        else "NOT within the limits"
        if complete
        else "tries are missing: repeat the command"
    )
    print(json.dumps({"benchmark": "ros_stopping", "good": good, "requests": table}))
    return 0 if good else 1


def main() -> int:
    """Measure, print a table and a line of JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--robot", choices=[*stopping.BODIES, "both"], default="both", help="both: side by side")
    parser.add_argument("--tries", type=int, default=200, help="of each request per robot (default: 200)")
    parser.add_argument("--out", type=Path, help="JSON lines, one a try; a file with fewer tries is continued")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        out = given.out or Path(folder) / "stops.jsonl"
        robots = [*stopping.BODIES] if given.robot == "both" else [given.robot]
        if len(robots) == 1:
            measure(given.robot, given.tries, JsonLines(out))
        else:
            again = [sys.executable, __file__, "--tries", str(given.tries), "--out", str(out), "--robot"]
            started = [subprocess.Popen([*again, robot], stdout=subprocess.DEVNULL) for robot in robots]
            for process in started:
                process.wait()
        return report(robots, given.tries, JsonLines(out).rows)


if __name__ == "__main__":
    sys.exit(main())
