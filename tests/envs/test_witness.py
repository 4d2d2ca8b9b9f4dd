"""What ground truth tells an evaluation: is the target in view, what lies at a point, the floor from above."""

from __future__ import annotations

import importlib.util
import math

import gymnasium
import numpy as np
import pytest

pytest.importorskip("mujoco")

import si_embodied.envs  # noqa: F401 - registers the worlds
from si_embodied.grounding import point_of

needs_habitat = pytest.mark.skipif(
    importlib.util.find_spec("habitat") is None,
    reason="habitat-lab is not installed: pip install 'si-embodied[habitat]'",
)


def length_m(path: np.ndarray) -> float:
    return float(np.hypot(*np.diff(path, axis=0).T).sum())


@pytest.fixture(scope="module")
def apartment():
    env = gymnasium.make("si_embodied/Apartment-v0", task="objectnav", image_size=96).unwrapped
    env.reset(seed=3)
    yield env
    env.close()


def test_the_shortest_path_is_as_long_as_the_geodesic_and_crosses_free_floor(apartment) -> None:
    plan = apartment.ground_truth.floor_plan()
    assert length_m(plan.shortest_path_m) == pytest.approx(apartment.episode.geodesic_m, abs=0.1)
    cells = np.floor((plan.shortest_path_m - plan.origin_m) / plan.resolution_m).astype(int)
    assert plan.free[cells[:, 1], cells[:, 0]].all()
    x, y, _ = apartment.episode.start
    assert plan.shortest_path_m[0] == pytest.approx((x, y))
    end = plan.shortest_path_m[-1]
    assert apartment.episode.targets[0].distance(*end) <= 1.0
    assert not plan.free.all()  # furniture and walls


def test_a_route_s_shortest_path_leads_through_all_its_goals() -> None:
    env = gymnasium.make("si_embodied/Apartment-v0", task="route", image_size=64).unwrapped
    env.reset(seed=1)
    plan, episode = env.ground_truth.floor_plan(), env.episode
    env.close()
    assert len(plan.goals_m) == len(episode.task.goals) > 1
    assert length_m(plan.shortest_path_m) == pytest.approx(episode.geodesic_m, rel=0.03)
    for target in episode.targets:
        assert min(target.distance(*point) for point in plan.shortest_path_m) <= 1.0


def test_what_lies_at_a_point_of_the_apartment(apartment) -> None:
    truth = apartment.ground_truth
    found = set()
    for turn in range(8):  # look around beside the target
        goal = apartment.episode.goal(0).centre
        x, y = apartment.ground_truth.floor_plan().shortest_path_m[-1]
        apartment.pose = float(x), float(y), math.atan2(goal[1] - y, goal[0] - x) + turn * math.pi / 4
        apartment.observe()
        mask, furniture = apartment.target_mask(), apartment.furniture_mask()
        assert truth.target_in_view() == (mask.sum() >= apartment.min_visible_px)
        for name, pixels in (("target", mask), ("other", furniture & ~mask), ("nothing", ~furniture)):
            if pixels.any():
                v, u = np.argwhere(pixels)[pixels.sum() // 2]
                assert truth.pointed_at(0, point_of(float(u), float(v), 96, 96)) == name
                found.add(name)
    assert found == {"target", "other", "nothing"}
    assert truth.pointed_at(1, (500, 500)) is None


def test_what_lies_at_a_point_of_the_table() -> None:
    env = gymnasium.make("si_embodied/Tabletop-v0", task="base", image_size=128).unwrapped
    env.reset(seed=3)
    truth, view = env.ground_truth, 0
    assert truth.target_in_view()
    assert truth.floor_plan() is None
    wanted = truth.next_step().object_name
    segmentation = env._segmentation(env.embodiment.cameras[view])
    expected = {name: "target" if name == wanted else "other" for name in (o.name for o in env.world.scene.objects)}
    seen = set()
    for name, answer in expected.items():
        pixels = np.argwhere(np.isin(segmentation, env.world.geoms_of(name)))
        if len(pixels):
            v, u = pixels[len(pixels) // 2]
            assert truth.pointed_at(view, point_of(float(u), float(v), 128, 128)) == answer
            seen.add(answer)
    env.close()
    assert seen == {"target", "other"}


@needs_habitat
def test_a_habitat_episode_from_above_and_at_a_point() -> None:
    env = gymnasium.make("si_embodied/HabitatObjectNav-v0", image_size=96).unwrapped
    env.reset(seed=2)
    plan, truth = env.ground_truth.floor_plan(), env.ground_truth
    assert length_m(plan.shortest_path_m) == pytest.approx(env.distance_to_goal(), abs=0.15)
    cells = np.floor((plan.shortest_path_m - plan.origin_m) / plan.resolution_m).astype(int)
    assert plan.free[cells[1:, 1], cells[1:, 0]].all()
    assert plan.shortest_path_m[0] == pytest.approx(env.pose[:2], abs=1e-3)
    found = set()
    for _ in range(6):
        semantic, goal = env.habitat_env.sim.semantic(), truth.goal_mask()
        for name, pixels in (("target", goal), ("other", (semantic > 0) & ~goal), ("nothing", semantic == 0)):
            if pixels.any():
                v, u = np.argwhere(pixels)[pixels.sum() // 2]
                assert truth.pointed_at(0, point_of(float(u), float(v), 96, 96)) == name
                found.add(name)
        assert truth.target_in_view() == (truth.visible_target() is not None)
        env.step(truth.next_action())
    env.close()
    assert {"other", "nothing"} <= found


@needs_habitat
def test_the_goal_of_a_place_cannot_be_in_view() -> None:
    env = gymnasium.make("si_embodied/HabitatPointNav-v0", image_size=64).unwrapped
    env.reset(seed=0)
    assert env.ground_truth.target_in_view() is None
    assert env.ground_truth.pointed_at(0, (500, 500)) is None
    env.close()


@needs_habitat
def test_what_lies_at_a_point_of_a_rearrangement() -> None:
    env = gymnasium.make("si_embodied/HabitatRearrange-v0", image_size=96).unwrapped
    env.reset(seed=1)
    truth = env.ground_truth
    seen = truth.seen_step()
    assert seen is not None
    if seen[2] is not None:
        assert truth.target_in_view()
        assert truth.pointed_at(0, point_of(*seen[2][1:], 96, 96)) == "target"
    plan = truth.floor_plan()
    assert plan.shortest_path_m.shape == (0, 2)
    x, y, _ = env.world.pose
    row, column = ((np.array([y, x]) - plan.origin_m[::-1]) / plan.resolution_m).astype(int)
    assert plan.free[row, column]
    env.close()
