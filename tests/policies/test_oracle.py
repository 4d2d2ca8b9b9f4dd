"""The oracle solves the tabletop, and random actions do not."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import gymnasium
import numpy as np
import pytest

pytest.importorskip("mujoco")
pytest.importorskip("gymnasium_robotics")

from si_embodied import Task
from si_embodied.envs import TABLETOP_ID
from si_embodied.envs.scenes.tabletop_tasks import TASKS
from si_embodied.errors import ConfigError
from si_embodied.policies.observation import from_gymnasium
from si_embodied.policies.oracle import OraclePolicy
from si_embodied.policies.random import RandomPolicy


def solved(env: gymnasium.Env[Any, Any], policy: Any, seed: int) -> bool:
    """Run one episode to its end."""
    observation, info = env.reset(seed=seed)
    policy.reset(Task(observation["instruction"], "manipulation"))
    over = False
    while not over:
        action = policy.act(from_gymnasium(observation, env.unwrapped.embodiment.cameras))  # type: ignore[attr-defined]
        observation, _, terminated, truncated, info = env.step(action)
        over = terminated or truncated
    return bool(info["success"])


@pytest.mark.parametrize("task", TASKS)
def test_the_oracle_solves_every_kind_of_task(task: str) -> None:
    env = gymnasium.make(TABLETOP_ID, task=task, image_size=16)
    policy = OraclePolicy(env)
    assert [solved(env, policy, seed) for seed in range(2)] == [True, True]
    env.close()


def test_the_oracle_solves_a_task_in_embodiedbenchs_integers() -> None:
    env = gymnasium.make(TABLETOP_ID, task="base", image_size=16, action_mode="discrete")
    assert solved(env, OraclePolicy(env), 0)
    env.close()


@pytest.mark.slow
@pytest.mark.parametrize("task", TASKS)
def test_the_oracle_solves_95_of_100(task: str) -> None:
    env = gymnasium.make(TABLETOP_ID, task=task, image_size=16)
    policy = OraclePolicy(env)
    assert sum(solved(env, policy, seed) for seed in range(100)) >= 95
    env.close()


@pytest.mark.slow
@pytest.mark.parametrize("task", TASKS)
def test_random_solves_at_most_5_of_100(task: str) -> None:
    env = gymnasium.make(TABLETOP_ID, task=task, image_size=16)
    policy = RandomPolicy(env.action_space, seed=0)
    assert sum(solved(env, policy, seed) for seed in range(100)) <= 5
    env.close()


@pytest.mark.parametrize("task", ["base", "stack", "sort"])
def test_a_perfect_pointer_sees_the_first_step_on_the_object(task: str) -> None:
    env = gymnasium.make(TABLETOP_ID, task=task)
    world: Any = env.unwrapped
    for seed in range(3):
        env.reset(seed=seed)
        step = world.ground_truth.next_step()
        view, u, v = world.ground_truth.pixel_of(step)
        geom = world._segmentation(world.embodiment.cameras[view])[round(v), round(u)]
        assert geom in world.world.geoms_of(step.object_name)
    env.close()


def test_random_gives_the_same_actions_for_the_same_seed() -> None:
    space = gymnasium.spaces.Box(-1.0, 1.0, (7,), np.float32)
    first, second = (RandomPolicy(space, seed=5).act(None) for _ in range(2))  # type: ignore[arg-type]
    np.testing.assert_array_equal(first, second)


def test_the_oracle_of_a_navigation_world_takes_its_next_action() -> None:
    world = SimpleNamespace(kind="navigation", ground_truth=SimpleNamespace(next_action=lambda: 2))
    policy = OraclePolicy(SimpleNamespace(unwrapped=world))  # type: ignore[arg-type]
    policy.reset(Task("find the red chair", "navigation"))
    assert policy.act(None) == 2  # type: ignore[arg-type]


def test_an_environment_without_ground_truth_is_refused() -> None:
    with pytest.raises(ConfigError, match="ground truth"):
        OraclePolicy(gymnasium.make("CartPole-v1"))
