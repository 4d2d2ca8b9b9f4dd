"""The planner as a policy: it executes plans, remembers outcomes, waits during planning, and gives up eventually."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import gymnasium
import numpy as np
import pytest

import si_embodied.envs  # noqa: F401 - registers the worlds
from si_embodied import Code, Execute, Hold, Observation, Pose, Task
from si_embodied.backends import ScriptedBackend
from si_embodied.embodiment import BaseAction, MobileBase
from si_embodied.errors import BackendError, ConfigError
from si_embodied.planner import Planner
from si_embodied.policies.observation import from_gymnasium
from si_embodied.policies.perfect_pixels import perfect_pixels_backend
from si_embodied.policies.planner_policy import SpatialPlannerPolicy
from si_embodied.task import MOST_HOLDS
from si_embodied.types import Prompt

TURN_LEFT = '{"subgoals":[{"skill":"turn","degrees":30}],"done":false}'
FORWARD_2_M = '{"subgoals":[{"skill":"forward","centimetres":200}],"done":false}'
STOP = '{"subgoals":[],"done":true}'


class Turntable:
    """A world that executes turns and ignores every other motion."""

    def __init__(self, observation: Observation) -> None:
        self.observation, self.yaw, self.stamp_s = observation, 0.0, observation.stamp_s

    def observe(self) -> Observation:
        frames = tuple(dataclasses.replace(frame, stamp_s=self.stamp_s) for frame in self.observation.frames)
        base = Pose.planar(0.0, 0.0, self.yaw)
        return dataclasses.replace(self.observation, frames=frames, T_map_base=base, stamp_s=self.stamp_s)

    def act(self, action: object, *, period_s: float = 0.5) -> None:
        self.stamp_s += period_s
        if action == BaseAction.TURN_LEFT:
            self.yaw += math.radians(15)


def run(policy: SpatialPlannerPolicy, world: Turntable, steps: int) -> list[BaseAction]:
    actions = []
    for _ in range(steps):
        actions.append(BaseAction(policy.act(world.observe())))
        world.act(actions[-1])
    return actions


def test_a_plan_is_executed_and_the_next_one_requested(
    base: MobileBase, wall_ahead: Observation, find_chair: Task
) -> None:
    policy = SpatialPlannerPolicy(Planner(ScriptedBackend([TURN_LEFT, STOP]), base))
    policy.reset(find_chair)
    assert run(policy, Turntable(wall_ahead), 3) == [BaseAction.TURN_LEFT, BaseAction.TURN_LEFT, BaseAction.STOP]
    assert [type(decision) for decision in policy.decisions] == [Execute, Execute]


def test_the_next_prompt_shows_the_last_outcome(base: MobileBase, wall_ahead: Observation, find_chair: Task) -> None:
    asked: list[str] = []

    def answer(prompt: Prompt) -> str:
        asked.append(prompt.text)
        return (TURN_LEFT, FORWARD_2_M, STOP)[len(asked) - 1]

    policy = SpatialPlannerPolicy(Planner(ScriptedBackend(answer), base))
    policy.reset(find_chair)
    run(policy, Turntable(wall_ahead), 10)  # the turntable does not drive: the forward is blocked
    assert "(nothing yet)" in asked[0]
    assert "1. turn 30: done" in asked[1]
    assert "2. forward 200: failed (blocked)" in asked[2]


def test_a_refusal_holds_the_robot_and_is_remembered(
    base: MobileBase, wall_ahead: Observation, find_chair: Task
) -> None:
    policy = SpatialPlannerPolicy(Planner(ScriptedBackend(["no", "no", STOP]), base))
    policy.reset(find_chair)
    assert run(policy, Turntable(wall_ahead), 2) == [BaseAction.WAIT, BaseAction.STOP]
    held = policy.decisions[0]
    assert isinstance(held, Hold)
    assert held.code is Code.PLAN_INVALID


def test_consecutive_refusals_end_the_task(base: MobileBase, wall_ahead: Observation, find_chair: Task) -> None:
    policy = SpatialPlannerPolicy(Planner(ScriptedBackend(lambda _: "no"), base))
    policy.reset(find_chair)
    actions = run(policy, Turntable(wall_ahead), MOST_HOLDS)
    assert actions == [BaseAction.WAIT] * (MOST_HOLDS - 1) + [BaseAction.STOP]


def test_a_server_that_is_gone_for_a_while_is_waited_out(
    base: MobileBase, wall_ahead: Observation, find_chair: Task
) -> None:
    """More failures than `MOST_HOLDS`, each followed by a pause in which the world stands still."""
    failures = iter([BackendError("unreachable")] * (MOST_HOLDS + 1))

    def answer(_: Prompt) -> str:
        for error in failures:
            raise error
        return STOP

    pauses: list[float] = []
    policy = SpatialPlannerPolicy(Planner(ScriptedBackend(answer), base), sleep=pauses.append)
    policy.reset(find_chair)
    actions = run(policy, Turntable(wall_ahead), MOST_HOLDS + 2)
    assert actions == [BaseAction.WAIT] * (MOST_HOLDS + 1) + [BaseAction.STOP]
    assert pauses == [0.25, 0.5, 1.0, 2.0, 2.0, 2.0]


def test_the_robot_waits_while_the_planner_thinks(base: MobileBase, wall_ahead: Observation, find_chair: Task) -> None:
    policy = SpatialPlannerPolicy(Planner(ScriptedBackend([TURN_LEFT, STOP]), base), latency=1.2)
    policy.reset(find_chair)
    # 0.5 s a step: asked at 0, answered at 1.2 s, which is first seen at 1.5 s.
    actions = run(policy, Turntable(wall_ahead), 5)
    assert actions == [BaseAction.WAIT] * 3 + [BaseAction.TURN_LEFT] * 2


def test_a_reset_forgets_the_episode(base: MobileBase, wall_ahead: Observation, find_chair: Task) -> None:
    asked: list[str] = []

    def answer(prompt: Prompt) -> str:
        asked.append(prompt.text)
        return TURN_LEFT

    policy = SpatialPlannerPolicy(Planner(ScriptedBackend(answer), base))
    for _ in range(2):
        policy.reset(find_chair)
        run(policy, Turntable(wall_ahead), 3)
    assert "(nothing yet)" in asked[0]
    assert "(nothing yet)" in asked[2]


def test_a_task_for_another_robot_is_refused(base: MobileBase, stack_cubes: Task) -> None:
    with pytest.raises(ConfigError, match="navigation.*'manipulation'"):
        SpatialPlannerPolicy(Planner(ScriptedBackend([]), base)).reset(stack_cubes)


@pytest.mark.parametrize("latency", [-1.0, math.inf, math.nan])
def test_an_invalid_latency_is_rejected(base: MobileBase, latency: float) -> None:
    with pytest.raises(ConfigError, match="latency"):
        SpatialPlannerPolicy(Planner(ScriptedBackend([]), base), latency=latency)


def test_acting_before_the_reset_is_refused(base: MobileBase, wall_ahead: Observation) -> None:
    with pytest.raises(ConfigError, match="reset"):
        SpatialPlannerPolicy(Planner(ScriptedBackend([]), base)).act(wall_ahead)


# --- perfect pixels: perception from the simulator, geometry and skills real ----------------------------------------


def episode(env: gymnasium.Env[Any, Any], seed: int) -> tuple[bool, SpatialPlannerPolicy]:
    raw, info = env.reset(seed=seed)
    world: Any = env.unwrapped
    policy = SpatialPlannerPolicy(Planner(perfect_pixels_backend(env), world.embodiment))
    policy.reset(Task(str(raw["instruction"]), world.kind))
    over = False
    while not over:
        raw, _, terminated, truncated, info = env.step(policy.act(from_gymnasium(raw, world.embodiment.cameras)))
        over = terminated or truncated
    return bool(info["success"]), policy


@pytest.fixture
def make() -> Any:
    made: list[gymnasium.Env[Any, Any]] = []

    def make_env(world: str, task: str) -> gymnasium.Env[Any, Any]:
        made.append(gymnasium.make(f"si_embodied/{world}-v0", task=task, disable_env_checker=True))
        return made[-1]

    yield make_env
    for env in made:
        env.close()


MakeEnv = Callable[[str, str], gymnasium.Env[Any, Any]]


@pytest.mark.parametrize(("world", "task", "seed"), [("Apartment", "objectnav", 0), ("Tabletop", "stack", 0)])
def test_with_perfect_pixels_an_episode_succeeds(make: MakeEnv, world: str, task: str, seed: int) -> None:
    success, policy = episode(make(world, task), seed)
    assert success
    assert all(decision.record.model == "perfect-pixels" for decision in policy.decisions)


@pytest.mark.slow
@pytest.mark.parametrize("task", ["objectnav", "spatial", "route"])
def test_perfect_pixels_nearly_match_the_oracle_in_apartments(make: MakeEnv, task: str) -> None:
    env = make("Apartment", task)
    assert np.mean([episode(env, seed)[0] for seed in range(100)]) >= 0.90


@pytest.mark.slow
@pytest.mark.parametrize("task", ["base", "stack", "sort", "spatial", "visual", "complex"])
def test_perfect_pixels_nearly_match_the_oracle_at_the_table(make: MakeEnv, task: str) -> None:
    env = make("Tabletop", task)
    assert np.mean([episode(env, seed)[0] for seed in range(100)]) >= 0.85
