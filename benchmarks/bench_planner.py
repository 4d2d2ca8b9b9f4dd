"""What a plan costs around the model: rendering the prompt, parsing, grounding and guarding, at 640x480.

The backend answers at once. Views, memories and plans are drawn at random: one or two views of a wall with boxes before
it, or of a table with boxes on it, up to a full memory, plans of one to three subgoals; what is picked is a box. A
plan's cost is the sum of the four parts that its record names; the limit is on the 99th percentile. In that, everything
else that the machine does shows; the median, and the 99th percentile of the processor time of the whole decision, are
the steadier figures. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import math
import time

import numpy as np

from si_embodied import CameraFrame, Intrinsics, Observation, Pose, Task
from si_embodied.backends import ScriptedBackend
from si_embodied.embodiment import Embodiment, MobileBase, TableArm
from si_embodied.memory import Attempt, Memory
from si_embodied.planner import Planner
from si_embodied.types import Code, Execute, Outcome

LIMIT_MS = 5.0
PARTS = ("render", "parse", "ground", "guard")
WIDTH, HEIGHT = 640, 480
AHEAD = np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]])  # optical frame that looks along map x
DOWN = np.array([[0.0, -1.0, 0.0], [-1.0, 0.0, 0.0], [0.0, 0.0, -1.0]])
BOXES = [(u, v) for u in (200, 280, 360, 440) for v in (180, 300)]

BASE = MobileBase(
    cameras=("head",),
    action_mode="discrete",
    radius_m=0.2,
    height_m=1.2,
    forward_step_m=0.25,
    turn_step_rad=math.radians(15),
    tilt_step_rad=math.radians(15),
    tilt_range_rad=(-1.0, 1.0),
    max_speed_m_s=0.5,
    max_turn_rate_rad_s=1.0,
    control_period_s=0.5,
    success_distance_m=1.0,
)
ARM = TableArm(
    cameras=("head",),
    action_mode="pose",
    workspace_m=((0.3, -0.5, 0.0), (1.0, 0.5, 0.6)),
    shoulder_m=(0.0, 0.0, 0.5),
    reach_m=1.0,
    max_opening_m=0.1,
    finger_depth_m=0.01,
    home_m=(0.4, 0.0, 0.5),
    control_period_s=2.0,
)


def view(rng: np.random.Generator, name: str, far_m: float, pose: Pose) -> CameraFrame:
    """Eight boxes of 30 pixels on a grid before a plane, and a few pixels without depth."""
    depth = np.full((HEIGHT, WIDTH), far_m, dtype=np.float32)
    rgb = rng.integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    for u, v in BOXES:
        depth[v - 15 : v + 15, u - 15 : u + 15] = far_m - rng.uniform(0.03, 0.06)
    depth[rng.random(depth.shape) < 0.002] = 0.0
    intrinsics = Intrinsics(WIDTH, HEIGHT, 500.0, 500.0, (WIDTH - 1) / 2, (HEIGHT - 1) / 2)
    return CameraFrame(name, 1.0, rgb, depth, intrinsics, pose)


def observation(rng: np.random.Generator, embodiment: Embodiment) -> Observation:
    """One or two views."""
    if embodiment.kind == "navigation":
        far_m, pose = 3.0, Pose(AHEAD, np.array([0.0, 0.0, 1.0]))
    else:
        far_m, pose = 1.0, Pose(DOWN, np.array([0.65, 0.0, 1.0]))
    frames = tuple(view(rng, f"view {number}", far_m, pose) for number in range(int(rng.integers(1, 3))))
    return Observation(1.0, frames, Pose.identity())


def answer(rng: np.random.Generator, kind: str, views: int) -> str:
    """A plan whose first subgoal points at a box, and the others anywhere."""

    def pointing(skill: str, u: float, v: float) -> dict[str, object]:
        point = [round(u / WIDTH * 1000), round(v / HEIGHT * 1000)]
        return {"skill": skill, "object": "red box", "view": int(rng.integers(1, views + 1)), "point": point}

    box = BOXES[int(rng.integers(len(BOXES)))]
    anywhere = (float(rng.uniform(200, 440)), float(rng.uniform(150, 330)))
    if kind == "manipulation":
        subgoals = [pointing("pick", *box), pointing("place", *anywhere)][: int(rng.integers(1, 3))]
    else:
        turn = {"skill": "turn", "degrees": int(rng.integers(-180, 181))}
        subgoals = [pointing("goto", *box), turn, pointing("goto", *anywhere)][: int(rng.integers(1, 4))]
    return json.dumps({"subgoals": subgoals, "done": bool(rng.integers(2))}, separators=(",", ":"))


def memory(rng: np.random.Generator) -> Memory:
    """Up to twelve attempts."""
    found = Memory()
    for number in range(int(rng.integers(0, 15))):
        outcome = Outcome(Code.OK)
        found = found.add(Attempt(f"goto thing {number}", None, Pose.identity(), outcome))
    return found


def main() -> None:
    """Both kinds of robot."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--plans", type=int, default=1000, help="of each kind of robot")
    plans = parser.parse_args().plans
    result: dict[str, object] = {}
    for embodiment in (BASE, ARM):
        rng = np.random.default_rng(0)
        task = Task("find the red chair left of the sofa", embodiment.kind)
        costs, processor, executed = [], [], 0
        for number in range(plans + 20):
            if number % 20 == 0:
                seen = observation(rng, embodiment)
            backend = ScriptedBackend([answer(rng, embodiment.kind, len(seen.frames))])
            remembered, started_s = memory(rng), time.process_time()
            decision = Planner(backend, embodiment).plan(task, seen, remembered)
            processor.append(1e3 * (time.process_time() - started_s))
            executed += isinstance(decision, Execute)
            if number >= 20:  # the first ones import and compile
                costs.append(1e3 * sum(decision.record.latency_s.get(part, 0.0) for part in PARTS))
        p50, p99 = np.percentile(costs, [50, 99])
        busy = float(np.percentile(processor[20:], 99))
        verdict = "within" if p99 <= LIMIT_MS else "OVER"
        print(
            f"{embodiment.kind}: p50 {p50:.2f} ms, p99 {p99:.2f} ms, {p99 / LIMIT_MS:.2f} of the limit ({verdict} "
            f"{LIMIT_MS:.0f} ms), of processor time {busy:.2f} ms; {executed} of {plans + 20} plans executed"
        )
        result[embodiment.kind] = {
            "p50_ms": p50,
            "p99_ms": p99,
            "p99_processor_ms": busy,
            "ratio": p99 / LIMIT_MS,
            "n": plans,
        }
    print(json.dumps({"benchmark": "planner", "limit_ms": LIMIT_MS, **result}))


if __name__ == "__main__":
    main()
