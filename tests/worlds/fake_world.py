"""The smallest environment with our contract: a counter. Stopping in time succeeds if the seed is even."""

from __future__ import annotations

import gymnasium
import numpy as np

from si_embodied.embodiment import MobileBase
from si_embodied.errors import ObservationError
from si_embodied.evaluation.registry import PolicySpec, register_policy
from si_embodied.plan import Plan
from si_embodied.skills import Finish, Stop
from si_embodied.types import Code, Execute, Hold, PlanRecord

BODY = MobileBase(
    cameras=("head",),
    action_mode="discrete",
    radius_m=0.2,
    height_m=1.0,
    forward_step_m=0.25,
    turn_step_rad=0.26,
    tilt_step_rad=0.26,
    tilt_range_rad=(-0.5, 0.5),
    max_speed_m_s=0.5,
    max_turn_rate_rad_s=1.0,
    control_period_s=0.5,
    success_distance_m=1.0,
)


class FakeWorld(gymnasium.Env):
    metadata = {"render_modes": ["rgb_array"], "render_fps": 5}
    TASKS = ("objectnav",)
    embodiment = BODY
    kind = "navigation"

    def __init__(self, task: str = "objectnav", image_size: int = 32, render_mode: str | None = None) -> None:
        self.task, self.image_size, self.render_mode = task, image_size, render_mode
        self.action_space = gymnasium.spaces.Discrete(7)
        self.observation_space = gymnasium.spaces.Dict({})
        self.closed = False

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.seed_value, self.steps = seed, 0
        return self._observation(), self._info(success=False)

    def step(self, action):
        self.steps += 1
        stopped = int(action) == 0
        info = self._info(success=stopped and self.seed_value % 2 == 0)
        return self._observation(), 0.0, stopped, self.steps >= 8, info

    def render(self):
        picture = np.full((33, 47, 3), 60, np.uint8)
        picture[:, : 5 * self.steps] = (200, 120, 40)
        return picture

    def close(self):
        self.closed = True

    def _info(self, *, success):
        spl = 0.5 if success else 0.0
        return {"success": success, "spl": spl, "distance_to_goal": np.float64(2.0), "note": "not a number"}

    def _observation(self):
        size = self.image_size
        matrix = np.array([[size, 0.0, size / 2], [0.0, size, size / 2], [0.0, 0.0, 1.0]])
        return {
            "rgb": np.zeros((1, size, size, 3), np.uint8),
            "depth": np.ones((1, size, size), np.float32),
            "intrinsics": matrix[None],
            "T_map_camera": np.eye(4)[None],
            "T_map_base": np.eye(4),
            "stamp_s": np.array(0.5 * self.steps),
            "instruction": f"find the chair of seed {self.seed_value}",
        }


gymnasium.register("fake/World-v0", FakeWorld, disable_env_checker=True)


class Stopper:
    """Stops at once."""

    situation = None  # it does not plan

    def __init__(self) -> None:
        self.decisions = []

    def reset(self, task):
        self.task = task
        self.decisions = []

    def close(self):
        pass

    def act(self, observation):
        return 0


class Walker(Stopper):
    """Drives forward until the episode is truncated."""

    def act(self, observation):
        return 1


class Thinker(Stopper):
    """Holds once, then plans to stop, and stops."""

    def act(self, observation):
        code = Code.NO_DEPTH if not self.decisions else Code.OK
        record = PlanRecord(
            observation_stamp_s=observation.stamp_s,
            prompt_version="nav/v1",
            model="thinker",
            kernel="none",
            dtype="none",
            raw_text=('{"subgoals": [{"skill": "stop"}], "done": true}',),
            prompt_tokens=10,
            completion_tokens=4,
            latency_s={"decode": 0.010 * (len(self.decisions) + 1), "total": 0.020 * (len(self.decisions) + 1)},
            code=code,
            message="" if code is Code.OK else "no depth there \udcff",
        )
        plan = Plan(subgoals=(Stop(),), done=True)
        if code is Code.OK:
            self.decisions.append(Execute((Finish(),), plan.subgoals, plan, record))
            return 0
        self.decisions.append(Hold(record))
        return 6


class Breaker(Stopper):
    """Fails in the third episode."""

    def act(self, observation):
        if self.task.instruction.endswith("seed 2"):
            raise ObservationError("expected a lens, got: none")
        return 0


class Interrupter(Stopper):
    """Ctrl-C in the third episode."""

    def act(self, observation):
        if self.task.instruction.endswith("seed 2"):
            raise KeyboardInterrupt
        return 0


for _policy in (Stopper, Walker, Thinker, Breaker, Interrupter):
    register_policy(
        PolicySpec(_policy.__name__.lower(), _policy.__doc__, False, lambda _, make=_policy: lambda env, seed: make())
    )
