"""A world of one's own, an empty corridor: `si-embodied eval --env own_world:Corridor-v0 --policy planner`."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

from si_embodied import Intrinsics, Pose
from si_embodied.embodiment import BaseAction
from si_embodied.robots import FETCH_BASE

SIZE_PX, LENGTH_M = 64, 5.0
CAMERA = Intrinsics.from_vertical_fov(SIZE_PX, SIZE_PX, 1.2)
T_BASE_CAMERA = Pose(np.array([[0.0, 0, 1], [-1, 0, 0], [0, -1, 0]]), np.array([0.0, 0.0, 1.1]))


class Corridor(gymnasium.Env[dict[str, Any], int]):
    """Drive to the red wall at the end and stop within a metre of it."""

    kind, embodiment = "navigation", FETCH_BASE
    action_space = spaces.Discrete(len(BaseAction))
    observation_space = spaces.Dict({})  # documented in docs/evaluation.md
    metadata: dict[str, Any] = {"render_modes": []}

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[dict[str, Any], Any]:
        super().reset(seed=seed)
        self._x, self._steps = float(self.np_random.uniform(0.0, 1.0)), 0
        return self._observe(), {"success": False}

    def step(self, action: int) -> tuple[dict[str, Any], float, bool, bool, dict[str, Any]]:
        self._steps += 1
        if action == BaseAction.FORWARD:
            self._x = min(self._x + self.embodiment.forward_step_m, LENGTH_M - self.embodiment.radius_m)
        stopped = action == BaseAction.STOP
        success = stopped and LENGTH_M - self._x < self.embodiment.success_distance_m
        return self._observe(), float(success), stopped, self._steps >= 100, {"success": success}

    def _observe(self) -> dict[str, Any]:
        T_map_base = Pose.planar(self._x, 0.0, 0.0)
        return {
            "rgb": np.full((1, SIZE_PX, SIZE_PX, 3), (200, 30, 30), np.uint8),
            "depth": np.full((1, SIZE_PX, SIZE_PX), LENGTH_M - self._x, np.float32),
            "intrinsics": CAMERA.matrix()[None],
            "T_map_camera": (T_map_base @ T_BASE_CAMERA).matrix()[None],
            "T_map_base": T_map_base.matrix(),
            "stamp_s": np.array(self._steps * self.embodiment.control_period_s),
            "instruction": "go to the red wall",
        }


gymnasium.register("Corridor-v0", Corridor, disable_env_checker=True)
