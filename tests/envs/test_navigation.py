"""The Apartment environment: Gymnasium's contract, metrics by hand, geometry of the images, reproducibility."""

from __future__ import annotations

import dataclasses
import math
import os
import subprocess
import sys

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

import si_embodied.envs  # noqa: F401  (registers)
from si_embodied.embodiment import BaseAction
from si_embodied.envs.base_motion import slide
from si_embodied.envs.episode import CameraSetup, build_episode
from si_embodied.envs.navigation import ApartmentEnv
from si_embodied.envs.scenes.apartment import Apartment, Furniture, Part, Room
from si_embodied.envs.scenes.furniture import COLOURS, chair
from si_embodied.envs.scenes.occupancy import Outlines
from si_embodied.envs.scenes.tasks import NavigationTask
from si_embodied.errors import ConfigError, UnknownNameError
from si_embodied.geometry import Intrinsics, Pose, project
from si_embodied.grounding import point_of
from si_embodied.policies.observation import from_gymnasium
from si_embodied.policies.skills.navigation import TiltSkill
from si_embodied.skills import TiltCamera
from si_embodied.types import Code, Outcome

APARTMENT = "si_embodied/Apartment-v0"
START = (1.025, 2.025, 0.0)  # the middle of a cell


def tiny_episode():
    """One room of 6 x 4 m; a red chair stands 3 m ahead of the robot and faces it. Its front is at x = 3.815."""
    room = Room("office", 0.0, 0.0, 6.0, 4.0, "carpet", (0.5, 0.5, 0.5), (0.9, 0.9, 0.9))
    target = Furniture("chair_1", "chair", "red", 0, 4.025, 2.025, 2, chair(COLOURS["red"]))
    back = Part("box", (5.95, 2.0, 1.25), (0.05, 2.0, 1.25), (0.9, 0.9, 0.9))
    apartment = Apartment((0,), (room,), (), (back,), (), (target,))
    task = NavigationTask("objectnav", "find the red chair", ("chair_1",))
    episode = build_episode(apartment, task, CameraSetup(), np.random.default_rng(0))
    assert episode is not None
    return dataclasses.replace(episode, start=START)


@pytest.fixture
def tiny():
    env = ApartmentEnv(image_size=112)
    env.start_episode(tiny_episode())
    yield env
    env.close()


@pytest.fixture(scope="module")
def flat():
    env = ApartmentEnv(image_size=96, render_mode="rgb_array")
    env.reset(seed=0)
    yield env
    env.close()


# --- metrics by hand -----------------------------------------------------------------------------------------------


def test_success_and_spl_by_hand(tiny):
    """The goal region ends 0.95 m before the chair's front (3.815 m): its first cell is at 2.875 m, 1.85 m ahead.

    Success is within 1 m: eight steps, to 3.025 m, so SPL = 1.85 / 2.0.
    """
    for _ in range(8):
        _, _, terminated, _, info = tiny.step(int(BaseAction.FORWARD))
        assert not terminated
    assert info["geodesic_distance"] == pytest.approx(1.85)
    assert info["path_length"] == pytest.approx(2.0)
    assert info["distance_to_goal"] == 0
    _, reward, terminated, truncated, info = tiny.step(int(BaseAction.STOP))
    assert (terminated, truncated, info["success"]) == (True, False, True)
    assert info["spl"] == pytest.approx(1.85 / 2.0)
    assert info["soft_spl"] == pytest.approx(1.85 / 2.0)
    assert info["collisions"] == 0
    assert reward == pytest.approx(2.5)


def test_stopping_too_far_away_is_no_success_but_has_soft_spl(tiny):
    for _ in range(7):
        tiny.step(int(BaseAction.FORWARD))  # to 2.775 m: 1.04 m before the chair
    _, _, terminated, _, info = tiny.step(int(BaseAction.STOP))
    assert terminated
    assert not info["success"]
    assert info["spl"] == 0
    assert info["soft_spl"] == pytest.approx((1 - 0.1 / 1.85) * 1.0, abs=1e-6)  # 1.75 m driven, 0.1 m left


