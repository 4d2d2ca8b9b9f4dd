"""Language rearrangement: Gymnasium's contract, what skills may and may not do, predicates, and the oracle."""

from __future__ import annotations

import json
import math
from pathlib import Path

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

import si_embodied.envs  # noqa: F401  (registers)
from si_embodied.backends import ScriptedBackend
from si_embodied.backends.config import BackendConfig
from si_embodied.envs.habitat.lab import has_habitat_sim
from si_embodied.envs.habitat.rearrange import MAX_INVALID, HabitatRearrangeEnv
from si_embodied.envs.habitat.rearrange_tasks import REARRANGE_TASKS, At, Closed, holds
from si_embodied.envs.habitat.rearrange_world import REACH_M
from si_embodied.errors import ConfigError, UnknownNameError
from si_embodied.evaluation.config import EvaluationConfig
from si_embodied.evaluation.episode import run_episode
from si_embodied.evaluation.registry import PolicySettings, find_policy, make_env, observe
from si_embodied.planner import Planner
from si_embodied.policies.planner_policy import SpatialPlannerPolicy
from si_embodied.types import Task

REARRANGE = "si_embodied/HabitatRearrange-v0"


@pytest.fixture
def store():
    env = HabitatRearrangeEnv("store", image_size=64, render_mode="rgb_array")
    env.reset(seed=0)
    yield env
    env.close()


def act(env: HabitatRearrangeEnv, verb: str, target: str):
    index = next(i for i, skill in enumerate(env.skills) if (skill.verb, skill.target) == (verb, target))
    return env.step(index)


def goal(env: HabitatRearrangeEnv) -> At:
    return next(c for c in env.world.task.conditions if isinstance(c, At))


def test_gymnasiums_checker_passes() -> None:
    env = gymnasium.make(REARRANGE, task="store", image_size=32, render_mode="rgb_array")
    check_env(env.unwrapped)
    env.close()


def test_predicates_read_where_things_are_and_what_stands_open() -> None:
    where, opened = {"red_mug": "sofa_1"}, frozenset({"fridge_1"})
    assert holds(At("red_mug", "sofa_1"), where, opened)
    assert not holds(At("red_mug", "fridge_1"), where, opened)
    assert not holds(Closed("fridge_1"), where, opened)
    assert holds(Closed("wardrobe_1"), where, opened)


# --- what skills may do --------------------------------------------------------------------------------------------


def test_navigating_ends_within_reach_facing_the_things(store: HabitatRearrangeEnv) -> None:
    source = store.world.task.start[goal(store).item]
    *_, info = act(store, "navigate", source)
    assert store.world.near(source)
    assert info["path_length"] > 0
    assert store.mask(goal(store).item).sum() > 5


def test_the_robot_does_not_reach_through_walls() -> None:
    """In the apartment of seed 21, a nightstand is within 1 m of the next room, but unreachable in its own."""
    env = HabitatRearrangeEnv("swap", image_size=32)
    for seed in range(20, 24):
        env.reset(seed=seed)
        apartment = env.world.stage.apartment
        for skill in env.skills:
            if skill.verb == "navigate":
                assert env.world.do(skill).done
                assert apartment.room_at(*env.world.pose[:2]) == apartment.piece(skill.target).room
                assert env.world.near(skill.target)
                away = [s.target for s in env.skills if s.verb == "navigate" and env.world.near(s.target)]
                assert {apartment.piece(name).room for name in away} == {apartment.piece(skill.target).room}
    env.close()


def test_areas_tell_where_the_furniture_is_and_nothing_of_the_things(store: HabitatRearrangeEnv) -> None:
    areas = store.reset(seed=0)[0]["skill_areas"]
    for skill, area in zip(store.skills, areas, strict=False):
        if skill.verb == "pick":
            assert not area.any()
            continue
        spots = np.array(store.world.spots[skill.target])[:, :2]
        assert ((area[0] - 1e-3 <= spots) & (spots <= area[1] + 1e-3)).all()
    assert not areas[len(store.skills) :].any()


def test_a_thing_that_is_not_near_cannot_be_picked_up(store: HabitatRearrangeEnv) -> None:
    far = next(item for item, place in store.world.where.items() if not store.world.near(place))
    *_, info = act(store, "pick", far)
    assert (info["invalid_actions"], store.world.held) == (1, None)
    assert "not near" in info["feedback"]


