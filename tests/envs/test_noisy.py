"""The wrapper adds noise within the observation space, as a function of the seed, and leaves the truth alone."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

pytest.importorskip("gymnasium")

import gymnasium

from si_embodied import Pose
from si_embodied.envs.noisy import NoisySensors
from si_embodied.envs.spaces import observation_space
from si_embodied.evaluation.config import EvaluationConfig
from si_embodied.evaluation.registry import make_env
from si_embodied.robots import FETCH_ARM, FETCH_BASE
from si_embodied.sensor_noise.profiles import PROFILES, NoiseProfile, PoseNoise, TransferNoise

REALSENSE = PROFILES["realsense"]
SIZE = 24


class Corridor(gymnasium.Env[dict[str, Any], int]):
    """A base that drives along x at 0.2 m a step of 0.5 s, or an arm; the image's colour is the step's number."""

    kind = "navigation"

    def __init__(self, *, arm: bool = False) -> None:
        self.arm, self.embodiment = arm, FETCH_ARM if arm else FETCH_BASE
        self.cameras = len(self.embodiment.cameras)
        self.observation_space = observation_space(self.cameras, SIZE, SIZE, max_range_m=5.0, arm=arm)
        self.action_space = gymnasium.spaces.Discrete(2)

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[dict[str, Any], dict[str, Any]]:
        super().reset(seed=seed)
        self.steps = 0
        return self._observe(), {"success": False}

    def step(self, action: int) -> tuple[dict[str, Any], float, bool, bool, dict[str, Any]]:
        self.steps += 1
        return self._observe(), 0.0, False, False, {"success": False}

    def base(self) -> Pose:
        return Pose.identity() if self.arm else Pose.planar(0.2 * self.steps, 0.0, 0.0)

    def _observe(self) -> dict[str, Any]:
        n = self.cameras
        camera = self.base() @ Pose(np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]]), np.zeros(3))
        arm = {"T_map_tool": np.eye(4), "gripper_opening": np.array(0.0)} if self.arm else {}
        return {
            "rgb": np.full((n, SIZE, SIZE, 3), self.steps, np.uint8),
            "depth": np.full((n, SIZE, SIZE), 4.99, np.float32),
            "intrinsics": np.stack([np.array([[20.0, 0, 11.5], [0, 20.0, 11.5], [0, 0, 1.0]])] * n),
            "T_map_camera": np.stack([camera.matrix()] * n),
            "T_map_base": self.base().matrix(),
            "stamp_s": np.array(0.5 * self.steps),
            "instruction": "go on",
            **arm,
        }


def episode(profile: NoiseProfile, seed: int | None = 0, *, steps: int = 6, arm: bool = False) -> list[dict[str, Any]]:
    env = NoisySensors(Corridor(arm=arm), profile)
    return [env.reset(seed=seed)[0], *(env.step(1)[0] for _ in range(steps))]


@pytest.mark.parametrize("arm", [False, True])
@pytest.mark.parametrize("name", [*PROFILES])
def test_observations_stay_within_their_space(name: str, arm: bool) -> None:
    space = Corridor(arm=arm).observation_space
    assert all(space.contains(seen) for seen in episode(PROFILES[name], arm=arm))


def test_an_episode_is_a_function_of_its_seed() -> None:
    env = NoisySensors(Corridor(), REALSENSE)
    runs = []
    for seed in (3, 4, 3):
        runs.append([env.reset(seed=seed)[0], *(env.step(1)[0] for _ in range(4))])
    same = [[np.array_equal(a[key], b[key]) for key in a] for a, b in zip(runs[0], runs[2], strict=True)]
    assert np.all(same)
    assert not np.array_equal(runs[0][0]["depth"], runs[1][0]["depth"])


def test_an_episode_without_a_seed_differs_from_the_one_before() -> None:
    env = NoisySensors(Corridor(), REALSENSE)
    first, second = env.reset(seed=0)[0], env.reset()[0]
    assert not np.array_equal(first["depth"], second["depth"])


def test_nothing_changes_without_noise() -> None:
    env = Corridor()
    plain = [env.reset(seed=0)[0], *(env.step(1)[0] for _ in range(3))]
    for seen, true in zip(episode(PROFILES["none"], steps=3), plain, strict=True):
        assert all(np.array_equal(seen[key], true[key]) for key in true)


def test_a_dropped_image_repeats_the_last_one_with_its_stamp() -> None:
    """The colour is the step's number; after seed 0's first draws below 0.5 an image is missing."""
    seen = episode(NoiseProfile(transfer=TransferNoise(dropped_ratio=0.5)), steps=40)
    stamps = [float(each["stamp_s"]) for each in seen]
    assert all(each["rgb"][0, 0, 0, 0] == 2 * stamp for each, stamp in zip(seen, stamps, strict=True))
    assert stamps == sorted(stamps)
    repeated = np.diff(stamps) == 0
    assert 0.25 < repeated.mean() < 0.75
    assert max(np.diff(stamps)) > 0.5  # the next one that arrives is of its own time
    assert [each["T_map_camera"][0, 0, 3] for each in seen] == pytest.approx([0.4 * stamp for stamp in stamps])


def test_a_late_image_arrives_with_the_next_observation() -> None:
    """A delay of a whole step: each image is one step old, while the base's pose is of now."""
    seen = episode(NoiseProfile(transfer=TransferNoise(delay_s=0.5)))
    assert [float(each["stamp_s"]) for each in seen] == [0.0, 0.0, 0.5, 1.0, 1.5, 2.0, 2.5]
    assert [each["T_map_base"][0, 3] for each in seen] == pytest.approx([0.2 * step for step in range(7)])


