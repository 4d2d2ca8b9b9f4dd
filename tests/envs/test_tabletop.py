"""The tabletop environment: Gymnasium's contract, determinism, the arm, and random actions against the oracle."""

from __future__ import annotations

import math
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

pytest.importorskip("mujoco")
pytest.importorskip("gymnasium_robotics")

from si_embodied.arm_actions import encode_pose
from si_embodied.envs import TABLETOP_ID
from si_embodied.envs.scenes.tabletop_tasks import TASKS
from si_embodied.errors import ConfigError, UnknownNameError
from si_embodied.geometry import Pose


@pytest.fixture
def env() -> Iterator[gymnasium.Env[Any, Any]]:
    made = gymnasium.make(TABLETOP_ID, image_size=64)
    yield made
    made.close()


@pytest.mark.parametrize("mode", ["pose", "discrete"])
def test_gymnasium_accepts_the_environment(mode: str) -> None:
    made = gymnasium.make(TABLETOP_ID, task="stack", image_size=32, action_mode=mode, render_mode="rgb_array")
    check_env(made.unwrapped, skip_render_check=False)
    made.close()


def test_two_run_side_by_side_in_a_vector_environment() -> None:
    vector = gymnasium.make_vec(TABLETOP_ID, num_envs=2, vectorization_mode="sync", image_size=32)
    observation, _ = vector.reset(seed=[0, 1])
    assert observation["rgb"].shape == (2, 3, 32, 32, 3)
    assert observation["instruction"][0] != observation["instruction"][1]
    vector.close()


_DIGEST = """
import hashlib, gymnasium, numpy as np, si_embodied.envs
env = gymnasium.make("si_embodied/Tabletop-v0", task="complex", image_size=32)
digest = hashlib.sha256()
def take(observation):
    for key in sorted(observation):
        value = observation[key]
        digest.update(value.encode() if isinstance(value, str) else np.ascontiguousarray(value).tobytes())
take(env.reset(seed=7)[0])
for x, opening in ((0.5, 1.0), (0.6, 0.3), (0.55, 0.0)):
    take(env.step(np.array([x, 0.05, 0.75, np.pi, 0, 0.4, opening], np.float32))[0])
print(digest.hexdigest())
env.close()
"""


def test_an_episode_is_the_same_to_the_bit_in_two_processes() -> None:
    runs = [
        subprocess.run([sys.executable, "-c", _DIGEST], capture_output=True, text=True, check=True) for _ in range(2)
    ]
    assert len(runs[0].stdout.strip()) == 64
    assert runs[0].stdout == runs[1].stdout


def test_reset_without_a_seed_goes_on_to_other_episodes(env: gymnasium.Env[Any, Any]) -> None:
    first = env.reset(seed=3)[0]["instruction"]
    assert len({first, *(env.reset()[0]["instruction"] for _ in range(4))}) > 1


@pytest.mark.parametrize("task", TASKS)
def test_no_episode_is_solved_from_the_start(task: str) -> None:
    made = gymnasium.make(TABLETOP_ID, task=task, image_size=16)
    for seed in range(5):
        _, info = made.reset(seed=seed)
        assert info == {"success": False, "progress": 0.0, "action_failures": 0}
    made.close()


def test_the_head_camera_at_home_sees_every_object(env: gymnasium.Env[Any, Any]) -> None:
    world: Any = env.unwrapped
    for seed in range(5):
        env.reset(seed=seed)
        mask = world._segmentation("head")
        for thing in world.episode.scene.objects:
            assert np.isin(mask, world.world.geoms_of(thing.name)).sum() >= 4, thing.name


@pytest.mark.parametrize(("x", "y", "yaw"), [(0.45, 0.30, 0.0), (0.70, 0.0, 1.2), (0.60, -0.30, -1.5)])
def test_the_arm_reaches_a_pose_within_two_millimetres(
    env: gymnasium.Env[Any, Any], x: float, y: float, yaw: float
) -> None:
    env.reset(seed=0)
    target = Pose.from_rpy(math.pi, 0.0, yaw, (x, y, 0.85))
    observation, _, _, _, info = env.step(encode_pose(target, 1.0))
    assert np.linalg.norm(observation["T_map_tool"][:3, 3] - target.translation) < 0.002
    np.testing.assert_allclose(observation["T_map_tool"][:3, :3], target.rotation, atol=0.02)
    assert info["action_failures"] == 0


def test_a_pose_out_of_reach_counts_as_a_failed_action(env: gymnasium.Env[Any, Any]) -> None:
    env.reset(seed=0)
    *_, info = env.step(encode_pose(Pose.from_rpy(math.pi, 0.0, 0.0, (1.0, 0.3, 0.75)), 1.0))
    assert info["action_failures"] == 1


def test_depth_at_the_table_is_the_tables_height(env: gymnasium.Env[Any, Any]) -> None:
    observation, _ = env.reset(seed=0)
    mask = env.unwrapped._segmentation("head")  # type: ignore[attr-defined]
    table = env.unwrapped.world.model.geom("table").id  # type: ignore[attr-defined]
    rows, columns = np.nonzero(mask == table)
    k, depth = observation["intrinsics"][0], observation["depth"][0][rows, columns]
    points = np.stack(
        [(columns - k[0, 2]) / k[0, 0] * depth, (rows - k[1, 2]) / k[1, 1] * depth, depth, np.ones(len(rows))]
    )
    heights = (observation["T_map_camera"][0] @ points)[2]
    assert abs(float(np.median(heights)) - 0.70) < 0.003


def test_the_episode_is_cut_after_the_given_number_of_actions() -> None:
    made = gymnasium.make(TABLETOP_ID, image_size=16, max_episode_steps=2)
    observation, _ = made.reset(seed=0)
    wait = encode_pose(Pose.from_matrix(observation["T_map_tool"]), 1.0)
    assert [made.step(wait)[3] for _ in range(2)] == [False, True]
    made.close()


def test_an_unknown_task_names_the_nearest_one() -> None:
    with pytest.raises(UnknownNameError, match="Did you mean 'stack'"):
        gymnasium.make(TABLETOP_ID, task="stak")


def test_an_action_that_is_not_finite_is_refused(env: gymnasium.Env[Any, Any]) -> None:
    env.reset(seed=0)
    with pytest.raises(ConfigError, match="seven finite numbers"):
        env.unwrapped.step(np.full(7, np.nan, np.float32))


def test_a_reset_takes_less_than_half_a_second(env: gymnasium.Env[Any, Any]) -> None:
    env.reset(seed=0)  # the first reset chooses the renderer and reads the meshes
    import time

    start = time.process_time()
    env.reset(seed=1)
    assert time.process_time() - start < 0.5


def test_what_mujoco_warns_of_is_logged_and_leaves_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    import mujoco

    monkeypatch.chdir(tmp_path)
    made = gymnasium.make(TABLETOP_ID, image_size=32)
    made.reset(seed=0)
    world = made.unwrapped.world  # type: ignore[attr-defined]
    world.data.qpos[0] = math.nan
    mujoco.mj_step(world.model, world.data)
    made.close()
    assert "QPOS" in caplog.text
    assert not list(tmp_path.iterdir())