def test_a_picked_thing_leaves_its_place_and_is_seen_in_the_hand(store: HabitatRearrangeEnv) -> None:
    item = goal(store).item
    act(store, "navigate", store.world.where[item])
    observation, *_ = act(store, "pick", item)
    assert observation["holding"] == item.replace("_", " ")
    assert store.mask(item).sum() > 20


def test_only_one_thing_is_held_at_a_time(store: HabitatRearrangeEnv) -> None:
    first, second = list(store.world.where)[:2]
    act(store, "navigate", store.world.where[first])
    act(store, "pick", first)
    act(store, "navigate", store.world.where[second])
    *_, info = act(store, "pick", second)
    assert store.world.held == first
    assert "you hold" in info["feedback"]


def test_a_closed_container_takes_nothing_and_opens_with_a_free_hand_only(store: HabitatRearrangeEnv) -> None:
    item, place = goal(store).item, goal(store).place
    act(store, "navigate", store.world.where[item])
    act(store, "pick", item)
    act(store, "navigate", place)
    assert "closed" in act(store, "place", place)[-1]["feedback"]
    assert "you hold" in act(store, "open", place)[-1]["feedback"]


def test_closing_what_was_never_opened_is_no_progress(store: HabitatRearrangeEnv) -> None:
    assert all(holds(c, store.world.where, frozenset()) for c in store.world.task.conditions if isinstance(c, Closed))
    assert store.progress() == 0.0


def test_what_is_shut_away_is_not_seen(store: HabitatRearrangeEnv) -> None:
    item, place = goal(store).item, goal(store).place
    shown = []
    for _ in range(7):  # open, fetch, put in, close
        _, _, terminated, _, _ = store.step(store.ground_truth.next_action())
        if store.world.where[item] == place:
            shown.append(bool(store.mask(item).any()))
        if terminated:
            break
    assert shown == [True, False]


def test_ten_invalid_actions_end_the_episode(store: HabitatRearrangeEnv) -> None:
    for _ in range(MAX_INVALID):
        *_, truncated, info = store.step(69)
    assert (truncated, info["invalid_actions"]) == (True, MAX_INVALID)
    with pytest.raises(gymnasium.error.ResetNeeded, match="over"):
        store.step(0)


def test_every_thing_stands_on_its_place_within_reach() -> None:
    env = HabitatRearrangeEnv("clear", image_size=32)
    for seed in range(3):
        env.reset(seed=seed)
        world = env.world
        for item, place in world.where.items():
            low, high = world.stage.apartment.piece(place).bounds
            x, y, z = world._spot[item]
            assert low[0] <= x <= high[0]
            assert low[1] <= y <= high[1]
            assert 0.25 <= z <= 1.15
        spots = list(world._spot.values())
        assert all(math.dist(a, b) > 0.2 for i, a in enumerate(spots) for b in spots[:i])
    assert REACH_M == 1.0
    env.close()


def test_a_layout_has_the_camera_where_mujoco_has_it(store: HabitatRearrangeEnv) -> None:
    for turned_down in (False, True):
        if turned_down:
            act(store, "navigate", goal(store).place)  # the camera now looks at the furniture
        there = store.world.layout().T_map_camera(1.1)
        np.testing.assert_allclose(store._started.frame.T_map_camera.matrix(), there.matrix(), atol=1e-6)


def test_a_layout_hides_what_is_shut_and_moves_what_is_held(store: HabitatRearrangeEnv) -> None:
    world, place = store.world, goal(store).place
    assert set(world.layout().places) == set(world.movable) >= {f"tray_{place}", *world.where}
    assert world.layout().places[f"tray_{place}"] is None
    act(store, "navigate", place)
    act(store, "open", place)
    low, high = world.stage.apartment.piece(place).bounds
    tray = np.array(world.layout().places[f"tray_{place}"])
    assert (low - 1e-6 <= tray).all()
    assert (tray <= high + 1e-6).all()
    item = goal(store).item
    act(store, "navigate", world.where[item])
    act(store, "pick", item)
    assert math.dist(world.layout().places[item], (*world.pose[:2], 1.1)) < 0.8


# --- policies ------------------------------------------------------------------------------------------------------


def run(policy: str, task: str, seeds: range, image_size: int = 32) -> list:
    env = make_env(EvaluationConfig(REARRANGE, policy, task=task, image_size=image_size))
    make = find_policy(policy).prepare(PolicySettings())
    try:
        return [run_episode(env, make(env, seed), seed, observe=observe) for seed in seeds]
    finally:
        env.close()


