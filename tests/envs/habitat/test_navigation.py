"""Habitat's tasks as Gymnasium environments: the contract, habitat-lab's measures by hand, policies, and errors."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

if importlib.util.find_spec("habitat") is None:
    pytest.skip("habitat-lab is not installed: pip install 'si-embodied[habitat]'", allow_module_level=True)

import si_embodied.envs  # noqa: F401  (registers)
from si_embodied.backends import ScriptedBackend
from si_embodied.config import PlannerConfig, Prompts
from si_embodied.embodiment import BaseAction
from si_embodied.envs.habitat.episodes import write_dataset
from si_embodied.envs.habitat.lab import has_habitat_sim
from si_embodied.envs.habitat.navigation import HabitatObjectNavEnv, HabitatPointNavEnv
from si_embodied.envs.mujoco import renderer
from si_embodied.errors import ConfigError, DataError, UnknownNameError
from si_embodied.evaluation.config import EvaluationConfig
from si_embodied.evaluation.episode import run_episode
from si_embodied.evaluation.registry import PolicySettings, find_policy, make_env, observe
from si_embodied.geometry import Intrinsics, Pose, deproject, project
from si_embodied.grounding import pixel_of
from si_embodied.memory import Memory
from si_embodied.planner import Planner
from si_embodied.policies.skills.navigation import TiltSkill, camera_tilt
from si_embodied.skills import TiltCamera
from si_embodied.types import Execute, Outcome, Task

TASKS = ("PointNav", "ObjectNav", "ImageNav", "InstructionNav")


def env_id(task: str) -> str:
    return f"si_embodied/Habitat{task}-v0"


def run(env_name: str, policy: str, seeds: range, image_size: int = 96):
    env = make_env(EvaluationConfig(env_name, policy, image_size=image_size))
    make = find_policy(policy).prepare(PolicySettings())
    try:
        return [run_episode(env, make(env, seed), seed, observe=observe) for seed in seeds]
    finally:
        env.close()


@pytest.fixture(scope="module")
def point():
    env = HabitatPointNavEnv(image_size=64, render_mode="rgb_array", top_down_map=True)
    env.reset(seed=0)
    yield env
    env.close()


# --- Gymnasium -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "task",
    ["PointNav", "ImageNav", *(pytest.param(task, marks=pytest.mark.slow) for task in ("ObjectNav", "InstructionNav"))],
)
def test_gymnasiums_checker_passes(task: str) -> None:
    env = gymnasium.make(env_id(task), image_size=32, render_mode="rgb_array")
    check_env(env.unwrapped)
    env.close()


_DIGEST = """
import hashlib, gymnasium, numpy, si_embodied.envs
digest = hashlib.sha256()
for task in ("ObjectNav", "ImageNav"):
    env = gymnasium.make(f"si_embodied/Habitat{task}-v0", image_size=32)
    observation, info = env.reset(seed=3)
    for step in range(5):
        for key in sorted(observation):
            value = observation[key]
            digest.update(value.encode() if isinstance(value, str) else numpy.ascontiguousarray(value).tobytes())
        observation, reward, *_, info = env.step(env.unwrapped.ground_truth.next_action())
        digest.update(repr((reward, sorted(info.items()))).encode())
    env.close()
