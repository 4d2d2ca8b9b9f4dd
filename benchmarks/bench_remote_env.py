"""What a step costs more when the world is in another Python, as milliseconds and a ratio within one run.

The same Apartment at 256 x 256 RGB-D, the same actions, in this process and in another one of `--python`; both are
stepped alternately and compared by their medians. What is added is two messages, and the images' way into shared memory
and out of it. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from contextlib import closing
from typing import Any

import gymnasium
import numpy as np

from si_embodied.embodiment import BaseAction
from si_embodied.envs import APARTMENT_ID

LIMIT_MS = 2.0
SIZE_PX = 256


def timed_ms(env: gymnasium.Env[Any, Any], action: int) -> tuple[float, dict[str, Any]]:
    """Milliseconds of one step, and what was seen."""
    start = time.perf_counter()
    observation, *_ = env.step(action)
    return 1000 * (time.perf_counter() - start), observation


def measure(steps: int, here: gymnasium.Env[Any, Any], there: gymnasium.Env[Any, Any]) -> dict[str, list[float]]:
    """A base that turns and drives, seeds 0 and on, in both worlds."""
    took: dict[str, list[float]] = {"here": [], "there": []}
    seed = 0
    while len(took["here"]) < steps:
        here.reset(seed=seed), there.reset(seed=seed)
        seed += 1
        for k in range(min(100, steps - len(took["here"]))):
            action = int(BaseAction.TURN_LEFT if k % 3 else BaseAction.FORWARD)
            ours_ms, ours = timed_ms(here, action)
            theirs_ms, theirs = timed_ms(there, action)
            assert np.array_equal(ours["depth"], theirs["depth"]), "the two worlds differ"
            took["here"].append(ours_ms)
            took["there"].append(theirs_ms)
    return took


def report(took: dict[str, list[float]]) -> None:
    """Medians, what the other process adds, and the verdict."""
    p50 = {name: statistics.median(values) for name, values in took.items()}
    p95 = {name: float(np.percentile(values, 95)) for name, values in took.items()}
    added, ratio = p50["there"] - p50["here"], p50["there"] / p50["here"]
    verdict = "within" if added <= LIMIT_MS else "OVER"
    for name, values in took.items():
        print(f"{name:>6}: p50 {p50[name]:.2f} ms, p95 {p95[name]:.2f} ms, n={len(values)}")
    print(f"a step in another Python costs {added:.2f} ms more ({verdict} {LIMIT_MS:g} ms), ratio {ratio:.2f}")
    result: dict[str, Any] = {"added_ms": added, "ratio": ratio, "p50_ms": p50, "p95_ms": p95, "n": len(took["here"])}
    print(json.dumps({"benchmark": "remote_env", "limit_ms": LIMIT_MS, **result}))


def main() -> None:
    """Measure both."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=300, help="in each")
    parser.add_argument("--python", default=sys.executable, metavar="PATH", help="default: this one")
    args = parser.parse_args()
    arguments: dict[str, Any] = {"image_size": SIZE_PX, "disable_env_checker": True}
    with (
        closing(gymnasium.make(APARTMENT_ID, **arguments)) as here,
        closing(gymnasium.make(APARTMENT_ID, python=args.python, **arguments)) as there,
    ):
        report(measure(args.steps, here, there))


if __name__ == "__main__":
    main()
