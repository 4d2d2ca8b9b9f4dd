"""What robots that share a model gain from planning at once, as ratios within one run.

Each robot looks around an apartment of its own and has an instruction of its own. At each of its plans it sees a new
view and remembers the same four, as in bench_memory.py. The same plans are made three times, in blocks that alternate:
- one after another: one prompt at a time and one kept key/value cache, so that each robot evicts the others' prefix;
- own caches: one prompt at a time, with a cache kept for each robot;
- at once: each robot plans in a thread of its own, without a pause, and the prompts share forward passes.
Every answer must be equal, token for token, to that of planning alone, without reuse and drafts.

Ratios of plans a second are given twice: by the clock, and by the processor time of the process, which other programs
on the machine disturb less but which shows nothing of cores that stay idle. The limits hold for eight robots: at once,
at least 2.5 times the plans a second of one after another by the clock, no answer different, and no robot's 99th
percentile above 1.5 times the median of all. The last line is JSON; the exit status is 1 if a limit is exceeded.

    OMP_NUM_THREADS=1 .venv/bin/python benchmarks/bench_robots.py [--model DIR | --large] [--prompt nav/v2]

--large plans with the untrained Qwen3-VL of bench_decoding.py.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from bench_memory import VIEWS, poses

from si_embodied import Task
from si_embodied.backends.local import LocalBackend
from si_embodied.memory import Memory
from si_embodied.models.checkpoints import shipped_checkpoint
from si_embodied.models.decoding import Decoding
from si_embodied.models.lanes import LANES
from si_embodied.prompts import load_prompt
from si_embodied.types import Prompt

LEAST_GAIN, MOST_P99 = 2.5, 1.5
BLOCK = 5  # plans of each robot, before the next kind's turn
KINDS = ("one after another", "own caches", "at once")


@dataclass(slots=True)
class Timing:
    """One kind of planning: seconds of the clock and of the processor, and each robot's seconds a plan."""

    wall_s: float = 0.0
    processor_s: float = 0.0
    plans_s: dict[int, list[float]] = field(default_factory=dict)
    equal: int = 0

    @property
    def count(self) -> int:
        """Plans made."""
        return sum(len(each) for each in self.plans_s.values())

    @property
    def p99_to_median(self) -> float:
        """The largest 99th percentile of a robot's plans, over the median of all."""
        median = statistics.median(second for each in self.plans_s.values() for second in each)
        return max(float(np.percentile(each, 99)) for each in self.plans_s.values()) / median


def prompts_of(robot: int, version: str, plans: int, image_size: int) -> list[Prompt]:
    """A robot's prompts: four remembered views, and a new one each time."""
    seen = poses(VIEWS + plans, image_size, seed=robot)
    remembered = tuple(each.frames[0] for each in seen[:VIEWS])
    task, template = Task(f"find the red chair in flat {robot}", "navigation"), load_prompt(version)
    return [template.render(task, dataclasses.replace(each, keyframes=remembered), Memory()) for each in seen[VIEWS:]]


def plan_all(
    backend: LocalBackend, streams: Sequence[Sequence[Prompt]], threads: ThreadPoolExecutor | None
) -> list[list[tuple[str, float]]]:  # fmt: skip
    """Each robot's answers and seconds, without `threads` in turns of one plan of each robot."""

    def plan(prompt: Prompt) -> tuple[str, float]:
        began = time.perf_counter()
        return backend.generate(prompt, deadline_s=600).text, time.perf_counter() - began

    def plans(prompts: Sequence[Prompt]) -> list[tuple[str, float]]:
        return [plan(prompt) for prompt in prompts]

    if threads is not None:
        return list(threads.map(plans, streams))
    turns = [plans(prompts) for prompts in zip(*streams, strict=True)]
    return [list(each) for each in zip(*turns, strict=True)]


def save(large: Any, folder: Path) -> Path:
    """The untrained model as a checkpoint."""
    large.model.save_pretrained(folder)
    large.family.image_processor.save_pretrained(folder)
    large.family._tokenizer.save(str(folder / "tokenizer.json"))
    return folder