def test_near_but_turned_away_is_no_success(tiny):
    for action in [BaseAction.FORWARD] * 8 + [BaseAction.TURN_LEFT] * 12 + [BaseAction.STOP]:
        _, _, terminated, _, info = tiny.step(int(action))
    assert terminated
    assert not info["success"]


def test_driving_into_the_chair_counts_collisions_and_no_way(tiny):
    for _ in range(15):
        info = tiny.step(int(BaseAction.FORWARD))[-1]
    assert tiny.pose[0] <= 3.815 - tiny.embodiment.radius_m + 1e-6
    assert info["collisions"] == 15 - 10  # 2.51 m are free: the eleventh step touches
    assert info["path_length"] == pytest.approx(tiny.pose[0] - START[0], abs=0.02)


def test_a_turn_is_fifteen_degrees_and_no_way(tiny):
    for _ in range(6):
        info = tiny.step(int(BaseAction.TURN_LEFT))[-1]
    assert tiny.pose[2] == pytest.approx(math.pi / 2)
    assert info["path_length"] == 0


def test_waiting_only_lets_time_pass(tiny):
    observation = tiny.step(int(BaseAction.WAIT))[0]
    assert tiny.pose == START
    assert observation["stamp_s"] == tiny.embodiment.control_period_s


def test_a_long_episode_is_truncated():
    env = ApartmentEnv(image_size=16, max_episode_steps=3)
    env.start_episode(tiny_episode())
    ends = [env.step(int(BaseAction.WAIT))[2:4] for _ in range(3)]
    assert ends == [(False, False), (False, False), (False, True)]
    with pytest.raises(gymnasium.error.ResetNeeded):
        env.step(int(BaseAction.WAIT))
    env.close()


def test_a_disc_slides_along_a_wall():
    wall = Outlines.of([Part("box", (0.0, 1.0, 0.5), (5.0, 0.1, 0.5), (1, 1, 1))])  # its face is at y = 0.9
    x, y, touched = slide(wall, 0.3, 0.0, 0.6 - 1e-4, math.pi / 4, 0.2)
    assert touched
    assert x == pytest.approx(0.2 * math.cos(math.pi / 4), abs=1e-3)
    assert y == pytest.approx(0.6, abs=1e-3)


# --- pictures ------------------------------------------------------------------------------------------------------


def test_depth_of_the_chair_is_the_analytic_distance(tiny):
    """The seat's front edge is a vertical face at x = 3.815 m, seen from x = 1.025 m at a height of 1.1 m."""
    observation = tiny.step(int(BaseAction.WAIT))[0]
    camera = Pose.from_matrix(observation["T_map_camera"][0])
    intrinsics = Intrinsics.from_matrix(observation["intrinsics"][0], 112, 112)
    point = camera.inverse().apply(np.array([3.815, 2.025, 0.455]))
    u, v = project(intrinsics, point)
    assert observation["depth"][0, round(v), round(u)] == pytest.approx(point[2], abs=0.02)
    # By trigonometry: along the axis of a camera tilted down by 0.35 rad.
    expected = 2.79 * math.cos(0.35) + (1.1 - 0.455) * math.sin(0.35)
    assert point[2] == pytest.approx(expected, abs=1e-6)
    assert tiny.target_mask()[round(v), round(u)]


def test_the_floor_lies_at_height_zero(flat):
    from si_embodied.geometry import deproject_image

    observation = flat.reset(seed=3)[0]
    camera = Pose.from_matrix(observation["T_map_camera"][0])
    intrinsics = Intrinsics.from_matrix(observation["intrinsics"][0], 96, 96)
    points = camera.apply(deproject_image(intrinsics, observation["depth"][0]))
    assert np.nanmin(points[..., 2]) == pytest.approx(0, abs=0.01)
    assert np.nanmax(points[..., 2]) <= 2.55


def test_left_in_the_map_is_left_in_the_picture(tiny):
    tiny.step(int(BaseAction.TURN_LEFT))
    columns = np.nonzero(tiny.target_mask())[1]
    assert columns.mean() > 112 / 2  # the robot turned left, so the chair moved right