def test_a_short_delay_is_right_on_average() -> None:
    seen = episode(NoiseProfile(transfer=TransferNoise(delay_s=0.1)), steps=400)
    ages = [0.5 * step - float(each["stamp_s"]) for step, each in enumerate(seen)]
    assert np.mean(ages) == pytest.approx(0.1, abs=0.03)


def test_a_late_pose_is_where_the_base_was() -> None:
    """0.4 m/s for 0.25 s."""
    seen = episode(NoiseProfile(pose=PoseNoise(delay_s=0.25)))
    assert seen[4]["T_map_base"][0, 3] == pytest.approx(0.8 - 0.1)
    assert seen[4]["T_map_camera"][0, 0, 3] == pytest.approx(0.8 - 0.1)


def test_base_and_camera_share_the_localisations_error_and_an_arm_has_none() -> None:
    noise = NoiseProfile(pose=PoseNoise(localisation_m=0.1))
    moved = episode(noise)[0]
    assert moved["T_map_base"][0, 3] != 0.0
    assert np.allclose(moved["T_map_camera"][0][:3, 3], moved["T_map_base"][:3, 3])
    still = episode(noise, arm=True)[0]
    assert np.array_equal(still["T_map_base"], np.eye(4))
    assert np.array_equal(still["T_map_camera"][0][:3, 3], np.zeros(3))


def test_a_point_goal_keeps_its_place_in_the_map() -> None:
    """The robot knows where the goal is, and not where it is itself."""

    class ToAPoint(Corridor):
        def _observe(self) -> dict[str, Any]:
            x, y, _ = self.base().inverse().apply([3.0, 1.0, 0.0])
            return {**super()._observe(), "pointgoal": np.array([math.hypot(x, y), math.atan2(y, x)], np.float32)}

    env = NoisySensors(ToAPoint(), NoiseProfile(pose=PoseNoise(localisation_m=0.1)))
    env.reset(seed=0)
    for _ in range(3):
        seen = env.step(1)[0]
        distance, angle = seen["pointgoal"]
        goal = Pose.from_matrix(seen["T_map_base"]).apply([distance * math.cos(angle), distance * math.sin(angle), 0.0])
        assert np.allclose(goal, (3.0, 1.0, 0.0), atol=1e-5)


def test_gymnasiums_checker_is_content() -> None:
    pytest.importorskip("mujoco")
    from gymnasium.utils.env_checker import check_env

    config = EvaluationConfig("si_embodied/Apartment-v0", "random", "objectnav", image_size=32, noise=REALSENSE)
    env = make_env(config)
    check_env(env, skip_render_check=True)
    env.close()


# --- evaluations ----------------------------------------------------------------------------------------------------


def test_an_evaluation_with_noise_is_another_one_and_none_is_the_same(fake_world: str) -> None:
    plain = EvaluationConfig(fake_world, "stopper")
    noisy = replace(plain, noise=REALSENSE)
    assert replace(plain, noise=PROFILES["none"]).digest() == plain.digest() != noisy.digest()
    assert noisy.identity()["noise"]["depth"]["noise_m"] == REALSENSE.depth.noise_m
    assert "noise" not in plain.identity()
    env = make_env(noisy)
    assert isinstance(env, NoisySensors)
    assert env.reset(seed=0)[0]["depth"].std() > 0
    assert not isinstance(make_env(plain), NoisySensors)