def measure(model: Path, streams: Sequence[Sequence[Prompt]]) -> dict[str, Timing]:
    """Plan all robots' prompts in each kind; a robot's first prompt is not timed."""
    robots = len(streams)
    backends = {
        "one after another": LocalBackend(model, lanes=1, cache_mb=0),
        "own caches": LocalBackend(model, lanes=1),
        "at once": LocalBackend(model, lanes=max(robots, LANES)),
    }
    plain = LocalBackend(model, decoding=Decoding(reuse=False, drafts=False))
    timings = {kind: Timing(plans_s={robot: [] for robot in range(robots)}) for kind in KINDS}
    with ThreadPoolExecutor(robots) as threads:
        for backend in backends.values():
            plan_all(backend, [stream[:1] for stream in streams], None)
        for number, start in enumerate(range(1, len(streams[0]), BLOCK)):
            block = [stream[start : start + BLOCK] for stream in streams]
            expected = plan_all(plain, block, None)
            for kind in KINDS[number % 3 :] + KINDS[: number % 3]:
                timing, wall_s, processor_s = timings[kind], time.perf_counter(), time.process_time()
                answers = plan_all(backends[kind], block, threads if kind == "at once" else None)
                timing.wall_s += time.perf_counter() - wall_s
                timing.processor_s += time.process_time() - processor_s
                for robot, (given, right) in enumerate(zip(answers, expected, strict=True)):
                    timing.plans_s[robot] += [seconds for _, seconds in given]
                    timing.equal += sum(one[0] == other[0] for one, other in zip(given, right, strict=True))
    return timings


def report(robots: int, timings: dict[str, Timing]) -> dict[str, Any]:
    """Print one number of robots, and return its part of the JSON."""
    base, row = timings["one after another"], dict[str, Any](robots=robots, plans=timings["at once"].count)
    for kind, timing in timings.items():
        gain, processor = base.wall_s / timing.wall_s, base.processor_s / timing.processor_s
        row[kind] = {
            "plans_per_s": round(timing.count / timing.wall_s, 2), "gain": round(gain, 2),
            "processor_gain": round(processor, 2), "p99_to_median": round(timing.p99_to_median, 2),
            "equal": timing.equal,
        }  # fmt: skip
        print(
            f"{robots} robots {kind}: {timing.count / timing.wall_s:.2f} plans/s, {gain:.2f} times one after another "
            f"({processor:.2f} by processor time), a robot's p99 at most {timing.p99_to_median:.2f} of the median, "
            f"{timing.equal} of {timing.count} answers equal"
        )
    return row


def good(row: dict[str, Any]) -> bool:
    """Whether the limits hold."""
    together = row["at once"]
    equal = all(row[kind]["equal"] == row["plans"] for kind in KINDS)
    return equal and (
        row["robots"] < LANES or (together["gain"] >= LEAST_GAIN and together["p99_to_median"] <= MOST_P99)
    )


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, help="a checkpoint (default: the one in the package)")
    parser.add_argument("--large", action="store_true", help="the untrained Qwen3-VL of bench_decoding.py")
    parser.add_argument("--prompt", default="nav/v2", help="prompt version (default: nav/v2)")
    parser.add_argument("--robots", type=int, nargs="+", default=[1, 4, 8], help="how many (default: 1 4 8)")
    parser.add_argument("--plans", type=int, default=15, help="of each robot (default: 15)")
    parser.add_argument("--image-size", type=int, help="pixels (default: 224, with --large 448)")
    given = parser.parse_args()
    image_size = given.image_size or (448 if given.large else 224)
    with tempfile.TemporaryDirectory() as folder:
        model = given.model or shipped_checkpoint()
        if given.large:
            from untrained_qwen3_vl import large_model

            model = save(large_model(), Path(folder))
        streams = [prompts_of(robot, given.prompt, given.plans + 1, image_size) for robot in range(max(given.robots))]
        rows = [report(count, measure(model, streams[:count])) for count in given.robots]
    held = all(good(row) for row in rows)
    limits = {"gain": LEAST_GAIN, "p99_to_median": MOST_P99, "robots": LANES}
    print(json.dumps({"benchmark": "robots", "limits": limits, "good": held, "results": rows}))
    return 0 if held else 1


if __name__ == "__main__":
    sys.exit(main())