def test_camera_options_are_honoured():
    env = ApartmentEnv(image_size=32, camera_height_m=0.8, camera_pan_rad=0.3, camera_tilt_rad=-0.2, fov_y_deg=90.0)
    env.start_episode(dataclasses.replace(tiny_episode_with(env.camera), start=START))
    observation = env.step(int(BaseAction.WAIT))[0]
    assert observation["intrinsics"][0][0, 0] == pytest.approx(16.0)  # f = H / 2 / tan(45 degrees)
    forward = observation["T_map_camera"][0][:3, 2]
    assert math.atan2(forward[1], forward[0]) == pytest.approx(0.3)
    assert math.asin(forward[2]) == pytest.approx(-0.2)
    assert observation["T_map_camera"][0][2, 3] == pytest.approx(0.8)
    env.close()


def tiny_episode_with(camera: CameraSetup):
    plain = tiny_episode()
    episode = build_episode(plain.apartment, plain.task, camera, np.random.default_rng(0))
    assert episode is not None
    return episode


def test_look_down_tilts_the_camera_within_its_range(tiny):
    for _ in range(10):
        observation = tiny.step(int(BaseAction.LOOK_DOWN))[0]
    assert math.asin(observation["T_map_camera"][0][2, 2]) == pytest.approx(tiny.embodiment.tilt_range_rad[0])


def look(env: ApartmentEnv, degrees: float) -> Outcome:
    """Run the skill in the environment until its outcome."""
    skill = TiltSkill(TiltCamera(math.radians(degrees)), env.embodiment)
    for _ in range(5):
        result = skill.step(from_gymnasium(env.observe(), env.embodiment.cameras))
        if isinstance(result, Outcome):
            return result
        env.step(result)
    raise AssertionError("no outcome within 5 steps")


@pytest.mark.parametrize("degrees", [15, -15])
def test_look_turns_the_camera_by_one_step(tiny, degrees):
    before = tiny.tilt
    assert look(tiny, degrees).succeeded
    assert tiny.tilt - before == pytest.approx(math.radians(degrees))


def test_look_fails_where_the_base_is_driven_by_velocities():
    env = ApartmentEnv(image_size=16, action_mode="continuous")
    env.start_episode(tiny_episode())
    assert look(env, 15).code is Code.SKILL_FAILED
    env.close()


def test_the_perfect_pixel_is_on_the_target(tiny):
    view, u, v = tiny.ground_truth.visible_target()
    assert view == 0
    assert tiny.target_mask()[round(v), round(u)]
    assert tiny.ground_truth.target_name() == "red chair"


def test_a_point_shows_the_target_where_its_mask_does(tiny):
    """The tiny camera's pixels are far apart in thousandths."""
    mask = tiny.target_mask()
    height, width = mask.shape
    for row, column in np.argwhere(np.ones_like(mask)):
        point = point_of(column, row, width, height)
        assert tiny.ground_truth.shows_target(0, point) == mask[row, column]
        assert not tiny.ground_truth.shows_target(1, point)


def test_the_picture_for_people_has_both_views(flat):
    picture = flat.render()
    assert picture.dtype == np.uint8
    assert picture.shape == (448, 896, 3)


# --- Gymnasium -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["discrete", "continuous"])
def test_gymnasiums_checker_passes(mode):
    env = gymnasium.make(APARTMENT, task="spatial", image_size=48, action_mode=mode, render_mode="rgb_array")
    check_env(env.unwrapped)
    env.close()


@pytest.mark.parametrize("mode", ["sync", "async"])
def test_vector_environments_give_what_single_ones_give(mode):
    # A process that has rendered with OpenGL must not be forked: its threads are not copied.
    # Gymnasium's shared memory does not support Text.
    how = {"context": "spawn", "shared_memory": False} if mode == "async" else {}
    vector = gymnasium.make_vec(
        APARTMENT, num_envs=2, vectorization_mode=mode, image_size=32, vector_kwargs=how, task="objectnav"
    )
    batch, _ = vector.reset(seed=4)
    batch, *_ = vector.step(np.array([1, 2]))
    vector.close()
    for i, action in enumerate((1, 2)):
        env = ApartmentEnv(image_size=32)
        env.reset(seed=4 + i)
        single = env.step(action)[0]
        env.close()
        np.testing.assert_array_equal(batch["rgb"][i], single["rgb"])
        np.testing.assert_array_equal(batch["depth"][i], single["depth"])
        assert batch["instruction"][i] == single["instruction"]


