"""ImageNav by localising the goal picture: a planner that only explores, and drives to the goal once it is known."""

from __future__ import annotations

import importlib.util
import re

import gymnasium
import pytest

if importlib.util.find_spec("habitat") is None:
    pytest.skip("habitat-lab is not installed: pip install 'si-embodied[habitat]'", allow_module_level=True)

import si_embodied.envs  # noqa: F401  (registers)
from si_embodied.backends.scripted import ScriptedBackend
from si_embodied.plan import Plan, plan_text
from si_embodied.planner import Planner
from si_embodied.policies.observation import from_gymnasium
from si_embodied.policies.planner_policy import SpatialPlannerPolicy
from si_embodied.skills import Explore, LookAround, Navigate
from si_embodied.types import Prompt, Task


def explore_and_navigate(prompt: Prompt) -> Plan:
    """What a model has to do: read from the prompt how far the goal is, and nothing else.

    It ends the task within 0.1 m of the goal, or if driving there twice brings it no closer than 0.2 m.
    """
    goal = re.search(r"^Point to reach: ([\d.]+) m away", prompt.text, flags=re.MULTILINE)
    attempts = re.findall(r"^[\d-]+\. .*$", prompt.text, flags=re.MULTILINE)
    last = attempts[-1] if attempts else ""
    if goal is None:
        return Plan(subgoals=(Explore() if attempts else LookAround(),), done=False)
    twice = "-" in last and last.endswith("navigate goal: done")
    if float(goal[1]) <= (0.2 if twice else 0.1):
        return Plan(subgoals=(), done=True)
    if "navigate goal: failed" in last or twice:
        return Plan(subgoals=(Explore(),), done=False)
    return Plan(subgoals=(Navigate(object="goal"),), done=False)


@pytest.mark.slow
def test_a_planner_that_explores_finds_where_the_goal_picture_was_taken() -> None:
    """It ends the episode itself, by what it was told of the goal. Seed 205 is won in 70 steps."""
    env = gymnasium.make("si_embodied/HabitatImageNav-v0", max_episode_steps=150).unwrapped
    backend = ScriptedBackend(lambda prompt: plan_text(explore_and_navigate(prompt)), name="explore-and-navigate")
    policy = SpatialPlannerPolicy(Planner(backend, env.embodiment))
    raw, info = env.reset(seed=205)
    policy.reset(Task(raw["instruction"], "navigation"))
    over = False
    while not over:
        observation = from_gymnasium(raw, env.embodiment.cameras)
        raw, _, stopped, truncated, info = env.step(policy.act(observation))
        over = stopped or truncated
    env.close()
    policy.close()
    assert info["success"]
