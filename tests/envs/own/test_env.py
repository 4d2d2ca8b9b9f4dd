"""Episodes in a place of one's own: a scanned room, and a recording of it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import gymnasium
import numpy as np
import pytest
import trimesh
from gymnasium.utils.env_checker import check_env
from PIL import Image
from rooms import BLUE, GREEN, RED, YELLOW, write_room

import si_embodied.envs  # noqa: F401  registers the worlds
from si_embodied.embodiment import BaseAction
from si_embodied.envs.own.env import OwnWorldEnv
from si_embodied.envs.own.recorded import RecordedPlace
from si_embodied.envs.own.recording import Recording
from si_embodied.envs.own.reprojected import ReprojectedPlace
from si_embodied.envs.own.scan import ScanPlace
from si_embodied.errors import ConfigError, SceneError, UnknownNameError
from si_embodied.robots import FETCH_BASE

GOALS = "goals: [{instruction: go to the pillar, object: pillar, position: [3, 2], radius: 1.0, start: [1, 1, 0]}]"
LEVEL = {"camera_tilt_rad": 0.0}


def make(world: Path, **arguments: object) -> OwnWorldEnv:
    env = gymnasium.make("si_embodied/OwnWorld-v0", disable_env_checker=True, world=world, image_size=32, **arguments)
    assert isinstance(env.unwrapped, OwnWorldEnv)
    return env.unwrapped


@pytest.fixture(scope="module")
def scanned(room_file: Path) -> Iterator[OwnWorldEnv]:
    """Points to drive to in the scanned room."""
    env = make(room_file)
    yield env
    env.close()


def play(env: OwnWorldEnv, seed: int) -> dict[str, float]:
    """The last info of an episode of the oracle."""
    env.reset(seed=seed)
    for _ in range(200):
        _, _, terminated, truncated, info = env.step(env.ground_truth.next_action())
        if terminated or truncated:
            break
    return info


# --- a scan ---------------------------------------------------------------------------------------------------------


def test_the_environment_keeps_gymnasiums_contract(scanned: OwnWorldEnv) -> None:
    check_env(scanned, skip_render_check=True)


def test_the_camera_sees_each_wall_in_its_colour_at_its_distance(room_file: Path) -> None:
    """From (1, 1), level, so that the middle of the image shows the wall: 5, 3, 1 and 1 m away."""
    env = make(room_file, **LEVEL)
    for yaw, colour, away in ((0.0, RED, 5.0), (90.0, BLUE, 3.0), (180.0, GREEN, 1.0), (-90.0, YELLOW, 1.0)):
        env.place.put((1.0, 1.0, math.radians(yaw)))
        frame = env.place.frame(0.0)
        assert frame.depth_m is not None
        assert frame.depth_m[16, 16] == pytest.approx(away, abs=0.01)
        np.testing.assert_allclose(frame.rgb[16, 16], colour, atol=3)
    env.close()


def test_a_picture_on_a_wall_is_rendered_the_right_way_up(tmp_path: Path) -> None:
    """Red above 1.1 m, the height of the level camera, and blue below."""
    picture = np.zeros((8, 8, 3), np.uint8)
    picture[:4], picture[4:] = (255, 0, 0), (0, 0, 255)
    corners = np.array([[3, 0, 1.5], [3, 0, -1.5], [3, 2.2, -1.5], [3, 2.2, 1.5]])  # y up, facing -x
    wall = trimesh.Trimesh(corners, [[0, 2, 1], [0, 3, 2]], process=False)
    material = trimesh.visual.material.PBRMaterial(baseColorTexture=Image.fromarray(picture))
    wall.visual = trimesh.visual.TextureVisuals(np.array([[1, 0], [0, 0], [0, 1], [1, 1]], float), material)
    floor = trimesh.creation.box(extents=(6, 0.1, 4))
    trimesh.Scene([wall, floor]).export(tmp_path / "wall.glb")
    env = make(tmp_path / "wall.glb", **LEVEL)
    env.place.put((1.0, 0.0, 0.0))
    frame = env.place.frame(0.0)
    env.close()
    assert frame.depth_m is not None
    assert frame.depth_m[8, 16] == pytest.approx(2.0, abs=0.01)
    assert tuple(frame.rgb[12, 16]) == (255, 0, 0)
    assert tuple(frame.rgb[20, 16]) == (0, 0, 255)


def test_the_base_stops_at_a_wall_and_slides_past_the_pillar(place: ScanPlace) -> None:
    place.put((5.0, 1.0, 0.0))
    touched = [place.act(BaseAction.FORWARD).touched for _ in range(6)]
    assert touched[0] is False
    assert touched[-1] is True
    assert place.pose[0] == pytest.approx(6.0 - FETCH_BASE.radius_m, abs=0.05)
    place.put((2.0, 2.5, 0.0))
    for _ in range(12):
        place.act(BaseAction.FORWARD)
    assert place.pose[0] > 3.6


def test_paths_lead_around_the_pillar(place: ScanPlace) -> None:
    """Straight through it, from (1.5, 2) to (4.5, 2), are 3 m; around its corner with the robot's clearance, more."""
    paths = place.paths_to(4.5, 2.0, 0.1)
    straight, around = 2.9, 2 * math.hypot(1.2, 0.3 + 0.3) + 0.6
    assert straight + 0.1 < paths.distance((1.5, 2.0, 0.0)) < around + 0.2