print(digest.hexdigest())
"""


@pytest.mark.slow
def test_two_processes_see_the_same_bits() -> None:
    digests = set()
    for hash_seed in ("1", "2"):
        environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
        done = subprocess.run(
            [sys.executable, "-c", _DIGEST], env=environment, capture_output=True, text=True, check=True, timeout=200
        )
        digests.add(done.stdout.strip())
    assert len(digests) == 1
    assert len(digests.pop()) == len(hashlib.sha256().hexdigest())


def test_an_episode_does_not_depend_on_the_one_before_it(point: HabitatPointNavEnv) -> None:
    first = point.reset(seed=5)[0]
    point.reset(seed=6)
    again = point.reset(seed=5)[0]
    np.testing.assert_array_equal(first["rgb"], again["rgb"])
    assert first["instruction"] == again["instruction"]


# --- what is seen and measured -------------------------------------------------------------------------------------


def test_pixels_of_the_floor_lie_on_the_floor(point: HabitatPointNavEnv) -> None:
    observation = point.reset(seed=0)[0]
    while point.ground_truth.would_move(*point.pose, 0.9)[2]:  # until the path ahead is free
        observation = point.step(int(BaseAction.TURN_LEFT))[0]
    camera = Pose.from_matrix(observation["T_map_camera"][0])
    lens = Intrinsics.from_matrix(observation["intrinsics"][0], 64, 64)
    ahead = Pose.from_matrix(observation["T_map_base"]).apply([0.9, 0.0, 0.0])
    u, v = project(lens, camera.inverse().apply(ahead))
    depth = float(observation["depth"][0][round(v), round(u)])
    seen = camera.apply(deproject(lens, (round(u), round(v)), depth))
    np.testing.assert_allclose(seen[2], 0.0, atol=0.02)


def test_the_point_goal_is_where_the_instruction_says(point: HabitatPointNavEnv) -> None:
    observation = point.reset(seed=0)[0]
    distance, angle = observation["pointgoal"]
    goal = point.episode.goals[0].position
    assert distance == pytest.approx(np.hypot(goal[0] - point.pose[0], -goal[2] - point.pose[1]), abs=1e-4)
    forward, left = distance * np.cos(angle), distance * np.sin(angle)
    side = "left" if left > 0 else "right"
    words = f"{abs(forward):.1f} m {'ahead' if forward > 0 else 'behind'} and {abs(left):.1f} m to the {side}"
    assert words in observation["instruction"]


def test_stopping_at_once_fails_and_leaves_the_whole_way(point: HabitatPointNavEnv) -> None:
    point.reset(seed=1)
    *_, terminated, truncated, info = point.step(int(BaseAction.STOP))
    assert (terminated, truncated, info["success"], info["spl"]) == (True, False, False, 0.0)
    assert info["distance_to_goal"] == info["geodesic_distance"]
    with pytest.raises(gymnasium.error.ResetNeeded, match="over"):
        point.step(int(BaseAction.FORWARD))


def test_waiting_moves_nothing_and_costs_a_step(point: HabitatPointNavEnv) -> None:
    point.reset(seed=1)
    before = point.pose
    observation, reward, *_ = point.step(int(BaseAction.WAIT))
    assert point.pose == before
    assert (float(observation["stamp_s"]), reward) == (0.5, 0.0)


def test_looking_down_tilts_the_camera_by_one_step(point: HabitatPointNavEnv) -> None:
    before = point.reset(seed=1)[0]["T_map_camera"][0][2, 2]
    after = point.step(int(BaseAction.LOOK_DOWN))[0]["T_map_camera"][0][2, 2]
    assert np.degrees(np.arcsin(before) - np.arcsin(after)) == pytest.approx(15.0)


@pytest.mark.parametrize("degrees", [15, 30])
@pytest.mark.parametrize("sign", [1, -1])
def test_look_turns_the_camera_by_one_step_of_the_robot(degrees: int, sign: int) -> None:
    angles = [f"habitat.task.actions.look_{direction}.tilt_angle={degrees}" for direction in ("up", "down")]
    env = HabitatObjectNavEnv(image_size=16, overrides=angles)
    raw, _ = env.reset(seed=0)
    skill = TiltSkill(TiltCamera(sign * env.embodiment.tilt_step_rad), env.embodiment)
    before = camera_tilt(observe(raw, env.embodiment.cameras))
    action = skill.step(observe(raw, env.embodiment.cameras))
    after = observe(env.step(action)[0], env.embodiment.cameras)
    outcome = skill.step(after)
    env.close()
    assert isinstance(outcome, Outcome)
    assert outcome.succeeded
    assert np.degrees(camera_tilt(after) - before) == pytest.approx(sign * degrees)


def test_the_top_down_map_is_drawn_beside_the_view(point: HabitatPointNavEnv) -> None:
    info = point.reset(seed=1)[1]
    assert {1, 4, 6} <= set(np.unique(info["top_down_map"]["map"]))  # free floor, the start and the goal
    picture = point.render()
    assert picture.shape[0] == 64
    assert picture.shape[1] > 64


def test_the_goal_picture_is_what_is_seen_at_the_goal() -> None:
    env = gymnasium.make(env_id("ImageNav"), image_size=48).unwrapped
    observation, _ = env.reset(seed=0)
    episode = env.episode
    seen = env.habitat_env.sim.get_observations_at(episode.goals[0].position, episode.info["goal_rotation"])
    np.testing.assert_array_equal(observation["goal_image"], seen["rgb"])
    env.close()


def test_a_prompt_shows_the_goal_picture_and_the_pixel_is_the_views() -> None:
    """The goal image has no depth here: a point is grounded with the depth of the view itself."""
    env = gymnasium.make(env_id("ImageNav"), image_size=64).unwrapped
    raw, _ = env.reset(seed=0)
    asked = []

    def answer(prompt) -> str:
        asked.append(prompt)
        return '{"subgoals":[{"skill":"goto","object":"floor","view":0,"point":[500,900]}],"done":false}'

    planner = Planner(
        ScriptedBackend(answer), env.embodiment, PlannerConfig(prompts=Prompts(navigation="nav/imagenav_v1"))
    )  # fmt: skip
    observation = observe(raw, env.embodiment.cameras)
    decision = planner.plan(Task(raw["instruction"], "navigation"), observation, Memory())
    (prompt,) = asked
    np.testing.assert_array_equal(prompt.images[0], raw["goal_image"])
    np.testing.assert_array_equal(prompt.images[1], raw["rgb"][0])
    assert isinstance(decision, Execute)
    u, v = pixel_of((500, 900), 64, 64)
    depth = raw["depth"][0][round(v), round(u)]
    seen = observation.frames[0].T_map_camera.apply(deproject(observation.frames[0].intrinsics, (u, v), depth))
    np.testing.assert_allclose(decision.goals[0].target_m, seen, atol=0.05)
    env.close()


# --- policies ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("task", TASKS)
def test_the_oracle_succeeds_by_habitats_measures(task: str) -> None:
    results = run(env_id(task), "oracle", range(2), image_size=48)
    assert all(result.success for result in results)
    assert all(result.metrics["spl"] > 0.9 for result in results)


@pytest.mark.parametrize("task", ["PointNav", "ObjectNav"])
def test_the_planner_with_perfect_pixels_succeeds(task: str) -> None:
    assert run(env_id(task), "perfect-pixels", range(1))[0].success


def test_random_actions_fail() -> None:
    assert not run(env_id("ObjectNav"), "random", range(1), image_size=32)[0].success


@pytest.mark.slow
@pytest.mark.parametrize("task", ["PointNav", "ObjectNav"])
def test_the_bounds_hold_over_fifty_episodes(task: str) -> None:
    seeds = range(50)
    oracle = run(env_id(task), "oracle", seeds)
    assert np.mean([result.success for result in oracle]) >= 0.97
    assert np.mean([result.metrics["spl"] for result in oracle]) >= 0.9
    assert np.mean([result.success for result in run(env_id(task), "perfect-pixels", seeds, 224)]) >= 0.85
    assert np.mean([result.success for result in run(env_id(task), "random", seeds, 32)]) <= 0.1


# --- a config of one's own -----------------------------------------------------------------------------------------


def test_a_stock_config_runs_on_a_dataset_of_ours(tmp_path: Path) -> None:
    write_dataset(tmp_path / "val.json.gz", "pointnav", range(2))
    env = HabitatPointNavEnv(
        config="benchmark/nav/pointnav/pointnav_habitat_test.yaml",
        overrides=[f"habitat.dataset.data_path={tmp_path}/val.json.gz", "habitat.dataset.scenes_dir=''"],
    )
    observation, info = env.reset(seed=3)  # the second of two
    assert env.episode.scene_id.startswith("apartment-1-")
    assert observation["rgb"].shape == (1, 256, 256, 3)
    shares = env.raw["depth"][..., 0]  # fractions of habitat-lab's range of 10 m
    np.testing.assert_allclose(observation["depth"][0], 10 * shares, atol=1e-5)
    over = False
    while not over:
        *_, terminated, truncated, info = env.step(env.ground_truth.next_action())
        over = terminated or truncated
    env.close()
    assert (info["success"], info["spl"] > 0.95) == (True, True)


def test_overrides_change_our_own_agent_too() -> None:
    env = HabitatPointNavEnv(overrides=["habitat.simulator.turn_angle=30", "habitat.simulator.forward_step_size=0.5"])
    assert np.degrees(env.embodiment.turn_step_rad) == pytest.approx(30)
    assert env.embodiment.forward_step_m == 0.5


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ("benchmark/nav/objectnav/objectnav_hm3d.yaml", "objectnav_hm3d_v1.zip"),
        ("benchmark/nav/pointnav/pointnav_mp3d.yaml", "pointnav_mp3d_v1.zip"),
        ("benchmark/nav/pointnav/pointnav_habitat_test.yaml", "habitat_test_pointnav_dataset"),
    ],
)
def test_missing_data_says_what_to_download_and_where_it_must_lie(config: str, words: str) -> None:
    with pytest.raises(DataError, match=words) as refused:
        HabitatObjectNavEnv(config=config)
    assert "data/datasets/" in str(refused.value)


# --- errors --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kwargs", "error", "words"),
    [
        ({"task": "objectnav"}, UnknownNameError, "pointnav"),
        ({"simulator": "habitat_sim"}, UnknownNameError, "Did you mean 'habitat-sim'"),
        ({"action_mode": "continuous"}, UnknownNameError, "discrete"),
        ({"image_size": 4}, ConfigError, "image_size"),
        ({"config": "benchmark/nav/pointnav/no_such.yaml"}, ConfigError, "no_such.yaml"),
        ({"overrides": ["habitat.no_such=1"]}, ConfigError, "no_such"),
        ({"config": "benchmark/nav/pointnav/pointnav_hm3d.yaml", "image_size": 64}, ConfigError, "image_size"),
    ],
)
def test_bad_options_name_their_fix(kwargs: dict, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        HabitatPointNavEnv(**kwargs)


@pytest.mark.skipif(has_habitat_sim(), reason="habitat-sim is installed here")
def test_habitat_sim_that_is_not_there_says_how_to_install_it() -> None:
    with pytest.raises(ConfigError, match="conda install habitat-sim"):
        HabitatPointNavEnv(simulator="habitat-sim")


def test_stepping_before_reset_is_refused() -> None:
    with pytest.raises(gymnasium.error.ResetNeeded, match="reset"):
        HabitatPointNavEnv().step(1)


@pytest.mark.slow
def test_two_hundred_environments_leave_nothing_behind() -> None:
    def held() -> tuple[float, int, int]:
        memory_mb = int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6
        return memory_mb, len(list(Path("/proc/self/fd").iterdir())), len(renderer._open_renderers)

    for number in range(200):
        env = gymnasium.make(env_id("PointNav"), image_size=64)
        env.reset(seed=number % 3)
        env.step(int(BaseAction.TURN_LEFT))
        env.close()
        if number == 19:
            before = held()
    after = held()
    assert after[0] - before[0] < 100
    assert after[1:] == (before[1], 0)
