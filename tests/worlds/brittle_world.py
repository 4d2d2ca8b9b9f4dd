"""An environment that misbehaves as simulators do: it crashes, hangs, prints, returns objects and starts processes."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from dataclasses import dataclass

import gymnasium
import numpy as np

from si_embodied.embodiment import MobileBase

BODY = MobileBase(("head",), "discrete", 0.2, 1.0, 0.25, 0.26, 0.26, (-0.5, 0.5), 0.5, 1.0, 0.5, 1.0)


@dataclass(frozen=True)
class Step:
    name: str
    position_m: np.ndarray


class Truth:
    """An object that cannot be sent as a value, only queried."""

    def add(self, a, b=1):
        return a + b

    def step(self):
        return Step("cup", np.array([1.0, 2.0, 3.0]))

    def name_of(self, step):
        return step.name


class BrittleWorld(gymnasium.Env):
    """Fails at the third step of the episodes whose seed is in `breaks`, in the way that `how` names."""

    metadata = {"render_modes": ["rgb_array"], "render_fps": 5}
    kind = "navigation"
    embodiment = BODY

    def __init__(self, how="exit", breaks=(1,), size=8, render_mode=None):
        if how == "cannot be made":
            raise ValueError("no scene of that name\nlook into the folder")
        self.how, self.breaks, self.size, self.render_mode = how, breaks, size, render_mode
        self.action_space = gymnasium.spaces.Discrete(7)
        box = gymnasium.spaces.Box
        self.observation_space = gymnasium.spaces.Dict(
            {
                "rgb": box(0, 255, (1, size, size, 3), np.uint8),
                "depth": box(0.0, 10.0, (1, size, size), np.float32),
                "intrinsics": box(-1e6, 1e6, (1, 3, 3), np.float64),
                "T_map_camera": box(-1e6, 1e6, (1, 4, 4), np.float64),
                "T_map_base": box(-1e6, 1e6, (4, 4), np.float64),
                "stamp_s": box(0.0, 1e9, (), np.float64),
                "instruction": gymnasium.spaces.Text(50, charset="abcdefghijklmnopqrstuvwxyz -0123456789"),
            }
        )
        self.ground_truth = Truth()

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.seed, self.steps = seed, 0
        if seed in self.breaks and self.how == "exit at reset":
            os._exit(3)
        return self.observe(), {"success": False, "options": options, "pid": os.getpid()}

    def step(self, action):
        self.steps += 1
        if self.steps == 3 and self.seed in self.breaks:
            self.fail()
        done = self.steps >= 4
        return self.observe(), np.float64(0.25), done, False, {"success": done, "nested": {"a": [1, (2, None)]}}

    def fail(self):
        if self.how == "exit":
            sys.stdout.write("the scene graph is inconsistent\n")
            sys.stdout.flush()
            os._exit(7)
        if self.how == "segfault":
            import ctypes

            ctypes.string_at(0)
        if self.how == "hang":
            time.sleep(600)
        if self.how == "exception":
            raise RuntimeError("no navmesh")
        if self.how == "object":
            self.observe = lambda: {"rgb": object()}

    def observe(self):
        rng = np.random.default_rng(self.seed)
        rgb = rng.integers(0, 256, (1, self.size, self.size, 3), dtype=np.uint8)
        depth = rng.uniform(0, 9, (1, self.size, self.size)).astype(np.float32)
        matrix = np.array([[[8.0, 0.0, 4.0], [0.0, 8.0, 4.0], [0.0, 0.0, 1.0]]])
        return {
            "rgb": np.roll(rgb, self.steps),
            "depth": depth,
            "intrinsics": matrix,
            "T_map_camera": np.eye(4)[None],
            "T_map_base": np.eye(4),
            "stamp_s": np.array(0.5 * self.steps),
            "instruction": "find the cup",
        }

    def render(self):
        return np.full((4, 6, 3), self.steps, np.uint8)

    def variables(self):
        return dict(os.environ)

    def start_process(self):
        """Start a helper process, as a renderer or an asset server would be."""
        return subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"]).pid

    def print(self, text, times):
        for _ in range(times):
            sys.stdout.write(text)


gymnasium.register("brittle/World-v0", BrittleWorld, disable_env_checker=True)