def test_the_oracle_reaches_a_point_along_the_shortest_path(scanned: OwnWorldEnv) -> None:
    info = play(scanned, 0)
    assert info["success"]
    assert info["spl"] > 0.8
    assert info["geodesic_distance"] >= 2.0


def test_an_episode_is_a_function_of_its_seed(scanned: OwnWorldEnv) -> None:
    first = scanned.reset(seed=5)[0]
    other = scanned.reset(seed=6)[0]
    again = scanned.reset(seed=5)[0]
    assert first["instruction"] == again["instruction"] != other["instruction"]
    assert np.array_equal(first["rgb"], again["rgb"])


def test_the_observation_says_where_the_point_is(scanned: OwnWorldEnv) -> None:
    observation, _ = scanned.reset(seed=3)
    (gx, gy), (x, y, yaw) = scanned.asked.goal.position[:2], scanned.pose
    away, bearing = observation["pointgoal"]
    reached = x + away * math.cos(yaw + bearing), y + away * math.sin(yaw + bearing)
    assert reached == pytest.approx((gx, gy), abs=1e-4)


# --- goals ----------------------------------------------------------------------------------------------------------


def test_goals_beside_the_file_are_the_task(tmp_path: Path) -> None:
    path = write_room(tmp_path / "room.glb")
    (tmp_path / "room.goals.yaml").write_text(GOALS)
    env = make(path)
    observation, _ = env.reset(seed=0)
    assert (env.task, observation["instruction"]) == ("goals", "go to the pillar")
    assert "pointgoal" not in observation
    assert env.pose == pytest.approx((1.0, 1.0, 0.0))
    assert play(env, 0)["success"]
    assert math.hypot(env.pose[0] - 3, env.pose[1] - 2) <= 1.0
    env.close()


def test_the_pixels_of_a_goal_are_those_on_it(room_file: Path, tmp_path: Path) -> None:
    goals = tmp_path / "goals.yaml"
    goals.write_text(GOALS)
    env = make(room_file, goals=goals)
    env.reset(seed=0)
    env.place.put((1.0, 2.0, 0.0))
    shown = env.place.frame(0.0)
    mask = env.ground_truth.mask(shown)
    pink = (shown.rgb[..., 0] > 230) & (shown.rgb[..., 1] < 120)
    assert mask.sum() > 10
    assert (mask & ~pink).sum() == 0
    env.place.put((1.0, 2.0, math.pi))
    assert env.ground_truth.seen_in(env.place.frame(0.0)) is None
    env.close()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("goals: []", "has no goals"),
        ("goals: [{instruction: go, positon: [1, 2]}]", "positon.*Did you mean 'position'"),
        ("goals: [{instruction: go, position: [1]}]", "position of x and y"),
        ("goals: [{instruction: '', position: [1, 2]}]", "empty"),
    ],
)
def test_bad_goals_say_what_is_wrong_and_in_which_file(room_file: Path, tmp_path: Path, text: str, says: str) -> None:
    goals = tmp_path / "mine.yaml"
    goals.write_text(text)
    with pytest.raises(ConfigError, match=says) as error:
        make(room_file, goals=goals)
    assert "mine.yaml" in str(error.value)


