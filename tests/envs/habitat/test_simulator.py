"""Our apartments as habitat-lab's simulator: geometry by hand, and the measures that habitat-lab computes in it."""

from __future__ import annotations

import importlib.util
import math

import numpy as np
import pytest

if importlib.util.find_spec("habitat") is None:
    pytest.skip("habitat-lab is not installed: pip install 'si-embodied[habitat]'", allow_module_level=True)

from si_embodied.envs.base_motion import slide
from si_embodied.envs.habitat.config import complete, stock_config
from si_embodied.envs.habitat.episodes import dataset
from si_embodied.envs.habitat.frames import agent_rotation, base_pose, camera_pose, to_habitat, to_map
from si_embodied.envs.habitat.simulator import ApartmentSimulator
from si_embodied.errors import ConfigError, UnknownNameError

SIZE = "habitat.simulator.agents.main_agent.sim_sensors.{}_sensor.{}={}"


def simulator(*overrides: str) -> ApartmentSimulator:
    small = [SIZE.format(sensor, side, 64) for sensor in ("rgb", "depth") for side in ("height", "width")]
    config = stock_config("pointnav", [*small, *overrides])
    complete(config, "embedded", top_down_map=False)
    from habitat.config import read_write

    episode = dataset("pointnav", [0])["episodes"][0]
    with read_write(config):
        config.habitat.simulator.scene = episode["scene_id"]
    made = ApartmentSimulator(config.habitat.simulator)
    made.reconfigure(config.habitat.simulator)
    made.set_agent_state(episode["start_position"], episode["start_rotation"])
    return made


@pytest.fixture(scope="module")
def sim():
    made = simulator()
    yield made
    made.close()


def test_a_step_forward_is_a_quarter_metre_along_the_heading(sim: ApartmentSimulator) -> None:
    sim.set_agent_state(sim.sample_navigable_point(), agent_rotation(0.0))
    for _ in range(20):  # until the path ahead is free
        before = base_pose(sim.get_agent_state().position, sim.get_agent_state().rotation)
        x, y, _ = before.translation
        if not slide(sim.pathfinder.stage.obstacles, 0.28, x, y, before.yaw, 0.25)[2]:
            break
        sim.step(2)
    sim.step(1)
    after = base_pose(sim.get_agent_state().position, sim.get_agent_state().rotation)
    np.testing.assert_allclose(before.inverse().apply(after.translation), [0.25, 0.0, 0.0], atol=1e-6)
    assert not sim.previous_step_collided


def test_turning_left_turns_left_by_habitats_ten_degrees(sim: ApartmentSimulator) -> None:
    before = base_pose(sim.get_agent_state().position, sim.get_agent_state().rotation).yaw
    sim.step(2)
    after = base_pose(sim.get_agent_state().position, sim.get_agent_state().rotation).yaw
    assert math.remainder(after - before, 2 * math.pi) == pytest.approx(math.radians(10))


def test_driving_into_a_wall_collides_and_keeps_the_disc_off_it(sim: ApartmentSimulator) -> None:
    collided = [bool(sim.step(1)) and sim.previous_step_collided for _ in range(60)]
    assert any(collided)
    x, y, _ = to_map(sim.get_agent_state().position)
    assert sim.pathfinder.stage.obstacles.distance(x, y) >= 0.28 - 1e-6


def test_without_sliding_a_wall_stops_the_agent() -> None:
    stuck = simulator("habitat.simulator.habitat_sim_v0.allow_sliding=False")
    for _ in range(60):
        stuck.step(1)
    before = stuck.get_agent_state().position
    stuck.step(1)
    np.testing.assert_allclose(stuck.get_agent_state().position, before, atol=0.051)
    assert stuck.previous_step_collided
    stuck.close()


def test_depth_of_the_floor_is_what_the_camera_pose_says(sim: ApartmentSimulator) -> None:
    observation = sim.reset()
    depth = observation["depth"][..., 0] * 10.0  # habitat-lab scales by its range of 10 m
    eye = sim.get_agent_state().sensor_states["depth"]
    pose = camera_pose(eye.position, eye.rotation)
    focal = 32 / math.tan(math.radians(45))
    v, u = 60, 32
    ray = pose.rotation @ np.array([(u - 31.5) / focal, (v - 31.5) / focal, 1.0])
    point = pose.translation + ray * float(depth[v, u])
    assert -0.01 < point[2] < 1.25 - 0.05  # the floor, or furniture that stands on it
    assert pose.translation[2] == pytest.approx(1.25)


def test_geodesic_distance_is_symmetric_and_no_less_than_the_straight_line(sim: ApartmentSimulator) -> None:
    sim.seed(1)
    for _ in range(5):
        a, b = sim.sample_navigable_point(), sim.sample_navigable_point()
        there, back = sim.geodesic_distance(a, b), sim.geodesic_distance(b, a)
        assert there == pytest.approx(back, abs=0.05)
        assert there >= math.dist(a, b) - 0.05
    assert sim.geodesic_distance(a, [a, b]) == pytest.approx(0.0)


def test_the_shortest_path_is_as_long_as_the_geodesic_distance_and_free(sim: ApartmentSimulator) -> None:
    sim.seed(2)
    a, b = sim.sample_navigable_point(), sim.sample_navigable_point()
    points = np.array(sim.get_straight_shortest_path_points(a, b))
    length = float(np.linalg.norm(np.diff(points, axis=0), axis=1).sum())
    assert length == pytest.approx(sim.geodesic_distance(a, b), abs=0.1)
    assert all(sim.is_navigable(point) for point in points)


def test_looking_from_elsewhere_leaves_the_agent_where_it_is(sim: ApartmentSimulator) -> None:
    before = sim.get_agent_state()
    sim.get_observations_at(to_habitat([1.0, 1.0, 0.0]), agent_rotation(1.0))
    np.testing.assert_array_equal(sim.get_agent_state().position, before.position)


def test_two_simulators_take_turns_in_one_process() -> None:
    narrow = simulator(SIZE.format("rgb", "hfov", 40), SIZE.format("depth", "hfov", 40))
    wide = simulator()
    first = narrow.reset()["rgb"].copy()
    wide.reset()
    np.testing.assert_array_equal(narrow.reset()["rgb"], first)
    narrow.close()
    wide.close()


@pytest.mark.parametrize(
    ("override", "error", "words"),
    [
        (SIZE.format("rgb", "type", "HabitatSimFisheyeRGBSensor"), UnknownNameError, "HabitatSimRGBSensor"),
        (SIZE.format("rgb", "noise_model", "GaussianNoiseModel"), ConfigError, "habitat-sim"),
    ],
)
def test_a_camera_that_cannot_be_drawn_is_refused(override: str, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        simulator(override)