@pytest.mark.parametrize("task", REARRANGE_TASKS)
def test_the_oracle_does_what_is_asked(task: str) -> None:
    results = run("oracle", task, range(2))
    assert all(result.success and result.metrics["invalid_actions"] == 0 for result in results)


def test_random_skills_fail() -> None:
    assert not any(result.success for result in run("random", "base", range(2)))


@pytest.mark.parametrize("task", REARRANGE_TASKS)
def test_the_planner_with_perfect_pixels_does_what_is_asked(task: str) -> None:
    results = run("perfect-pixels", task, range(2), image_size=224)
    assert all(result.success for result in results)
    plans = [json.loads(entry.plan) for result in results for entry in result.plans]
    skills = {subgoal["skill"] for plan in plans for subgoal in plan["subgoals"]}
    assert {"pick", "place"} <= skills <= {"navigate", "goto", "pick", "place", "open", "close", "explore"}


def test_perfect_pixels_point_at_nothing_that_is_not_in_view(store: HabitatRearrangeEnv) -> None:
    item = goal(store).item
    while True:
        step = store.ground_truth.seen_step()
        assert step is not None
        skill, words, pixel = step
        if pixel is not None:
            (named,) = {s.target for s in store.skills if s.text.endswith(f"the {words}")}
            assert store.mask(named)[round(pixel[2]), round(pixel[1])]
        if store.world.where[item] == goal(store).place:
            break
        assert (pixel is None) == (skill in ("navigate", "explore"))
        store.step(store.ground_truth.next_action())


def test_a_plan_in_words_and_pixels_becomes_the_skill_of_its_number(store: HabitatRearrangeEnv) -> None:
    """From the instruction to the action through the whole planner, with a model that reads the list of skills."""
    place = store.world.task.places[goal(store).place]
    asked = []

    def answer(prompt) -> str:
        asked.append(prompt.text)
        return json.dumps({"subgoals": [{"skill": "navigate", "object": place}], "done": False})

    policy = SpatialPlannerPolicy(Planner(ScriptedBackend(answer), store.embodiment))
    raw, _ = store.reset(seed=0)
    policy.reset(Task(raw["instruction"], store.kind))
    action = policy.act(observe(raw, store.embodiment.cameras))
    assert store.skills[action].text == f"navigate to the {place}"
    assert raw["skills"] in asked[0]
    assert "In the gripper: nothing" in asked[0]


def test_an_untrained_model_plays_an_episode_to_its_end(checkpoints: dict[str, Path]) -> None:
    """The answers are plans about existing objects; impossible subgoals hold the robot."""
    env = make_env(EvaluationConfig(REARRANGE, "planner", task="base", image_size=64))
    make = find_policy("planner").prepare(
        PolicySettings(BackendConfig(model=str(checkpoints["qwen3_vl"]), device="cpu"))
    )
    result = run_episode(env, make(env, 0), 0, observe=observe)
    env.close()
    assert result.ended in ("terminated", "truncated")
    assert result.plans
    for entry in result.plans:
        assert entry.plan is not None  # the schema allows nothing else
        assert entry.executed or entry.record.code in range(300, 500)


@pytest.mark.slow
@pytest.mark.parametrize("task", REARRANGE_TASKS)
def test_the_bounds_hold_over_fifty_episodes(task: str) -> None:
    assert np.mean([result.success for result in run("oracle", task, range(50))]) >= 0.97
    assert np.mean([result.success for result in run("perfect-pixels", task, range(50), image_size=224)]) >= 0.85
    assert np.mean([result.success for result in run("random", task, range(50))]) <= 0.1


@pytest.mark.parametrize(
    ("kwargs", "error", "words"),
    [
        ({"task": "swop"}, UnknownNameError, "Did you mean 'swap'"),
        ({"simulator": "habitat_sim"}, UnknownNameError, "Did you mean 'habitat-sim'"),
        ({"action_mode": "pose"}, UnknownNameError, "skill"),
        ({"image_size": 4}, ConfigError, "image_size"),
    ],
)
def test_bad_options_name_their_fix(kwargs: dict, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        HabitatRearrangeEnv(**kwargs)


@pytest.mark.skipif(has_habitat_sim(), reason="habitat-sim is installed here")
def test_without_habitat_sim_the_error_says_how_to_install_it() -> None:
    with pytest.raises(ConfigError, match="conda install habitat-sim"):
        HabitatRearrangeEnv(simulator="habitat-sim")