def test_a_goal_outside_the_room_is_refused(room_file: Path, tmp_path: Path) -> None:
    goals = tmp_path / "goals.yaml"
    goals.write_text("goals: [{instruction: leave, position: [20, 20]}]")
    env = make(room_file, goals=goals)
    with pytest.raises(SceneError, match="no path leads to the goal 'leave'"):
        env.reset(seed=0)


@pytest.mark.parametrize(
    ("name", "says"), [("gone.glb", "no such file or folder"), ("bag", "data frames"), (None, "GLB file or a folder")]
)
def test_a_world_that_is_none_says_what_to_do(tmp_path: Path, name: str | None, says: str) -> None:
    (tmp_path / "bag").mkdir()
    (tmp_path / "bag" / "metadata.yaml").write_text("")
    with pytest.raises(ConfigError, match=says):
        OwnWorldEnv(world=None if name is None else tmp_path / name)


def test_a_room_in_centimetres_asks_for_its_scale(tmp_path: Path) -> None:
    with pytest.raises(SceneError, match="`scale`"):
        make(write_room(tmp_path / "cm.glb", scale=100.0))
    with pytest.raises(SceneError, match="`scale`"):
        make(write_room(tmp_path / "km.glb", scale=0.1))


def test_unknown_names_are_refused(room_file: Path) -> None:
    with pytest.raises(UnknownNameError, match="kind of views"):
        make(room_file, views="painted")


# --- a recording ----------------------------------------------------------------------------------------------------


def test_reprojected_views_equal_the_recorded_images_where_those_were_taken(recording: Path) -> None:
    images = Recording.of(recording)
    place = ReprojectedPlace(images, FETCH_BASE)
    for index in (0, 30, 50):
        place.put(tuple(images.poses[index]))
        drawn, taken = place.frame(0.0), images.frame(index, "head", 0.0)
        assert drawn.depth_m is not None
        assert taken.depth_m is not None
        np.testing.assert_allclose(drawn.T_map_camera.matrix(), taken.T_map_camera.matrix(), atol=1e-6)
        both = (drawn.depth_m > 0) & (taken.depth_m > 0)
        assert both.mean() > 0.9
        assert np.median(np.abs(drawn.depth_m - taken.depth_m)[both]) < 0.05
        assert np.median(np.abs(drawn.rgb.astype(int) - taken.rgb)) <= 3


def test_the_oracle_drives_in_a_recording(recording: Path) -> None:
    env = make(recording)
    assert play(env, 0)["success"]


def test_recorded_views_are_the_images_and_nothing_else(recording: Path) -> None:
    """The drive has an image every 0.25 m, so each step leads exactly to the next; turns are of 15 degrees."""
    place = RecordedPlace(Recording.of(recording), FETCH_BASE)
    place.put((2.0, 1.0, 0.0))
    moved = place.act(BaseAction.FORWARD)
    assert place.pose == pytest.approx((2.25, 1.0, 0.0), abs=1e-6)
    assert (moved.off_m, moved.touched) == (pytest.approx(0.0, abs=1e-6), False)
    place.put((1.0, 1.0, 0.0))
    place.act(BaseAction.TURN_LEFT)
    assert place.pose == pytest.approx((1.0, 1.0, math.radians(15)), abs=1e-6)


def test_the_robot_holds_where_no_image_was_taken(recording: Path) -> None:
    """In the middle of the drive nobody has turned."""
    place = RecordedPlace(Recording.of(recording), FETCH_BASE, reach_m=0.3)
    place.put((3.0, 1.0, 0.0))
    before = place.pose
    assert place.act(BaseAction.TURN_LEFT).touched
    assert place.pose == before


def test_paths_over_images_are_as_long_as_the_drive(recording: Path) -> None:
    place = RecordedPlace(Recording.of(recording), FETCH_BASE)
    paths = place.paths_to(4.0, 1.0, 0.1)
    assert paths.distance((2.0, 1.0, 0.0)) == pytest.approx(2.0, abs=0.02)
    assert paths.next_action((2.0, 1.0, 0.0)) == BaseAction.FORWARD
    assert len(paths.points((2.0, 1.0, 0.0))) == 9
    assert math.isinf(place.paths_to(1.0, 3.0, 0.1).distance((2.0, 1.0, 0.0)))
