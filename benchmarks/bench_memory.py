"""What four remembered views cost a re-plan, as ratios within one run.

An apartment is looked at from one pose after another. A re-plan sees a new view and text; its remembered views are the
same as in the plan before, so that their preprocessing, features and key/values are reused. The two kinds of plan, with
four remembered views and with none, alternate. The limit is on the time until the answer begins, because what the model
answers depends on what it sees, and a draft of the same answer costs less than a new one; the whole plan's ratio is
printed beside it. Every answer must be equal, token for token, to that of a backend that reuses nothing. The last line
is JSON; the exit status is 1 if the limit is exceeded or an answer differs.

    OMP_NUM_THREADS=1 .venv/bin/python benchmarks/bench_memory.py [--model DIR] [--prompt nav/v2]
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import statistics
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gymnasium

import si_embodied.envs  # noqa: F401 - registers the worlds
from si_embodied import Task
from si_embodied.backends.local import LocalBackend
from si_embodied.memory import Memory
from si_embodied.models.checkpoints import shipped_checkpoint
from si_embodied.models.decoding import Decoding
from si_embodied.policies.observation import from_gymnasium
from si_embodied.prompts import load_prompt

if TYPE_CHECKING:
    from si_embodied.types import CameraFrame, Observation, Prompt

LIMIT = 1.3
VIEWS, TURN_LEFT = 4, 2


def poses(count: int, image_size: int, seed: int = 3) -> list[Observation]:
    """Views of an apartment, 15 degrees apart."""
    env: Any = gymnasium.make("si_embodied/Apartment-v0", image_size=image_size)
    raw, _ = env.reset(seed=seed)
    seen = []
    for _ in range(count):
        seen.append(from_gymnasium(raw, env.unwrapped.embodiment.cameras))
        raw = env.step(TURN_LEFT)[0]
    env.close()
    return seen


def prompt_of(version: str, observation: Observation, keyframes: tuple[CameraFrame, ...]) -> Prompt:
    """A plan's prompt with these remembered views."""
    remembering = dataclasses.replace(observation, keyframes=keyframes)
    return load_prompt(version).render(Task("find the red chair", "navigation"), remembering, Memory())


def measure(model: Path, version: str, rounds: int, image_size: int) -> dict[str, Any]:
    """Medians in ms with and without remembered views, and how many answers were those of plain decoding."""
    seen = poses(VIEWS + rounds, image_size)
    keyframes = tuple(each.frames[0] for each in seen[:VIEWS])
    kinds: dict[str, tuple[CameraFrame, ...]] = {"none": (), "four": keyframes}
    reusing = {kind: LocalBackend(model) for kind in kinds}  # each with the cache of its own last prompt
    plain = LocalBackend(model, decoding=Decoding(reuse=False, drafts=False))
    before: dict[str, list[float]] = {kind: [] for kind in kinds}  # ms until the answer begins
    whole: dict[str, list[float]] = {kind: [] for kind in kinds}  # ms of the plan
    equal = 0
    for number, observation in enumerate(seen[VIEWS:]):
        for kind in sorted(kinds, reverse=number % 2 == 1):
            prompt = prompt_of(version, observation, kinds[kind])
            began = time.perf_counter()
            answer = reusing[kind].generate(prompt, deadline_s=600)
            if number:  # the first one is not a re-plan
                whole[kind].append(1000 * (time.perf_counter() - began))
                before[kind].append(whole[kind][-1] - 1000 * answer.latency_s["decode"])
            equal += answer.text == plain.generate(prompt, deadline_s=600).text
    return {"prompt": version, "equal": equal, "answers": 2 * rounds, **ratio(before), "whole": ratio(whole)}


def ratio(took_ms: dict[str, list[float]]) -> dict[str, Any]:
    """Medians with and without remembered views, and their ratio."""
    ms = {kind: statistics.median(times) for kind, times in took_ms.items()}
    rounded = {kind: round(value, 1) for kind, value in ms.items()}
    return {"ms": rounded, "ratio": round(ms["four"] / ms["none"], 3)}


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, help="a checkpoint (default: the one in the package)")
    parser.add_argument("--prompt", action="append", help="prompt versions (default: nav/nano2 and nav/v2)")
    parser.add_argument("--rounds", type=int, default=30, help="plans of each kind (default: 30)")
    parser.add_argument("--image-size", type=int, default=224, help="pixels (default: 224)")
    given = parser.parse_args()
    model = given.model or shipped_checkpoint()
    results = [
        measure(model, version, given.rounds, given.image_size) for version in given.prompt or ("nav/nano2", "nav/v2")
    ]
    for each in results:
        none, four = (f"{each['ms'][kind]:.1f} ms" for kind in ("none", "four"))
        equal = f"{each['equal']} of {each['answers']} answers equal"
        print(
            f"{each['prompt']}: {none} without, {four} with {VIEWS} views, {each['ratio']:.2f} times, of the whole "
            f"plan {each['whole']['ratio']:.2f} times; {equal}"
        )
    good = all(each["ratio"] <= LIMIT and each["equal"] == each["answers"] for each in results)
    print(json.dumps({"benchmark": "memory", "limit": LIMIT, "good": good, "results": results}))
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