_DIGEST = """
import hashlib, gymnasium, si_embodied.envs
env = gymnasium.make("si_embodied/Apartment-v0", task="{task}", image_size=64)
digest = hashlib.sha256()
for seed in (0, 1):
    observation, info = env.reset(seed=seed)
    for step in range(12):
        for key in sorted(observation):
            value = observation[key]
            digest.update(value.encode() if isinstance(value, str) else value.tobytes())
        observation, reward, *_, info = env.step(env.unwrapped.ground_truth.next_action())
        digest.update(repr((reward, sorted(info.items()))).encode())
env.close()
print(digest.hexdigest())
"""


def test_two_processes_see_the_same_bits():
    digests = set()
    for hash_seed in ("1", "2"):
        done = subprocess.run(
            [sys.executable, "-c", _DIGEST.format(task="spatial")],
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            capture_output=True,
            text=True,
            check=True,
            timeout=120,
        )
        digests.add(done.stdout.strip())
    assert len(digests) == 1
    assert len(digests.pop()) == 64


def test_reset_without_a_seed_goes_on_from_the_last_one():
    env = ApartmentEnv(image_size=16)
    runs = []
    for _ in range(2):
        env.reset(seed=5)
        runs.append(env.reset()[0]["instruction"] + str(env.pose))
    env.close()
    assert runs[0] == runs[1]


# --- errors --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kwargs", "error", "words"),
    [
        ({"task": "objectnavv"}, UnknownNameError, "Did you mean 'objectnav'"),
        ({"action_mode": "continous"}, UnknownNameError, "Did you mean 'continuous'"),
        ({"render_mode": "human"}, UnknownNameError, "rgb_array"),
        ({"image_size": 4}, ConfigError, "image_size"),
        ({"fov_y_deg": 200.0}, ConfigError, "fov_y_deg"),
        ({"room_count": 9}, ConfigError, "room_count"),
        ({"max_episode_steps": 0}, ConfigError, "max_episode_steps"),
    ],
)
def test_bad_options_name_their_fix(kwargs, error, words):
    with pytest.raises(error, match=words):
        ApartmentEnv(**kwargs)


def test_stepping_before_reset_and_bad_actions_are_refused(flat):
    with pytest.raises(gymnasium.error.ResetNeeded, match="reset"):
        ApartmentEnv().step(1)
    flat.reset(seed=0)
    with pytest.raises(gymnasium.error.InvalidAction, match="Discrete"):
        flat.step(9)


# --- the oracle ----------------------------------------------------------------------------------------------------


def run_oracle(task: str, mode: str, episodes: int) -> tuple[float, float]:
    env = ApartmentEnv(task, image_size=96, action_mode=mode)
    successes, spls = [], []
    for seed in range(episodes):
        env.reset(seed=seed)
        over = False
        while not over:
            *_, terminated, truncated, info = env.step(env.ground_truth.next_action())
            over = terminated or truncated
        successes.append(info["success"])
        spls.append(info["spl"])
    env.close()
    return float(np.mean(successes)), float(np.mean(spls))


@pytest.mark.parametrize("task", ["objectnav", "spatial", "route"])
def test_the_oracle_succeeds_on_the_shortest_way(task):
    success, spl = run_oracle(task, "discrete", 3)
    assert success == 1.0
    assert spl > 0.9


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["discrete", "continuous"])
@pytest.mark.parametrize("task", ["objectnav", "spatial", "route"])
def test_the_oracle_over_a_hundred_episodes(task, mode):
    success, spl = run_oracle(task, mode, 100)
    assert success >= 0.97
    assert spl >= 0.9
